package vmft

import (
	"io"
	"time"
)

// A Processor is a free-running machine: it executes by itself, one instruction after the
// other, and what it is told from outside is given to it at an exact instruction. Its clock
// is the number of instructions that it has retired, its position. It is a function:
//
//	(the state at the start, [(position, event) …])  →  (state and outputs at every position)
//
// Nothing else has a part in it: no clock, no random source, no order of a map or of
// goroutines, and not where Run has stopped on the way. Whatever follows from a transition
// (a timer that is due, a thread that is woken) happens at once, as part of it, before Run
// or Inject returns.
//
// A node calls the methods from one goroutine at a time, but for Interrupt, and for what
// Freeze has returned, which go beside all others.
//
// # Why one processor
//
// The log of such a machine is short because instructions are deterministic: only events
// have to be in it. Several processors that share memory are not: which of two stores to one
// address comes last is decided by caches, millions of times a second, and is not seen by
// anybody who could log it. To replay it one would have to make sharing visible: by giving
// each page to one processor at a time and logging every change of hands, which makes
// programs that share much many times slower, or by running the processors one after the
// other in turns of counted instructions, which is one processor again. (Or one does not
// replay at all, and sends what changed instead: [ModeTransfer].) A server that needs more
// than one processor is therefore better off as several such machines.
type Processor interface {
	// Position is the clock: how many instructions have been retired.
	Position() uint64
	// Run executes up to a position and never past it, and returns where it stands then:
	// short of that when it is idle or has exited, when it was interrupted, or when many
	// outputs wait to be taken.
	Run(until uint64) uint64
	// Interrupt makes a Run in progress, or else the next one, return soon.
	Interrupt()
	// Inject gives it an event where it stands. The position stays the same. After an
	// error, which it gives for an event that it cannot make sense of, nothing has changed;
	// every machine with the same history gives it too. One that has exited ignores events.
	// The event is borrowed.
	Inject(event []byte) error
	// NextOutput takes the oldest output that was not taken yet, with the position at which
	// it left; out is the caller's. Whether outputs were taken is no part of the state, and
	// images do not have them: those that leave before a Freeze are taken before it.
	NextOutput() (at uint64, out []byte, ok bool)

	// Idle reports whether it cannot go on without an event. If it waits for a time too,
	// wake is how long until then; else it is negative.
	Idle() (wake time.Duration, idle bool)
	// Exited reports whether it has ended, and with which status.
	Exited() (status int, exited bool)
	// Now is its own time since position 0. It follows from the position and the events, so
	// it stands still while the processor is idle, and is as fast as instructions are.
	Now() time.Duration
	// Skip returns the event that lets d pass at once. d is positive.
	Skip(d time.Duration) []byte

	// Freeze returns an image of now, within milliseconds: the image may be written, on
	// another goroutine and while the processor goes on, and is not disturbed by it.
	Freeze() (io.WriterTo, error)
	// Restore makes it the one of an image, also when it has been in use. It may read r to
	// the end, and need not leave anything usable behind when it fails.
	Restore(r io.Reader) error
	// Hash is that of the whole state: equal if and only if all that follows is equal.
	Hash() [32]byte
	// Fingerprint names the code and the format of events, outputs and images. Two
	// processors with one fingerprint turn the same log into the same state.
	Fingerprint() string
}

// A Preempter is a Processor whose threads take turns when they are told to, rather than
// after a number of instructions that it counts itself.
type Preempter interface {
	// Preempt returns the event that ends the turn of the running thread.
	Preempt() []byte
}

// An Output is one thing that has left a Processor. Who takes it does it, and says so with
// [Port.Complete]. Until then it is kept on both nodes, and whoever becomes the primary does
// it again: an output has its effect at least once, and those that are done again come in
// their order, before any new one. Number is the same each time, so that who receives it can
// tell (§2.3: pending input and output is issued again).
type Output struct {
	// Number counts the outputs of the processor from 1.
	Number uint64
	// Position is how many instructions had been retired when it left.
	Position uint64
	// Again says that it may have been done before, by another primary.
	Again bool
	// Data is the output itself.
	Data []byte
}
