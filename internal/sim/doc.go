// Package sim runs whole clusters of deterministic cores in virtual time, on one
// goroutine, from a seed. It stands in for everything that a shell has and a
// core must not have: the network, the clocks, the disks and the power switch.
//
// # A world
//
// A [World] is a heap of events. Its nodes are programs: [World.Add] takes a
// function that boots one, and the [Process] it returns receives messages and
// timers, one event at a time, and acts through its [Node]: Send, After, and the
// [Log] that is its disk. Nothing else may have an effect on it, so a seed
// determines a run to its last event: no goroutine, no clock, no randomness but
// [World.Rand], no order of a map.
//
// After every event the world calls the invariants; the first error ends the run
// with a [Failure], which names the seed and the step. The same seed with
// tracing on gives the story of the failure; nothing is recorded before it is
// asked for, so that the runs that succeed, all of them but one, cost little.
//
// # Faults
//
// Messages are delayed (and so reordered), lost, duplicated, and sometimes very
// late. Nodes crash: the process is dropped, its timers with it, and of its logs
// what was not synced is lost, from some record on. They come back by booting on
// what is left. They pause, and then find everything at once. Links are cut,
// in one direction too. Clocks are off and run too fast or too slow.
//
// [Faults] says how bad it may get. Each seed draws its own profile from it, in
// which many faults do not happen at all and some happen all the time: a seed in
// which everything fails a little finds fewer faults than many seeds that are
// each bad in their own way. At [Config].Chaos all faults end and everything is
// repaired; then the cluster must finish what it was asked to do ([World.Done]),
// or the run fails.
//
// What the world does not do: it does not stop a process within an event. A core
// that must survive a crash between two writes has a sync between them.
//
// # Running
//
// [Run] runs many seeds on all processors and fails the test at the first
// failure, with the end of its trace and the command that repeats it:
//
//	go test ./rpc -v -run '^TestSessionsSimulation$' -sim.seed=4711
//
// It returns the [Stats] of all seeds together, by which a test asserts that
// enough has happened. [Search] is Run for those who expect a failure: the tests
// of planted bugs.
//
// The core is everything except run.go, which starts goroutines, reads flags
// and reports to the testing package.
package sim
