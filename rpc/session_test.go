package rpc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// TestSessionWindowWait: no more calls than the window are in progress. The
// others wait for their turn, give up without having been executed, and end with
// the client.
func TestSessionWindowWait(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const window, calls, impatient = 2, 20, 5
		n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
		var running, most, runs atomic.Int64
		gate := make(chan struct{})
		serveAt(t, n.Host("server"), ":1", ServerConfig{Sessions: newTable(t)}, func(s *Server) {
			Handle(s, "Wait", func(context.Context, *Empty) (*Empty, error) {
				most.Store(max(most.Load(), running.Add(1)))
				<-gate
				running.Add(-1)
				runs.Add(1)
				return nil, nil
			})
		})
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{"server:1"}, SessionWindow: window})
		start := func(ctx context.Context, calls int) chan error {
			errs := make(chan error, calls)
			for range calls {
				go func() {
					_, err := Call[Empty](ctx, c.ExactlyOnce(), "Wait", &Empty{})
					errs <- err
				}()
			}
			synctest.Wait()
			time.Sleep(time.Second) // for requests that are under way
			return errs
		}
		first := start(t.Context(), window)
		brief, cancel := context.WithCancel(t.Context())
		gone := start(brief, impatient)
		rest := start(t.Context(), calls)
		if got := running.Load(); got != window {
			t.Errorf("%d calls run, the window is %d", got, window)
		}
		cancel()
		for range impatient {
			if err := <-gone; !errors.Is(err, context.Canceled) || OutcomeOf(err) != NotExecuted {
				t.Errorf("a call that gave up waiting ended with %v", err)
			}
		}
		for range window + calls {
			select {
			case gate <- struct{}{}:
			case <-time.After(time.Minute):
				t.Fatalf("after %d of the calls no other has its turn", runs.Load())
			}
		}
		for range window {
			if err := <-first; err != nil {
				t.Error(err)
			}
		}
		for range calls {
			if err := <-rest; err != nil {
				t.Error(err)
			}
		}
		if most.Load() != window {
			t.Errorf("up to %d calls ran at once, the window is %d", most.Load(), window)
		}
		last := start(t.Context(), 3*window)
		c.Close()
		close(gate)
		for range cap(last) {
			if err := <-last; !errors.Is(err, ErrClosed) {
				t.Errorf("a call of a client that was closed ended with %v", err)
			}
		}
	})
}
