package statelog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// check returns what is wrong with a gate.
func (g *gate[T, R]) check() error {
	if err := g.outputs.check(g.synced); err != nil {
		return fmt.Errorf("outputs: %w", err)
	}
	if n := len(g.outputs.held); n > 0 && g.outputs.held[n-1].position > g.applied {
		return fmt.Errorf("an output of %d, applied is %d", g.outputs.held[n-1].position, g.applied)
	}
	if err := g.readers.check(g.synced); err != nil {
		return fmt.Errorf("readers: %w", err)
	}
	return nil
}

func (f *fifo[T]) check(synced uint64) error {
	last := synced
	for _, h := range f.held[f.head:] {
		if h.position < last || h.position == synced {
			return fmt.Errorf("%d is held behind %d, %d is safe", h.position, last, synced)
		}
		last = h.position
	}
	return nil
}

// TestGate drives the gate with random events: nothing leaves early, everything
// leaves, in order and once.
func TestGate(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var g gate[uint64, uint64]
		var appended, started, released, readers, asked uint64
		leave := func(outputs, reads []uint64) {
			for _, p := range outputs {
				if p != released+1 || p > g.synced {
					t.Fatalf("seed %d: output %d leaves after %d, %d is safe", seed, p, released, g.synced)
				}
				released = p
			}
			for _, p := range reads {
				if p > g.synced {
					t.Fatalf("seed %d: reader of %d leaves, %d is safe", seed, p, g.synced)
				}
				readers++
			}
		}
		for range 300 {
			switch rng.IntN(5) {
			case 0, 1:
				appended++
			case 2:
				if g.applied < appended {
					p := g.applied + 1
					if g.apply(p, p) {
						leave([]uint64{p}, nil)
					}
				}
			case 3:
				started = max(started, min(g.applied+uint64(rng.IntN(2)), appended))
				if started > g.synced {
					g.readers.push(started, started)
					asked++
				}
			default:
				leave(g.reach(g.synced+uint64(rng.IntN(int(appended-g.synced)+1)), nil, nil))
			}
			if err := g.check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for g.applied < appended {
			p := g.applied + 1
			if g.apply(p, p) {
				leave([]uint64{p}, nil)
			}
		}
		leave(g.reach(appended, nil, nil))
		if released != appended || readers != asked || g.outputs.len()+g.readers.len() != 0 {
			t.Fatalf("seed %d: %d of %d outputs and %d of %d readers left", seed, released, appended, readers, asked)
		}
	}
}

func TestGateAbandons(t *testing.T) {
	var g gate[int, int]
	for p := range uint64(10) {
		g.apply(p+1, int(p+1))
	}
	g.readers.push(10, 7)
	g.reach(4, nil, nil)
	outputs, readers := g.abandon(nil, nil)
	if !slices.Equal(outputs, []int{5, 6, 7, 8, 9, 10}) || !slices.Equal(readers, []int{7}) {
		t.Errorf("abandoned %v and %v", outputs, readers)
	}
}

func TestClock(t *testing.T) {
	c := clock{last: 1000, step: 10}
	for _, step := range []struct {
		shown time.Duration
		want  int64
	}{{0, 1000}, {5, 1005}, {5, 1005}, {3, 1005}, {6, 1006}, {100, 1016}, {101, 1017}} {
		if got := c.advance(step.shown); got != step.want {
			t.Errorf("at %d the time is %d, want %d", step.shown, got, step.want)
		}
	}
	c.set(900)
	if c.last != 1017 {
		t.Errorf("the time went back to %d", c.last)
	}
	c.set(2000)
	if got := c.advance(103); got != 2002 {
		t.Errorf("the time is %d, want 2002", got)
	}
}

func TestImageHeader(t *testing.T) {
	h := imageHeader{fingerprint: "machine/7", epoch: 1 << 60, at: -5}
	b := append(h.encode(), "the image"...)
	r := bytes.NewReader(b)
	got, err := readImageHeader(r)
	if err != nil || got != h || r.Len() != len("the image") {
		t.Errorf("%+v, %v, %d bytes left", got, err, r.Len())
	}
}

func FuzzRecord(f *testing.F) {
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	var header [recordOverhead]byte
	putRecordHeader(&header, kindEpoch, 5)
	f.Add(append(header[:], encodeEpoch(3, "machine/1")...))
	putRecordHeader(&header, kindCommand, -5)
	f.Add(append(header[:], "command"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := readImageHeader(bytes.NewReader(b)); err == nil && len(b) < 20 {
			t.Error("an image header of less than 20 bytes is accepted")
		}
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		var header [recordOverhead]byte
		putRecordHeader(&header, r.kind, r.at)
		again := append(header[:], r.command...)
		if r.kind == kindEpoch {
			again = append(again, encodeEpoch(r.epoch, r.fingerprint)...)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x becomes %x", b, again)
		}
	})
}
