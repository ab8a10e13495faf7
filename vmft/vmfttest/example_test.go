package vmfttest_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// tally counts words, and forgets that the order of a map is nobody's.
type tally map[string]int

func (t tally) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	t[string(cmd)]++
	return append(dst, byte(t[string(cmd)]))
}

func (t tally) Freeze() (io.WriterTo, error) {
	var b strings.Builder
	for word, n := range maps.Clone(t) {
		fmt.Fprintln(&b, word, n)
	}
	return image(b.String()), nil
}

func (t tally) Restore(io.Reader) error { return nil }
func (t tally) Fingerprint() string     { return "tally/1" }

type image string

func (i image) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(i))
	return int64(n), err
}

// A machine is tried before it is trusted.
func ExampleCheckMachine() {
	var commands [][]byte
	for n := range 200 {
		commands = append(commands, fmt.Append(nil, "word", n))
	}
	err := vmfttest.CheckMachine(func() vmft.Machine { return tally{} }, commands)
	fmt.Println(err != nil && strings.Contains(err.Error(), "different images"))
	// Output: true
}

// A processor is held against its contract with events that its program can take anywhere,
// here one that echoes what comes in.
func ExampleCheckProcessor() {
	echo := []toy.Instruction{
		{Op: toy.Input, A: 1},
		{Op: toy.Output, A: 1},
		{Op: toy.Jump, A: 1},
	}
	err := vmfttest.CheckProcessor(vmfttest.ProcessorCheck{
		New:    func() vmft.Processor { return toy.New(echo) },
		Event:  func(n int) []byte { return toy.InputEvent(uint64(n + 1)) },
		Length: 1000,
	})
	fmt.Println(err)
	// Output: <nil>
}

// One that is not deterministic may do for state transfer all the same: this echoes what comes
// in, mixed with numbers that nobody knows before.
func ExampleCheckTransferable() {
	echo := []toy.Instruction{
		{Op: toy.Input, A: 1},
		{Op: toy.Draw, A: 2},
		{Op: toy.Mix, A: 1, B: 2},
		{Op: toy.Output, A: 1},
		{Op: toy.Jump, A: 1},
	}
	check := vmfttest.ProcessorCheck{
		New: func() vmft.Processor {
			p := toy.New(echo)
			p.Draws(rand.Uint64)
			return p
		},
		Event:  func(n int) []byte { return toy.InputEvent(uint64(n + 1)) },
		Length: 1000,
	}
	fmt.Println(vmfttest.CheckTransferable(check), vmfttest.CheckProcessor(check) == nil)
	// Output: <nil> false
}
