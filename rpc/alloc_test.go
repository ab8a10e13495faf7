package rpc

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
)

// callAllocs is the most allocations of a small call, both sides together.
const callAllocs = 6

func TestCallAllocations(t *testing.T) {
	if sessionsRace {
		t.Skip("the race detector lets pools forget")
	}
	for _, kind := range rigs {
		for _, method := range []string{"Echo", "EchoInline"} {
			p := newRig(t, kind).start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
				echo := func(_ context.Context, m *small) (*small, error) { return m, nil }
				Handle(s, "Echo", echo)
				HandleInline(s, "EchoInline", echo)
			})
			ctx, req := context.Background(), &small{}
			n := testing.AllocsPerRun(2000, func() {
				if _, err := Call[small](ctx, p.c, method, req); err != nil {
					t.Fatal(err)
				}
			})
			t.Logf("%s, %s: %v allocations", kind, method, n)
			if n > callAllocs {
				t.Errorf("%s, %s: a call has %v allocations, want at most %d", kind, method, n, callAllocs)
			}
		}
	}
}

// TestBodyAllocations: a body takes memory where it ends up and nowhere else, whatever
// its size: none if that is the caller's own, or if it is a request's, which the next has
// again.
func TestBodyAllocations(t *testing.T) {
	if sessionsRace {
		t.Skip("the race detector lets pools forget")
	}
	const (
		size   = 1 << 20
		calls  = 40
		little = size / 16 // what else a call may take, and a buffer or two over all calls
	)
	blob, mine := pattern(size, 9), make([]byte, 0, size)
	for _, kind := range rigs {
		p := newRig(t, kind).start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Read", func(context.Context, *small) (*note, error) {
				return &note{Body: Body{Data: blob}}, nil
			})
			Handle(s, "Write", func(_ context.Context, n *note) (*small, error) {
				if len(n.Data) != size {
					return nil, ErrMessage
				}
				return &small{}, nil
			})
		})
		ctx := context.Background()
		for _, c := range []struct {
			name string
			call func() error
			want int64
		}{
			{"a response into the caller's memory", func() error {
				return CallInto(ctx, p.c, "Read", &small{}, &note{Body: Body{Data: mine}})
			}, 0},
			{"a response into new memory", func() error {
				_, err := Call[note](ctx, p.c, "Read", &small{})
				return err
			}, size},
			{"a request", func() error {
				_, err := Call[small](ctx, p.c, "Write", &note{Body: Body{Data: blob}})
				return err
			}, 0},
		} {
			got := allocated(t, calls, c.call)
			t.Logf("%s, %s: %d bytes", kind, c.name, got)
			if got < c.want || got > c.want+little {
				t.Errorf("%s, %s: a call allocates %d bytes, want from %d to %d", kind, c.name, got, c.want, c.want+little)
			}
		}
		mustEqual(t, "the caller's memory", mine[:size], blob)
	}
}

// allocated returns how many bytes all goroutines together allocate in one of n calls.
// There is no collection meanwhile, which would empty the pools, and one processor, as
// each has pools of its own.
func allocated(t *testing.T, n int, call func() error) int64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	const first = 10 // until the pools are filled
	for i := range n + first {
		if i == first {
			runtime.ReadMemStats(&before)
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc-before.TotalAlloc) / int64(n)
}
