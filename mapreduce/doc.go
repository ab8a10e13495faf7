// Package mapreduce runs typed MapReduce jobs over files, as the paper of OSDI 2004
// describes it. A [Job] is a pair of functions with the types of their keys and
// values; [RunSequential] executes it in the obvious way, on one goroutine, and is
// the oracle for every other way to execute it.
package mapreduce
