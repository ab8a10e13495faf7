//lint:bubble
package rpc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// pausing is two servers of one service on hosts that can be paused, and a client of both
// that is connected with the first.
func pausing(t *testing.T, cfg ClientConfig, setup func(name string) func(*Server)) (*transport.Network, *Client) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{Seed: 1})
	for _, name := range []string{"a", "b"} {
		_, addr := serveAt(t, n.Host(name), name+":1", ServerConfig{Sessions: newTable(t)}, setup(name))
		cfg.Addrs = append(cfg.Addrs, addr)
	}
	c := dialFrom(t, n.Host("client"), cfg)
	if name, err := ask(t.Context(), c); err != nil || name != "a" {
		t.Fatalf("%q, %v", name, err)
	}
	return n, c
}

// TestPatience: calls that wait for a server that has stopped are tried elsewhere when
// that has been silent for Patience. It is shunned, redirects notwithstanding, until it
// answers again.
func TestPatience(t *testing.T) {
	for _, patience := range []time.Duration{150 * time.Millisecond, 2 * time.Second} {
		testutil.Bubble(t, func(t *testing.T) {
			var runs atomic.Int64
			serves := "b"
			n, c := pausing(t, ClientConfig{Patience: patience}, func(name string) func(*Server) {
				return func(s *Server) {
					Handle(s, "Who", func(context.Context, *Empty) (*note, error) {
						runs.Add(1)
						if name == "b" && serves == "a" {
							return nil, RedirectTo("a:1")
						}
						return &note{Text: name}, nil
					})
				}
			})
			n.Host("a").Pause()
			began := time.Now()
			if name, err := ask(t.Context(), c.AtLeastOnce()); err != nil || name != "b" {
				t.Fatalf("%q, %v", name, err)
			}
			if took := time.Since(began); took < patience*2/3 || took > patience*4/3+20*time.Millisecond {
				t.Errorf("it took %v, the patience is %v", took, patience)
			}
			// The other says that it is the silent one that serves: that is not believed.
			serves = "a"
			done := make(chan string, 1)
			began = time.Now()
			go func() {
				name, _ := ask(context.Background(), c.AtLeastOnce())
				done <- name
			}()
			time.Sleep(3 * time.Second)
			before := runs.Load()
			if len(done) > 0 || before < 4 {
				t.Errorf("%d answers of a server that stands, after %d attempts elsewhere", len(done), before)
			}
			n.Host("a").Resume()
			if name := <-done; name != "a" || time.Since(began) > 5*time.Second {
				t.Errorf("%q after %v", name, time.Since(began))
			}
		})
	}
}

// TestPatienceIsWithTheSilent: a handler takes as long as it likes, a large request on a
// slow link too, and an idle connection costs nothing.
func TestPatienceIsWithTheSilent(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n, c := pausing(t, ClientConfig{Patience: 100 * time.Millisecond}, func(name string) func(*Server) {
			return func(s *Server) {
				who(name, new(atomic.Int64))(s)
				Handle(s, "Slow", func(context.Context, *Empty) (*note, error) {
					time.Sleep(time.Minute)
					return &note{Text: name}, nil
				})
				Handle(s, "Large", func(_ context.Context, m *note) (*note, error) {
					return &note{Text: name}, nil
				})
			}
		})
		if resp, err := Call[note](t.Context(), c, "Slow", &Empty{}); err != nil || resp.Text != "a" {
			t.Errorf("a slow handler: %v, %v", resp, err)
		}
		if err := n.SetLink("client", "a", transport.Link{Bandwidth: 64 << 10}); err != nil {
			t.Fatal(err)
		}
		if resp, err := Call[note](t.Context(), c.AtLeastOnce(), "Large", &note{Body: Body{Data: make([]byte, 1<<20)}}); err != nil {
			t.Errorf("a large request on a slow link: %v, %v", resp, err)
		}
		time.Sleep(time.Minute)
		before := c.Stats()
		time.Sleep(time.Minute)
		if after := c.Stats(); after.BytesOut-before.BytesOut > 100 || after.Conns != before.Conns {
			t.Errorf("an idle connection sends: %+v, before %+v", after, before)
		}
	})
}

// TestPatienceAtMostOnce: what may not be tried again has an unknown outcome.
func TestPatienceAtMostOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		n, c := pausing(t, ClientConfig{Patience: 100 * time.Millisecond}, func(name string) func(*Server) { return who(name, new(atomic.Int64)) })
		n.Host("a").Pause()
		if name, err := ask(t.Context(), c); !errors.Is(err, ErrConnLost) || OutcomeOf(err) != OutcomeUnknown {
			t.Errorf("%q, %v", name, err)
		}
	})
}
