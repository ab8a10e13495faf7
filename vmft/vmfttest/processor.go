package vmfttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// A ProcessorCheck says how to try a processor.
type ProcessorCheck struct {
	// New makes a processor; all that it makes are equal.
	New func() vmft.Processor
	// Event returns an event that a processor of New takes at any position, after it has
	// taken n before. It should make the program do something. Nil: there is none but the
	// passing of time.
	Event func(n int) []byte
	// Answer returns the event that an output of the program waits for, or nil.
	Answer func(out []byte) []byte
	// Length is how many instructions are executed. Default: 200,000. A program that exits
	// or waits for ever before that is tried up to there.
	Length uint64
	// Seed is where the check's choices come from.
	Seed uint64
}

// TestProcessor fails the test if [CheckProcessor] finds something.
func TestProcessor(t *testing.T, c ProcessorCheck) {
	t.Helper()
	if err := CheckProcessor(c); err != nil {
		t.Errorf("seed %d: %v", c.Seed, err)
	}
}

// CheckProcessor runs processors through a history of random events at random positions and
// returns the first thing that is not as [vmft.Processor] has it. Run never passes a
// position, and reaches it unless it may stop before; an event goes in where the processor
// stands. The same log makes the same states and the same outputs at the same positions, in
// whatever parts it is run, down to one instruction. An image, wherever it was taken and
// however long it waits to be written, goes on to the same end. Refused events change
// nothing. Interrupt ends a Run.
func CheckProcessor(c ProcessorCheck) error {
	if c.Length == 0 {
		c.Length = 200_000
	}
	rng := rand.New(rand.NewPCG(c.Seed, 1))
	h, err := c.record(rng)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	for _, replay := range []struct {
		name string
		next func() uint64
	}{
		{"in one part", func() uint64 { return 1 << 40 }},
		{"in parts of 1 to 800", func() uint64 { return 1 + rng.Uint64N(800) }},
		{"with an instruction now and then", func() uint64 { return 1 + rng.Uint64N(2)*rng.Uint64N(5000) }},
	} {
		p := c.New()
		if err := h.replay(p, 0, replay.next); err != nil {
			return fmt.Errorf("replayed %s: %w", replay.name, err)
		}
	}
	if err := c.images(h, rng); err != nil {
		return err
	}
	if err := c.refusals(h); err != nil {
		return err
	}
	return c.interrupts()
}

// A history is what a processor was told, and what it has shown.
type history struct {
	events  []toldEvent
	outputs []sentOutput
	marks   []mark // where the state was looked at, the last of all is the end
}

type sentOutput struct {
	at   uint64
	data []byte
}

type toldEvent struct {
	at   uint64
	data []byte
}

type mark struct {
	at     uint64
	events int // that were given before
	hash   [32]byte
	now    time.Duration
}

// A recorder makes a history.
type recorder struct {
	*ProcessorCheck
	p     vmft.Processor
	h     *history
	rng   *rand.Rand
	taken int          // of the check's own events
	left  []sentOutput // that were not answered
}

// record makes a history.
func (c *ProcessorCheck) record(rng *rand.Rand) (*history, error) {
	r := &recorder{ProcessorCheck: c, p: c.New(), h: &history{}, rng: rng}
	if a, b := r.p.Fingerprint(), c.New().Fingerprint(); a != b || a == "" {
		return nil, fmt.Errorf("the fingerprints of two processors are %q and %q", a, b)
	}
	for ended := false; !ended && r.p.Position() < c.Length && len(r.h.events) < 10_000; {
		until := min(r.p.Position()+1+rng.Uint64N(1+c.Length/40), c.Length)
		fresh, err := runTo(r.p, until)
		r.h.outputs = append(r.h.outputs, fresh...)
		if _, exited := r.p.Exited(); exited && err == nil {
			break
		}
		if err == nil {
			ended, err = r.tell(append(r.left, fresh...))
		}
		if err != nil {
			return nil, err
		}
		r.left = drain(r.p) // of the events
		ended = ended && len(r.left) == 0
		r.h.outputs = append(r.h.outputs, r.left...)
		if rng.IntN(12) == 0 {
			r.look()
		}
	}
	r.look()
	if r.p.Position() == 0 {
		return nil, errors.New("it executes nothing")
	}
	return r.h, nil
}

func (r *recorder) look() {
	r.h.marks = append(r.h.marks, mark{r.p.Position(), len(r.h.events), r.p.Hash(), r.p.Now()})
}

