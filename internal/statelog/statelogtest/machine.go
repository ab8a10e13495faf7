package statelogtest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
)

// TestMachine fails the test if [CheckMachine] finds something.
func TestMachine(t *testing.T, newMachine func() statelog.Machine, commands [][]byte) {
	t.Helper()
	if err := CheckMachine(newMachine, commands); err != nil {
		t.Error(err)
	}
}

// CheckMachine runs machines through a list of commands and returns the first thing
// that is not as [statelog.Machine] has it: two machines must make the same of the
// same log; an image, wherever it was taken, and the commands after it must come to
// the same; nothing may change an image that has been frozen; commands are borrowed
// and outputs appended. The more of what a machine can do the commands make it do,
// and the more of them there are, the more this says: what depends on chance, as
// the order of a map does, is found with enough of them.
func CheckMachine(newMachine func() statelog.Machine, commands [][]byte) error {
	c := machineCheck{newMachine: newMachine, commands: commands}
	for _, check := range []func() error{c.fingerprint, c.determinism, c.borrowing, c.images} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

type machineCheck struct {
	newMachine func() statelog.Machine
	commands   [][]byte
}

// place returns the index and the time of command n: indices with gaps, and times
// that stand still now and then, as they do in a log.
func place(n int) (uint64, time.Time) {
	return uint64(10 + n + n/7), time.Unix(1_000_000_000+int64(n/3), int64(n/3)).UTC()
}

// run applies the commands from one on up to another, and returns their outputs.
func (c *machineCheck) run(m statelog.Machine, from, to int) [][]byte {
	var outputs [][]byte
	for n := from; n < to; n++ {
		index, at := place(n)
		outputs = append(outputs, m.Apply(index, at, c.commands[n], nil))
	}
	return outputs
}

// image freezes a machine and writes the image.
func image(m statelog.Machine) ([]byte, error) {
	state, err := m.Freeze()
	if err != nil {
		return nil, fmt.Errorf("Freeze: %w", err)
	}
	var b bytes.Buffer
	n, err := state.WriteTo(&b)
	if err != nil {
		return nil, fmt.Errorf("writing an image: %w", err)
	}
	if n != int64(b.Len()) {
		return nil, fmt.Errorf("WriteTo of an image wrote %d bytes and reported %d", b.Len(), n)
	}
	return b.Bytes(), nil
}

func (c *machineCheck) fingerprint() error {
	m := c.newMachine()
	before := m.Fingerprint()
	c.run(m, 0, len(c.commands))
	if after := m.Fingerprint(); before == "" || after != before || c.newMachine().Fingerprint() != before {
		return fmt.Errorf("the fingerprint is not one constant: %q, %q", before, after)
	}
	return nil
}

func (c *machineCheck) borrowing() error {
	m, plain := c.newMachine(), c.newMachine()
	for n, cmd := range c.commands {
		index, at := place(n)
		want := plain.Apply(index, at, cmd, nil)
		lent := bytes.Clone(cmd)
		prefix := []byte("what is there already")
		got := m.Apply(index, at, lent, bytes.Clone(prefix))
		if !bytes.Equal(lent, cmd) {
			return fmt.Errorf("command %d: Apply changed the command", n)
		}
		if !bytes.Equal(got, append(prefix, want...)) {
			return fmt.Errorf("command %d: Apply does not append its output to dst", n)
		}
		for i := range lent {
			lent[i] ^= 0xff // it is the lender's again
		}
		for i := range got {
			got[i] ^= 0xff // the output too is not the machine's
		}
	}
	a, err := image(m)
	if err != nil {
		return err
	}
	b, err := image(plain)
	if err == nil && !bytes.Equal(a, b) {
		err = errors.New("the machine keeps a command or an output that it was lent")
	}
	return err
}

func (c *machineCheck) determinism() error {
	a, b := c.newMachine(), c.newMachine()
	for n := range c.commands {
		if x, y := c.run(a, n, n+1)[0], c.run(b, n, n+1)[0]; !bytes.Equal(x, y) {
			return fmt.Errorf("command %d: two machines give different outputs", n)
		}
	}
	x, err := image(a)
	if err != nil {
		return err
	}
	for range 3 {
		y, err := image(b)
		if err != nil {
			return err
		}
		if !bytes.Equal(x, y) {
			return errors.New("two machines with one log have different images")
		}
	}
	return nil
}

func (c *machineCheck) images() error {
	end := c.newMachine()
	outputs := c.run(end, 0, len(c.commands))
	final, err := image(end)
	if err != nil {
		return err
	}
	step := max(1, len(c.commands)/8)
	for at := 0; at <= len(c.commands); at += step {
		m := c.newMachine()
		c.run(m, 0, at)
		state, err := m.Freeze()
		if err != nil {
			return fmt.Errorf("Freeze after %d commands: %w", at, err)
		}
		want, err := image(m)
		if err != nil {
			return err
		}
		c.run(m, at, len(c.commands)) // goes on before the image is written
		var late bytes.Buffer
		if _, err := state.WriteTo(&late); err != nil {
			return fmt.Errorf("writing the image after %d commands: %w", at, err)
		}
		if !bytes.Equal(late.Bytes(), want) {
			return fmt.Errorf("the image frozen after %d commands was changed by later ones", at)
		}
		// A used machine is restored: nothing of what it was may be left.
		if err := m.Restore(bytes.NewReader(want)); err != nil {
			return fmt.Errorf("restoring the image after %d commands: %w", at, err)
		}
		for i, out := range c.run(m, at, len(c.commands)) {
			if !bytes.Equal(out, outputs[at+i]) {
				return fmt.Errorf("command %d: another output after the image at %d was restored", at+i, at)
			}
		}
		got, err := image(m)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, final) {
			return fmt.Errorf("the image at %d and the commands after it do not come to the same as all commands", at)
		}
	}
	return nil
}
