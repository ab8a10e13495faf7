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
	_, at, err := tap.follow()
	if err != nil || at.index != 3 {
		t.Fatalf("follow: %v, %v", at, err)
	}
	got, more, err := tap.after(at)
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
	if got, _, err = tap.after(at); err != nil || len(got) != 2 || got[0].index != 7 || len(got[1].cmd) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, _, err = tap.after(tapPlace{index: 7}); err != nil || len(got) != 1 || got[0].index != 8 {
		t.Errorf("got %v, %v", got, err)
	}
	// A second follower begins later; the first still gets everything.
	if _, second, _ := tap.follow(); second.index != 8 {
		t.Errorf("the second follower begins at %v", second)
	}
	if got, _, _ = tap.after(tapPlace{index: 3}); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	for range 3 {
		tap.Apply(tap.last+1, time.Time{}, make([]byte, tapBytes/2), nil)
	}
	if _, _, err = tap.after(tapPlace{index: 8}); !errors.Is(err, errBehind) {
		t.Errorf("a follower that has missed commands gets %v", err)
	}
	tap.unfollow()
	tap.unfollow()
	if apply(100, 1); len(tap.kept) != 0 || tap.bytes != 0 {
		t.Error("commands are kept for nobody")
	}
}

// TestTapRestored: whoever follows when the machine becomes that of an image is not left
// with a gap, but told to begin anew.
func TestTapRestored(t *testing.T) {
	tap := newTap(new(countMachine))
	apply := func(index uint64) { tap.Apply(index, time.Time{}, []byte{1}, nil) }
	apply(1)
	_, at, err := tap.follow()
	if err != nil {
		t.Fatal(err)
	}
	_, more, _ := tap.after(at)
	if err := tap.Restore(bytes.NewReader(nil)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-more:
	default:
		t.Error("a follower that waits is not told")
	}
	if _, _, err := tap.after(at); !errors.Is(err, errBehind) {
		t.Errorf("a follower of before gets %v", err)
	}
	_, again, err := tap.follow()
	if err != nil {
		t.Fatal(err)
	}
	apply(2)
	if got, _, err := tap.after(again); err != nil || len(got) != 1 || got[0].index != 2 {
		t.Errorf("a follower of later gets %v, %v", got, err)
	}
	if _, _, err := tap.after(at); !errors.Is(err, errBehind) {
		t.Errorf("later a follower of before gets %v", err)
	}
}