// tell gives the processor some events: answers to what has left, and others. It reports
// whether nothing more can happen.
func (r *recorder) tell(fresh []sentOutput) (ended bool, err error) {
	for _, o := range fresh {
		if r.Answer == nil {
			break
		}
		if e := r.Answer(o.data); e != nil && err == nil {
			err = r.inject(e)
		}
	}
	if r.rng.IntN(3) == 0 && err == nil {
		err = r.skip(time.Duration(1 + r.rng.IntN(1_000_000)))
	}
	if q, ok := r.p.(vmft.Preempter); ok && r.rng.IntN(2) == 0 && err == nil {
		err = r.inject(q.Preempt())
	}
	if r.Event != nil && r.rng.IntN(2) == 0 && err == nil {
		err = r.event()
	}
	wake, idle := r.p.Idle()
	switch {
	case err != nil || !idle:
	case wake >= 0:
		err = r.skip(wake)
	case r.Event != nil:
		err = r.event()
	default:
		return true, nil
	}
	return false, err
}

func (r *recorder) event() error {
	r.taken++
	return r.inject(r.Event(r.taken - 1))
}

func (r *recorder) skip(d time.Duration) error {
	before := r.p.Now()
	err := r.inject(r.p.Skip(d))
	if now := r.p.Now(); err == nil && now != before+d {
		err = fmt.Errorf("at %d a skip of %v leads from %v to %v", r.p.Position(), d, before, now)
	}
	return err
}

func (r *recorder) inject(data []byte) error {
	at := r.p.Position()
	kept := bytes.Clone(data)
	if err := r.p.Inject(data); err != nil {
		return fmt.Errorf("an event at %d is refused: %w", at, err)
	}
	if r.p.Position() != at {
		return fmt.Errorf("an event moves the position from %d to %d", at, r.p.Position())
	}
	r.h.events = append(r.h.events, toldEvent{at, kept})
	clear(data) // it was borrowed
	return nil
}

// drain takes the outputs of a processor.
func drain(p vmft.Processor) (all []sentOutput) {
	for {
		at, data, ok := p.NextOutput()
		if !ok {
			return all
		}
		all = append(all, sentOutput{at, data})
	}
}

// runTo executes up to a position, unless the processor may stop before.
func runTo(p vmft.Processor, until uint64) (outputs []sentOutput, err error) {
	for still := 0; p.Position() < until; {
		before := p.Position()
		at := p.Run(until)
		switch {
		case at > until:
			return nil, fmt.Errorf("Run to %d stops at %d", until, at)
		case at != p.Position():
			return nil, fmt.Errorf("Run says %d, Position %d", at, p.Position())
		case at < before:
			return nil, fmt.Errorf("Run goes back from %d to %d", before, at)
		}
		fresh := drain(p)
		for _, o := range fresh {
			if o.at < before || o.at > at {
				return nil, fmt.Errorf("an output at %d of a Run from %d to %d", o.at, before, at)
			}
		}
		outputs = append(outputs, fresh...)
		_, idle := p.Idle()
		_, exited := p.Exited()
		if idle || exited {
			break
		}
		if still++; at > before {
			still = 0
		}
		if still > 100 {
			return nil, fmt.Errorf("at %d Run executes nothing, and the processor is neither idle nor has it exited", at)
		}
	}
	return outputs, nil
}

// replay runs a processor by a history, from the first so many events on, and compares.
func (h *history) replay(p vmft.Processor, events int, next func() uint64) error {
	from := p.Position()
	var outputs []sentOutput
	run := func(until uint64) error {
		for p.Position() < until {
			before := p.Position()
			fresh, err := runTo(p, min(until, p.Position()+next()))
			outputs = append(outputs, fresh...)
			if err != nil {
				return err
			}
			if p.Position() == before {
				return fmt.Errorf("it stops at %d, before %d", before, until)
			}
		}
		return nil
	}
	marks := h.marks
	look := func() error {
		for len(marks) > 0 && marks[0].events <= events {
			m := marks[0]
			marks = marks[1:]
			if m.events < events || m.at < from {
				continue // before the image
			}
			if err := run(m.at); err != nil {
				return err
			}
			if p.Now() != m.now || p.Hash() != m.hash {
				return fmt.Errorf("the state at %d, after %d events, is another one", m.at, m.events)
			}
		}
		return nil
	}
	for _, e := range h.events[events:] {
		if err := look(); err != nil {
			return err
		}
		if err := run(e.at); err != nil {
			return err
		}
		if err := p.Inject(e.data); err != nil {
			return fmt.Errorf("an event at %d is refused: %w", e.at, err)
		}
		outputs = append(outputs, drain(p)...)
		events++
	}
	if err := look(); err != nil {
		return err
	}
	if len(marks) > 0 {
		return fmt.Errorf("the state at %d was not looked at", marks[0].at)
	}
	return h.compare(outputs)
}

