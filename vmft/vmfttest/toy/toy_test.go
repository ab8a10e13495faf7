package toy_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

var (
	_ vmft.Processor    = (*toy.Toy)(nil)
	_ vmft.Preempter    = (*toy.Toy)(nil)
	_ vmft.Transferable = (*toy.Toy)(nil)
)

func toyCheck(seed uint64, newToy func() vmft.Processor) vmfttest.ProcessorCheck {
	return vmfttest.ProcessorCheck{
		New:   newToy,
		Event: func(n int) []byte { return toy.InputEvent(uint64(n) + 1) },
		Answer: func(out []byte) []byte {
			word, question, _, err := toy.ParseOutput(out)
			if err != nil || question == 0 {
				return nil
			}
			return toy.AnswerEvent(question, word*3)
		},
		Length: 100_000,
		Seed:   seed,
	}
}

func newServer() vmft.Processor { return toy.New(toy.Server()) }

func TestToy(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		vmfttest.TestProcessor(t, toyCheck(seed, newServer))
	}
}

// Deltas make another toy the same, also of one that is not deterministic.
func TestToyDeltas(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		vmfttest.TestTransferable(t, toyCheck(seed, newServer))
		rng := rand.New(rand.NewPCG(seed, 5))
		vmfttest.TestTransferable(t, toyCheck(seed, func() vmft.Processor {
			p := toy.New(toy.DrawingServer())
			p.Draws(rng.Uint64)
			return p
		}))
	}
}

// A program that ends, and one that waits for ever, are tried up to there.
func TestToyEnds(t *testing.T) {
	for _, program := range [][]toy.Instruction{
		{{Op: toy.Sleep, N: 1000}, {Op: toy.Output, A: 1}, {Op: toy.Exit}},
		{{Op: toy.Set, A: 1, N: 5}, {Op: toy.Output, A: 1}, {Op: toy.Input, A: 1}, {Op: toy.Exit}},
		{{Op: toy.Set, A: 1, N: 5}},
	} {
		c := toyCheck(1, func() vmft.Processor { return toy.New(program) })
		c.Event = nil
		vmfttest.TestProcessor(t, c)
	}
}

// flawed are toys that break the contract.
type flawed struct {
	*toy.Toy
	past  bool   // Run goes an instruction too far
	parts bool   // how often it is run shows
	runs  uint64 // for that
	away  bool   // an image is of when it is written
	late  bool   // outputs are said to be of where Run stops

	later  bool // a delta is of when it is written
	forget bool // an image makes the next delta forget what it has
}

func (f *flawed) Delta() (io.WriterTo, error) {
	if f.later {
		return laterDelta{f.Toy}, nil
	}
	return f.Toy.Delta()
}

type laterDelta struct{ *toy.Toy }

func (l laterDelta) WriteTo(w io.Writer) (int64, error) {
	d, err := l.Delta()
	if err != nil {
		return 0, err
	}
	return d.WriteTo(w)
}

func (f *flawed) Freeze() (io.WriterTo, error) {
	if f.forget {
		_, _ = f.Toy.Delta() // which nobody applies
	}
	return f.Toy.Freeze()
}

func (f *flawed) Run(until uint64) uint64 {
	f.runs++
	if f.past {
		return f.Toy.Run(until + 1)
	}
	at := f.Toy.Run(until)
	if f.parts && f.runs%64 == 0 {
		_ = f.Toy.Inject(f.Toy.Preempt())
	}
	return at
}

func (f *flawed) NextOutput() (uint64, []byte, bool) {
	at, out, ok := f.Toy.NextOutput()
	if f.late {
		at = f.Toy.Position()
	}
	return at, out, ok
}

func (f *flawed) Hash() (sum [32]byte) {
	if f.away {
		return [32]byte{byte(f.runs)}
	}
	return f.Toy.Hash()
}

// The suite finds what it is there to find.
func TestProcessorFindsFlaws(t *testing.T) {
	for name, c := range map[string]struct {
		flaw flawed
		text string
	}{
		"past":  {flawed{past: true}, "stops at"},
		"parts": {flawed{parts: true}, "another one"},
		"hash":  {flawed{away: true}, "another one"},
		"late":  {flawed{late: true}, "another one at"},
	} {
		err := errors.New("nothing")
		for seed := uint64(0); seed < 5; seed++ {
			if found := vmfttest.CheckProcessor(toyCheck(seed, func() vmft.Processor {
				f := c.flaw
				f.Toy = toy.New(toy.Server())
				return &f
			})); found != nil {
				err = found
			}
		}
		if !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: found is %v", name, err)
		}
	}
}

// And so does the suite for deltas.
func TestTransferableFindsFlaws(t *testing.T) {
	for name, flaw := range map[string]flawed{"later": {later: true}, "forget": {forget: true}} {
		found := false
		for seed := uint64(0); seed < 5 && !found; seed++ {
			found = vmfttest.CheckTransferable(toyCheck(seed, func() vmft.Processor {
				f := flaw
				f.Toy = toy.New(toy.Server())
				return &f
			})) != nil
		}
		if !found {
			t.Errorf("%s: nothing was found", name)
		}
	}
}
