// Package standby is what example programs have in common that fail over by themselves.
// The state of what leads, a master of gfs or a coordinator of mapreduce, is kept in a node
// of package vmft; a process that stands by has another, as its backup, and goes on when
// the first one dies.
//
//   - [Flags] are the flags of one such process, and start its [Node].
//   - [Group] is such processes on hosts of a network in memory, which can be crashed.
package standby