// compare compares outputs with the last of a history.
func (h *history) compare(outputs []sentOutput) error {
	if len(outputs) > len(h.outputs) {
		return fmt.Errorf("%d outputs, of %d", len(outputs), len(h.outputs))
	}
	want := h.outputs[len(h.outputs)-len(outputs):]
	for i, o := range outputs {
		if o.at != want[i].at || !bytes.Equal(o.data, want[i].data) {
			return fmt.Errorf("an output at %d was another one at %d", o.at, want[i].at)
		}
	}
	return nil
}

// maxImages is how many images of a history are tried.
const maxImages = 6

// images takes images on the way through a history, and goes on from them.
func (c *ProcessorCheck) images(h *history, rng *rand.Rand) error {
	p := c.New()
	type frozen struct {
		at     uint64
		events int
		image  io.WriterTo
		hash   [32]byte
		left   int // outputs that are to come
	}
	var taken []frozen
	left := len(h.outputs)
	end := h.marks[len(h.marks)-1].at
	for events := 0; events <= len(h.events) && len(taken) < maxImages; events++ {
		at := end
		if events < len(h.events) {
			at = h.events[events].at
		}
		for p.Position() < at {
			fresh, err := runTo(p, p.Position()+1+rng.Uint64N(at-p.Position()))
			left -= len(fresh)
			if err != nil {
				return err
			}
			if rng.IntN(1+len(h.events)/8) == 0 {
				image, err := p.Freeze()
				if err != nil {
					return fmt.Errorf("freezing at %d: %w", p.Position(), err)
				}
				taken = append(taken, frozen{p.Position(), events, image, p.Hash(), left})
			}
		}
		if events < len(h.events) {
			if err := p.Inject(h.events[events].data); err != nil {
				return err
			}
			left -= len(drain(p))
		}
	}
	used := c.New()
	if _, err := runTo(used, 1+end/3); err != nil {
		return err
	}
	for _, f := range taken { // only now, when the processor has gone on
		var b bytes.Buffer
		if n, err := f.image.WriteTo(&b); err != nil || n != int64(b.Len()) {
			return fmt.Errorf("writing the image at %d: %d bytes of %d, %w", f.at, n, b.Len(), err)
		}
		if err := used.Restore(&b); err != nil {
			return fmt.Errorf("restoring the image at %d: %w", f.at, err)
		}
		if used.Position() != f.at || used.Hash() != f.hash {
			return fmt.Errorf("restored at %d, it stands at %d, or is another one", f.at, used.Position())
		}
		if err := h.replay(used, f.events, func() uint64 { return 1 + rng.Uint64N(3000) }); err != nil {
			return fmt.Errorf("from the image at %d: %w", f.at, err)
		}
	}
	if len(taken) == 0 {
		return errors.New("the history is too short for an image")
	}
	return nil
}

// refusals: an event that is refused changes nothing.
func (c *ProcessorCheck) refusals(h *history) error {
	p := c.New()
	if _, err := runTo(p, h.marks[0].at/2); err != nil {
		return err
	}
	for _, event := range [][]byte{{}, {0}, {255}, bytes.Repeat([]byte{254}, 40)} {
		before := p.Hash()
		if err := p.Inject(slices.Clone(event)); err != nil && p.Hash() != before {
			return fmt.Errorf("the event %x is refused, and has changed the state", event)
		}
	}
	return nil
}

// interrupts: a Run that is interrupted returns, and the next goes on.
func (c *ProcessorCheck) interrupts() error {
	p := c.New()
	p.Interrupt()
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				p.Interrupt()
			}
		}
	}()
	before := p.Position()
	p.Run(1 << 62)
	close(stop)
	<-ended
	for range 3 { // one interrupt may be left over
		p.Run(p.Position() + 1)
	}
	_, idle := p.Idle()
	_, exited := p.Exited()
	if p.Position() == before && !idle && !exited {
		return errors.New("after an interrupt it does not go on")
	}
	return nil
}
