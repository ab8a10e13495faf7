//lint:bubble
package vmft_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/vmft"
)

// newEchoes is a group whose machine sends back what it receives, on port 7.
func newEchoes(t *testing.T, size int, mode vmft.Mode) *group {
	g := newGroup(t, size, func(_ int, cfg *vmft.Config) {
		cfg.Machine, cfg.Processor, cfg.Network = nil, vmft.EchoProcessor(), vmft.EchoNetwork()
		cfg.CheckEvery, cfg.Mode = 500*time.Millisecond, mode
	})
	g.latency()
	return g
}

// echoAll sends so many random bytes over a connection, in pieces, reads what comes back, and
// closes its side; pause is called now and then.
func echoAll(conn net.Conn, rng *rand.Rand, size int, pause func()) error {
	sent := make([]byte, size)
	for i := range sent {
		sent[i] = byte(rng.Uint32())
	}
	var writer sync.WaitGroup
	var failed error
	writer.Go(func() {
		for rest := sent; len(rest) > 0 && failed == nil; {
			n := min(1+rng.IntN(2000), len(rest))
			if _, err := conn.Write(rest[:n]); err != nil {
				failed = err
			}
			rest = rest[n:]
			pause()
		}
		if failed == nil {
			failed = conn.(interface{ CloseWrite() error }).CloseWrite()
		}
	})
	got, err := io.ReadAll(conn)
	writer.Wait()
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	if len(got) != size {
		return fmt.Errorf("%d bytes have come back, of %d", len(got), size)
	}
	for i, b := range got {
		if want := vmft.EchoByte(uint64(i), sent[i]); b != want {
			return fmt.Errorf("byte %d of %d is %x instead of %x", i, size, b, want)
		}
	}
	return nil
}

// Connections go on, byte for byte, while one primary after the other is killed, stopped, or
// cut off from them.
func TestStreamFailOver(t *testing.T) {
	seeds := uint64(vmft.ManySeeds(2, 12))
	streamFailOvers(t, seeds, vmft.ModeReplay)
}

// And so they do under state transfer.
func TestTransferStreams(t *testing.T) {
	seeds := uint64(vmft.ManySeeds(1, 2))
	streamFailOvers(t, seeds, vmft.ModeTransfer)
}

// streamMoves is how often the streams of a seed are disturbed.
const streamMoves = 6

// streamFailOvers disturbs the nodes so often, for each seed; one stream follows the other for
// as long as that takes.
func streamFailOvers(t *testing.T, seeds uint64, mode vmft.Mode) {
	var bytes atomic.Int64
	for seed := range seeds {
		testutil.Bubble(t, func(t *testing.T) {
			g := newEchoes(t, 3, mode)
			defer g.close()
			rng := rand.New(rand.NewPCG(seed, 3))
			c := g.client()
			var clients sync.WaitGroup
			var over atomic.Bool
			for i := range 4 {
				mine := rand.New(rand.NewPCG(seed, uint64(10+i)))
				clients.Go(func() {
					for k := 0; !over.Load(); k++ {
						n, err := echoOnce(t.Context(), c, mine)
						if err != nil {
							t.Errorf("seed %d, stream %d of client %d: %v", seed, k, i, err)
							return
						}
						bytes.Add(int64(n))
					}
				})
			}
			for range streamMoves {
				primary, _ := g.settle()
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				g.disturb(primary, rng)
			}
			over.Store(true)
			clients.Wait()
			if s := g.compared(); s.Diverged != 0 {
				t.Errorf("seed %d: diverged at %d", seed, s.Diverged)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d bytes", bytes.Load())
	if bytes.Load() < 100_000 {
		t.Error("too little has come through")
	}
}

// echoOnce sends random bytes through a stream of its own, and back.
func echoOnce(ctx context.Context, c *vmft.Client, rng *rand.Rand) (size int, err error) {
	dialing, cancel := context.WithTimeout(ctx, 20*time.Second)
	s, err := vmft.DialStream(dialing, c, 7)
	cancel()
	if err != nil {
		return 0, err
	}
	size = rng.IntN(200_000)
	_ = s.SetDeadline(time.Now().Add(10 * time.Minute)) // never fails
	err = echoAll(s, rng, size, func() { time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond) })
	return size, errors.Join(err, s.Close())
}

// disturb kills the primary, stops it, or cuts it off from the clients.
func (g *group) disturb(primary int, rng *rand.Rand) {
	switch rng.IntN(4) {
	case 0:
		g.host(primary).Pause()
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		g.host(primary).Resume()
	case 1:
		if err := g.network.Partition([]string{"client"}, []string{g.name(primary)}); err != nil {
			g.t.Error(err)
		}
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		g.network.Heal()
	default:
		g.kill(primary)
		g.restart(primary)
	}
}

// A stream ends as connections do.
func TestStreamEnds(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newEchoes(t, 2, vmft.ModeReplay)
		g.settle()
		c := g.client()
		if _, err := vmft.DialStream(t.Context(), c, 8); !errors.Is(err, vmft.ErrStreamRefused) {
			t.Errorf("a port on which nothing listens: %v", err)
		}
		s, err := vmft.DialStream(t.Context(), c, 7)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.SetReadDeadline(time.Now().Add(time.Second))
		var timeout net.Error
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a deadline: %v", err)
		}
		_ = s.SetReadDeadline(time.Time{})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading after Close: %v", err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing after Close: %v", err)
		}
		r, err := vmft.DialStream(t.Context(), c, 7)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Reset(); err != nil {
			t.Error(err)
		}
		lost, err := vmft.DialStream(t.Context(), c, 7)
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.nodes {
			g.kill(i)
		}
		began := time.Now()
		if _, err := lost.Read(make([]byte, 1)); !errors.Is(err, vmft.ErrStreamLost) || time.Since(began) < vmft.DefaultStreamTimeout-5*time.Second {
			t.Errorf("without any node: %v after %v", err, time.Since(began))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		g.close()
	})
}

// A client that has gone for good leaves nothing behind.
func TestStreamAbandoned(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newEchoes(t, 2, vmft.ModeReplay)
		primary, _ := g.settle()
		c := g.client()
		s, err := vmft.DialStream(t.Context(), c, 7)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(vmft.DefaultStreamTimeout / 2)
		if n := g.nodes[primary].Status().Streams; n != 1 {
			t.Errorf("%d streams while their client may come back", n)
		}
		time.Sleep(vmft.DefaultStreamTimeout)
		if n := g.nodes[primary].Status().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
		g.close()
	})
}

// Plain connections are carried as they are, both ends included.
func TestForward(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newEchoes(t, 3, vmft.ModeReplay)
		g.settle()
		c := g.client()
		side := g.network.Host("side")
		l, err := side.Listen(t.Context(), ":80")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- vmft.Forward(ctx, l, c, 7) }()
		rng := rand.New(rand.NewPCG(4, 4))
		plain := g.network.Host("plain")
		for range 5 {
			conn, err := plain.Dial(t.Context(), "side:80")
			if err != nil {
				t.Fatal(err)
			}
			killed := false
			err = echoAll(conn, rng, 30_000, func() {
				time.Sleep(20 * time.Millisecond)
				if !killed {
					killed = true
					primary, _ := g.settle()
					g.kill(primary)
					g.restart(primary)
				}
			})
			if err != nil {
				t.Error(err)
			}
			_ = conn.Close()
		}
		idle, err := plain.Dial(t.Context(), "side:80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := idle.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(idle, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Forward ends with %v", err)
		}
		if _, err := idle.Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.EAGAIN) {
			t.Errorf("after Forward has ended: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		g.close()
	})
}
