package vmfttest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
	"github.com/trilith-go/trilith/vmft"
)

// TestMachine fails the test if [CheckMachine] finds something.
func TestMachine(t *testing.T, newMachine func() vmft.Machine, commands [][]byte) {
	t.Helper()
	if err := CheckMachine(newMachine, commands); err != nil {
		t.Error(err)
	}
}

// CheckMachine runs machines through a list of commands and returns the first thing that is
// not as [vmft.Machine] has it. Two machines must make the same of the same log: where they
// part, the error names the first command after which their images or outputs differ. An
// image, wherever it was taken, and the commands after it must come to the same; nothing
// may change an image that has been frozen; commands are borrowed and outputs appended. The
// more of what a machine can do the commands make it do, and the more of them there are,
// the more this says.
func CheckMachine(newMachine func() vmft.Machine, commands [][]byte) error {
	if err := divergence(newMachine, commands); err != nil {
		return err
	}
	return statelogtest.CheckMachine(func() statelog.Machine { return newMachine() }, commands)
}

// divergence runs two machines side by side.
func divergence(newMachine func() vmft.Machine, commands [][]byte) error {
	for range 2 { // what depends on chance may agree once
		a, b := newMachine(), newMachine()
		for n, cmd := range commands {
			at := time.Unix(1_000_000_000+int64(n/3), 0).UTC()
			x := a.Apply(uint64(n+1), at, bytes.Clone(cmd), nil)
			y := b.Apply(uint64(n+1), at, bytes.Clone(cmd), nil)
			if !bytes.Equal(x, y) {
				return fmt.Errorf("command %d: two machines with one log give different outputs", n)
			}
			if len(commands) > 2000 && n%97 != 0 {
				continue // images take time
			}
			if err := sameImage(a, b); err != nil {
				return fmt.Errorf("after command %d: %w", n, err)
			}
		}
	}
	return nil
}

func sameImage(a, b vmft.Machine) error {
	var images [2]bytes.Buffer
	for i, m := range []vmft.Machine{a, b} {
		state, err := m.Freeze()
		if err == nil {
			_, err = state.WriteTo(&images[i])
		}
		if err != nil {
			return fmt.Errorf("an image fails: %w", err)
		}
	}
	if !bytes.Equal(images[0].Bytes(), images[1].Bytes()) {
		return errors.New("two machines with one log have different images")
	}
	return nil
}
