package vmft

import "testing"

// The memory of a batch is used again once, when the batch was executed and the follower
// has it, whichever comes last; without a follower when it was executed.
func TestBatchMemoryIsReused(t *testing.T) {
	tests := []struct {
		name string
		kept bool
		run  func(l *leader, b *batch) (early int) // buffers that were free too early
	}{
		{"executed, then acknowledged", true, func(l *leader, b *batch) int {
			l.reuse(b, true)
			early := len(l.spare.free)
			l.trim(b.last)
			return early
		}},
		{"acknowledged, then executed", true, func(l *leader, b *batch) int {
			l.trim(b.last)
			early := len(l.spare.free)
			l.reuse(b, true)
			return early
		}},
		{"no follower", false, func(l *leader, b *batch) int {
			l.reuse(b, false)
			return 0
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &leader{}
			l.applier.spare.put(nil) // it has one: what comes back stays in l.spare
			b := batch{first: 1, last: 3, data: []byte("batch")}
			if tt.kept {
				l.kept = append(l.kept, b)
			}
			if early := tt.run(l, &b); early != 0 {
				t.Errorf("%d buffers are free while the batch is in use", early)
			}
			if n := len(l.spare.free); n != 1 {
				t.Fatalf("%d buffers are free, want 1", n)
			}
			again := l.spare.get(2)[:5]
			if &again[0] != &b.data[0] {
				t.Error("the memory is not used again")
			}
			l.trim(9)
			if n := len(l.spare.free); n != 0 {
				t.Errorf("%d buffers came back a second time", n)
			}
		})
	}
}

// What is kept for later is bounded.
func TestBuffersAreBounded(t *testing.T) {
	var s buffers
	s.put(make([]byte, 0, maxFreeSize+1))
	if len(s.free) != 0 {
		t.Error("a large buffer is kept")
	}
	for range maxFree + 3 {
		s.put(make([]byte, 7, 8))
	}
	if len(s.free) != maxFree {
		t.Errorf("%d buffers are kept, want %d", len(s.free), maxFree)
	}
	if b := s.get(100); len(b) != 0 || cap(b) < 100 {
		t.Errorf("a buffer of %d bytes with room for %d, want 0 and at least 100", len(b), cap(b))
	}
}
