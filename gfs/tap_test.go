package gfs

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"
)

// countMachine counts the bytes of its commands.
type countMachine struct{ n uint64 }

func (m *countMachine) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	m.n += uint64(len(cmd))
	return dst
}
func (m *countMachine) Freeze() (io.WriterTo, error) { return bytes.NewBuffer([]byte{byte(m.n)}), nil }
func (m *countMachine) Restore(io.Reader) error      { return nil }
func (m *countMachine) Fingerprint() string          { return "count" }

func TestTapHandsOnWhatComesAfterAnImage(t *testing.T) {
	tap := newTap(new(countMachine))
	apply := func(index uint64, n int) { tap.Apply(index, time.Time{}, make([]byte, n), nil) }
	apply(3, 5)
	_, index, err := tap.follow()
	if err != nil || index != 3 {
		t.Fatalf("follow: %d, %v", index, err)
	}
	got, more, err := tap.after(index)
	if err != nil || len(got) != 0 {
		t.Fatalf("after the image: %v, %v", got, err)
	}
	apply(7, 1) // indices need not be consecutive
	apply(8, 2)
	select {
	case <-more:
	default:
		t.Error("a follower that waits is not told")
	}
	if got, _, err = tap.after(index); err != nil || len(got) != 2 || got[0].index != 7 || len(got[1].cmd) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, _, err = tap.after(7); err != nil || len(got) != 1 || got[0].index != 8 {
		t.Errorf("got %v, %v", got, err)
	}
	// A second follower begins later; the first still gets everything.
	if _, second, _ := tap.follow(); second != 8 {
		t.Errorf("the second follower begins at %d", second)
	}
	if got, _, _ = tap.after(3); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	for range 3 {
		tap.Apply(tap.last+1, time.Time{}, make([]byte, tapBytes/2), nil)
	}
	if _, _, err = tap.after(8); !errors.Is(err, errBehind) {
		t.Errorf("a follower that has missed commands gets %v", err)
	}
	tap.unfollow()
	tap.unfollow()
	if apply(100, 1); len(tap.kept) != 0 || tap.bytes != 0 {
		t.Error("commands are kept for nobody")
	}
}
