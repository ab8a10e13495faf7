package vmft

import "io"

// A Mode is how a backup is kept where the primary is.
type Mode string

const (
	// ModeReplay sends what the machine is told, and the backup executes it too.
	ModeReplay Mode = "replay"
	// ModeTransfer sends what has changed in a Processor, again and again, and the backup
	// only takes it in. It is for processors that are not deterministic, or whose inputs
	// cannot be logged.
	ModeTransfer Mode = "transfer"
)

// A Transferable is a Processor that state transfer can keep on two nodes. It need not be
// deterministic: it may look at clocks, draw random numbers and have several threads that
// race, for it executes on one node at a time and what it has become is what is sent. Of the
// contract of Processor there remains that Position never goes back and that Run stops at
// until, that an image or a delta restores all that Hash covers, and how outputs are taken.
// What Freeze has of outputs, Delta has too.
//
// A command-driven [Machine] has no such mode: commands are what it is told, and they are
// logged in any case.
type Transferable interface {
	Processor
	// Delta returns what has changed since the last Delta, ApplyDelta or Restore, as it is
	// now; the first one of a new processor has all there is. It takes a millisecond or so,
	// and what it returns is written later, once, on another goroutine, while the processor
	// goes on, and is not disturbed by that. If it has a method Len() int, which says about
	// how many bytes it has, one that is short is written at once. Images may be taken in
	// between, and make no difference.
	Delta() (io.WriterTo, error)
	// ApplyDelta makes it what the other was when Delta was called there, down to the Hash,
	// if it is as that was when Delta was called before. Every Delta is applied, in their
	// order, and after an image those that follow the last one before it, which was when the
	// other stood still there. It need not leave anything usable behind when it fails. The
	// delta is borrowed. It is whole, as it was written: that is seen to.
	ApplyDelta(delta []byte) error
}
