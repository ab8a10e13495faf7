package rpc

import (
	"context"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

// TestWakeAll: of many calls that are answered at the same time, each caller goes on,
// whatever the others do once they have their responses: here, each waits until all have.
func TestWakeAll(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const callers = 400 // whose requests are more than eagerWrite together
		r := newRig(t, "Network")
		var running sync.WaitGroup
		running.Add(callers)
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Together", func(_ context.Context, n *note) (*note, error) {
				running.Done()
				running.Wait()
				return n, nil
			})
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var answered, over sync.WaitGroup
		answered.Add(callers)
		for i := range uint64(callers) {
			over.Go(func() {
				by := context.Background() // which nothing ends: the other way to wait
				if i%2 == 0 {
					by = ctx
				}
				n := note{N: i, Text: string(pattern(eagerWrite/callers*2, byte(i)))}
				resp, err := Call[note](by, p.c, "Together", &n)
				if err != nil || resp.N != i || resp.Text != n.Text {
					t.Errorf("call %d: %v", i, err)
				}
				answered.Done()
				answered.Wait()
			})
		}
		over.Wait()
		if st := p.c.Stats(); st.Calls != callers || st.Failures != 0 {
			t.Errorf("the client's statistics: %+v", st)
		}
	})
}
