// Package trilith is where to start reading. It has no code of its own.
//
// A trilith is two upright stones and the lintel that they carry. The uprights are
// two ways to survive the death of a machine: package gfs keeps data alive,
// package vmft keeps computation alive. The lintel is package mapreduce, the work
// that they carry. All three stand on one ground: package rpc, on package
// transport.
//
//	examples ─────────────────────────────────────┐  programs, which join them
//	mapreduce      gfs      vmft                  │  three systems, which do not know one another
//	    └───────────┴────────┴──► rpc ──► transport
//	internal/: journal, statelog, vfs, wire, sim, …  used by all of the above
//
// Package vmft runs machines that commands drive, and processors that run by themselves:
// vmft/rv64 is one, for unmodified programs, and vmft/shareddisk keeps its files.
//
// # Three ways to survive a machine
//
// Storage fault tolerance replicates bytes (gfs). Every byte written goes to
// several machines before the writer hears that it is safe. It costs that many
// times the disk and the network, for every byte, and nothing for the computing in
// between. It protects what has been written and acknowledged: nothing else. The
// program that died with its memory, the requests it was working on, the half of
// its work that it had not stored, are gone; somebody starts it again, and it must
// have been written to find its way back from what it stored.
//
// Computation fault tolerance replicates execution (vmft). A second machine does
// the same computation from the same inputs, in the same order, a moment later. It
// costs a second machine's processor and memory, the bandwidth of the inputs, which
// is often far less than that of the state they change, and on every output the
// time of a round trip: nothing leaves until the backup has the input that it
// depends on. It protects everything: memory, connections, the request in
// progress; who talks to the service sees a pause. The computation must be
// deterministic, which in practice means one processor or one command after
// another, unless what has changed in it is sent instead of what it is told (state
// transfer), which costs far more bandwidth. And it does not help against what happens to both: a bug that the input
// triggers, or data that would not fit one machine anyway.
//
// Execution again, the third way, replicates nothing (mapreduce). If the work is a
// function of input that is safe, what a dead machine had done is done again by
// another. It costs nothing until something dies, and then the time of the lost
// part. It protects only work that can be cut into such functions, and it stands on
// the other two: the input has to be kept by a storage that survives, and so has
// the knowledge of what is done.
//
// So: data that many programs read, or more of it than one machine holds, belongs
// in gfs. A service with state in memory that must not be seen to fail (the master
// of gfs, the coordinator of mapreduce, a lock server, a game) belongs under vmft. A
// computation over all of a large input belongs in mapreduce.
//
// # How they stand on each other
//
// No system imports another. Where one serves another, the one that is served
// declares a small interface in terms of the standard library, and the other
// happens to satisfy it; a program, such as those in examples/, joins them in a few
// lines. There are two such joints:
//
//   - A log. The state that must survive in mapreduce's coordinator and in gfs's
//     master is a deterministic machine, changed by commands in a log, and a reply
//     leaves when the log is safe. By default that is a journal on the local disk
//     (or nothing but memory); a vmft node in its place makes it a pair of
//     machines.
//   - A file system. mapreduce reads its input from, and writes its output to,
//     anything that can open, create and commit files: a directory, or gfs.
//
// One more idea goes through everything: decisions are made by deterministic cores,
// plain data structures that take an event and the time and return what to do,
// with no goroutine, clock, randomness or I/O in them. Thin shells around them own
// the goroutines, the sockets and the disks. That is what lets thousands of
// simulated crashes a second run in the tests.
//
// # Where to start
//
//   - To see it work: go run ./examples/wordcount, and go run ./examples/failover, which
//     kills the primary of a service again and again.
//   - To call one process from another, with deadlines, streams, and calls that are
//     executed exactly once in spite of crashes: package rpc.
//   - To test a distributed program in one process, with partitions, crashes and
//     virtual time: package transport, its Network.
//   - To hold a Transport of your own against what is expected of one: package
//     transport/transporttest.
//   - To run a job over many files: package mapreduce.
//   - To keep files on several machines, or a whole cluster of disks in one process:
//     package gfs, and gfs/gfstest for tests.
//   - To run a service on two machines, so that it survives one: package vmft; a program
//     that knows nothing of it: examples/ftvm.
//   - To read the source: README.md names the entry points; each package's
//     documentation tells its pure core from its shell.
//
// The papers are: J. Dean and S. Ghemawat, MapReduce: Simplified Data Processing on
// Large Clusters, OSDI 2004; S. Ghemawat, H. Gobioff and S.-T. Leung, The Google
// File System, SOSP 2003; D. J. Scales, M. Nelson and G. Venkitachalam, The Design
// of a Practical System for Fault-Tolerant Virtual Machines, SIGOPS Operating
// Systems Review 2010.
package trilith
