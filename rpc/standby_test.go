package rpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// standsBy is an interceptor of a server that leads nothing at present, and does not know
// who does.
func standsBy(context.Context, *Invocation, func(context.Context) error) error {
	return Refuse(fmt.Errorf("%w: standing by", ErrUnavailable))
}

// TestStandby: after a server has said that it cannot serve, the next call goes to another,
// whatever its semantics.
func TestStandby(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		eachSemantics(t, func(t *testing.T, sem Semantics, as func(*Client) Caller) {
			var standbys, primaries atomic.Int64
			_, primary := r.serve(t, ServerConfig{Sessions: newTable(t)}, who("primary", &primaries))
			_, standby := r.serve(t, ServerConfig{Sessions: newTable(t), Interceptors: []ServerInterceptor{standsBy}}, who("standby", &standbys))
			c := r.dial(t, ClientConfig{Addrs: []string{standby, primary}})
			name, err := ask(t.Context(), as(c))
			if sem == AtMostOnce {
				if !errors.Is(err, ErrUnavailable) || OutcomeOf(err) != NotExecuted {
					t.Errorf("answered by %q, error %v", name, err)
				}
				name, err = ask(t.Context(), as(c))
			}
			if name != "primary" || err != nil || standbys.Load() != 0 {
				t.Errorf("answered by %q, error %v; the standby ran %d", name, err, standbys.Load())
			}
		})
	})
}

// TestStall: a call is not left on a server that has been stopped, if there is another; a
// connection without calls costs nothing more for that.
func TestStall(t *testing.T) {
	eachSemantics(t, func(t *testing.T, sem Semantics, as func(*Client) Caller) {
		testutil.Bubble(t, func(t *testing.T) {
			n := transporttest.NewNetwork(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
			c, _ := twoServers(t, n, ClientConfig{})
			if name, err := ask(t.Context(), as(c)); name != "one" || err != nil {
				t.Fatalf("answered by %q, error %v", name, err)
			}
			sent := c.Stats().BytesOut
			time.Sleep(9 * time.Second)
			if now := c.Stats().BytesOut; now != sent && sem != ExactlyOnce { // of which the session tells later what it has
				t.Errorf("%d bytes were sent while nothing was asked", now-sent)
			}
			n.Host("one").Pause()
			defer n.Host("one").Resume()
			began := time.Now()
			name, err := ask(t.Context(), as(c))
			if sem == AtMostOnce {
				if !errors.Is(err, ErrConnLost) || OutcomeOf(err) != OutcomeUnknown {
					t.Errorf("answered by %q, error %v", name, err)
				}
				name, err = ask(t.Context(), as(c))
			}
			if took := time.Since(began); name != "two" || err != nil || took < time.Second || took > 1600*time.Millisecond {
				t.Errorf("answered by %q after %v, error %v", name, took, err)
			}
		})
	})
}

// TestSlowHandlerIsNoStall: a server that answers pings may take its time.
func TestSlowHandlerIsNoStall(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		r := newRig(t, "Network")
		_, addr := r.serve(t, ServerConfig{}, func(s *Server) {
			Handle(s, "Slow", func(context.Context, *Empty) (*Empty, error) {
				time.Sleep(time.Minute)
				return &Empty{}, nil
			})
		})
		c := r.dial(t, ClientConfig{Addrs: []string{addr}, Patience: 100 * time.Millisecond})
		if _, err := Call[Empty](t.Context(), c, "Slow", &Empty{}); err != nil {
			t.Error(err)
		}
	})
}

// TestWithoutRedirect: an error that would send clients to the log of a service keeps them
// at the service's own addresses, and is what it was otherwise.
func TestWithoutRedirect(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		var runs atomic.Int64
		_, log := r.serve(t, ServerConfig{}, func(*Server) {})
		_, primary := r.serve(t, ServerConfig{}, who("primary", &runs))
		_, standby := r.serve(t, ServerConfig{Interceptors: []ServerInterceptor{
			func(context.Context, *Invocation, func(context.Context) error) error {
				return Refuse(WithoutRedirect(errors.Join(fs.ErrInvalid, RedirectTo(log))))
			},
		}}, who("standby", &runs))
		c := r.dial(t, ClientConfig{Addrs: []string{standby, primary}})
		if name, err := ask(t.Context(), c.AtLeastOnce()); name != "primary" || err != nil {
			t.Errorf("answered by %q, error %v", name, err)
		}
		c = r.dial(t, ClientConfig{Addrs: []string{standby}})
		_, err := ask(t.Context(), c)
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, fs.ErrInvalid) || OutcomeOf(err) != NotExecuted || c.Stats().Redirects != 0 {
			t.Errorf("error %v after %d redirects", err, c.Stats().Redirects)
		}
	})
	if err := errors.New("none"); WithoutRedirect(err) != err || WithoutRedirect(nil) != nil {
		t.Error("an error without a redirect is another")
	}
	kept := new(testNotLogged)
	if err := WithoutRedirect(errors.Join(testNotLogged{}, RedirectTo("x"))); !errors.As(err, kept) {
		t.Error("what is beside a redirect is lost")
	}
}

type testNotLogged struct{}

func (testNotLogged) Error() string { return "not logged" }

func (testNotLogged) NotLogged() bool { return true }
