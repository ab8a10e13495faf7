package vmfttest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/trilith-go/trilith/vmft"
)

// TestTransferable fails the test if [CheckTransferable] finds something.
func TestTransferable(t *testing.T, c ProcessorCheck) {
	t.Helper()
	if err := CheckTransferable(c); err != nil {
		t.Errorf("seed %d: %v", c.Seed, err)
	}
}

// CheckTransferable runs a processor through random events, sends what has changed to another
// every now and then, and returns the first thing that is not as [vmft.Transferable] has it:
// the other is always what the first was when Delta was called, also if that has gone on since
// or images were taken in between, and goes on from there if it is the one that runs. A
// processor that was restored from an image takes the deltas that follow it. A delta that is
// cut off is an error, and no panic. The processors need not be deterministic.
func CheckTransferable(c ProcessorCheck) error {
	if c.Length == 0 {
		c.Length = 200_000
	}
	lead, ok := c.New().(vmft.Transferable)
	if !ok {
		return errors.New("the processor has no Delta or ApplyDelta")
	}
	rng := rand.New(rand.NewPCG(c.Seed, 2))
	x := &transferring{recorder: recorder{ProcessorCheck: &c, p: lead, h: &history{}, rng: rng}, lead: lead, follow: c.New().(vmft.Transferable)}
	for ended := false; !ended && lead.Position() < c.Length; {
		var err error
		if ended, err = x.goOn(); err == nil {
			err = x.send()
		}
		if err != nil {
			return fmt.Errorf("delta %d: %w", x.deltas+1, err)
		}
		lead = x.lead
		if _, exited := lead.Exited(); exited {
			break
		}
	}
	if x.deltas < 10 {
		return fmt.Errorf("only %d deltas: the program is too short", x.deltas)
	}
	return nil
}

// transferring is a pair.
type transferring struct {
	recorder
	lead, follow vmft.Transferable
	deltas       int
}

// goOn lets the one that runs do so for a while, and tells it things.
func (x *transferring) goOn() (ended bool, err error) {
	fresh, err := runTo(x.p, min(x.p.Position()+1+x.rng.Uint64N(1+x.Length/60), x.Length))
	if err != nil {
		return false, err
	}
	if _, exited := x.p.Exited(); exited {
		return true, nil
	}
	if ended, err = x.tell(fresh); err == nil {
		_ = drain(x.p) // of the events
	}
	return ended, err
}

// send sends what has changed, and does one thing or another with the pair.
func (x *transferring) send() error {
	what := x.rng.IntN(8)
	if what == 0 {
		if _, err := x.lead.Freeze(); err != nil {
			return fmt.Errorf("freezing: %w", err)
		}
	}
	at, now, hash := x.lead.Position(), x.lead.Now(), x.lead.Hash()
	d, err := x.lead.Delta()
	if err != nil {
		return err
	}
	if what == 1 {
		if _, err := x.goOn(); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	if n, err := d.WriteTo(&b); err != nil || n != int64(b.Len()) {
		return fmt.Errorf("%d bytes are written, of %d: %w", n, b.Len(), err)
	}
	if what == 2 {
		if err := x.cut(b.Bytes()); err != nil {
			return err
		}
	}
	if err := x.follow.ApplyDelta(b.Bytes()); err != nil {
		return err
	}
	clear(b.Bytes()) // it was borrowed
	x.deltas++
	if x.follow.Position() != at || x.follow.Now() != now || x.follow.Hash() != hash {
		return fmt.Errorf("it makes another state at %d, of that at %d", x.follow.Position(), at)
	}
	if at, _, ok := x.follow.NextOutput(); ok {
		return fmt.Errorf("it brings an output at %d, which the other has let out", at)
	}
	switch what {
	case 3:
		x.lead, x.follow = x.follow, x.lead
		x.p = x.lead
	case 4:
		return x.clone()
	}
	return nil
}

// clone makes the other anew, from an image.
func (x *transferring) clone() error {
	image, err := x.lead.Freeze()
	if err != nil {
		return fmt.Errorf("freezing: %w", err)
	}
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	x.follow = x.New().(vmft.Transferable)
	return x.follow.Restore(&b)
}

// cut applies parts of a delta to a processor of no use.
func (x *transferring) cut(b []byte) error {
	for range 3 {
		if err := x.New().(vmft.Transferable).ApplyDelta(b[:x.rng.IntN(len(b))]); err == nil {
			return errors.New("one that is cut off is applied")
		}
	}
	return nil
}
