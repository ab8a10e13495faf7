package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/transport"
)

func TestCrashReset(t *testing.T) {
	cfg := transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)}
	inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
		a, b := n.Host("a"), n.Host("b")
		l, err := b.Listen(t.Context(), ":1")
		must(t, err)
		accepted := make(chan error)
		client, server := join(t, n, "a", "b")
		go func() { _, err := l.Accept(); accepted <- err }()
		send(t, server, "arrives")
		time.Sleep(time.Second)
		send(t, server, "is on its way")
		b.Crash(transport.CrashReset)

		wantIs(t, "Accept", <-accepted, transport.ErrHostDown)
		_, err = server.Read(make([]byte, 1))
		wantIs(t, "Read on the crashed host", err, transport.ErrHostDown)
		_, err = server.Write([]byte{1})
		wantIs(t, "Write on the crashed host", err, transport.ErrHostDown)
		_, err = b.Listen(t.Context(), ":2")
		wantIs(t, "Listen on the crashed host", err, transport.ErrHostDown)
		wantIs(t, "Dial from the crashed host", dialFor(b, "a:1", time.Second), transport.ErrHostDown)

		got, err := io.ReadAll(client)
		wantIs(t, "Read from the crashed host", err, transport.ErrReset)
		if string(got) != "arrives" {
			t.Errorf("Read %q, want what arrived before the crash", got)
		}
		_, err = client.Write([]byte{1})
		wantIs(t, "Write to the crashed host", err, transport.ErrReset)
		wantIs(t, "Dial to the crashed host", dialFor(a, "b:1", time.Second), transport.ErrRefused)

		b.Restart()
		wantIs(t, "Dial after Restart", dialFor(a, "b:1", time.Second), transport.ErrRefused)
		_, err = server.Read(make([]byte, 1))
		wantIs(t, "Read on the old connection", err, transport.ErrHostDown)
		l, err = b.Listen(t.Context(), ":1")
		must(t, err)
		defer l.Close()
		must(t, dialFor(a, "b:1", time.Second))
		if n.FaultCount(transport.FaultCrash) != 1 || n.FaultCount(transport.FaultRestart) != 1 {
			t.Errorf("the log knows %v", n.Faults())
		}
	})
}

func TestCrashSilent(t *testing.T) {
	cfg := transport.NetworkConfig{Latency: transport.Constant(time.Millisecond), Buffer: 1000}
	inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
		a, b := n.Host("a"), n.Host("b")
		client, server := join(t, n, "a", "b")
		idle, _ := join(t, n, "a", "b")
		lonely, closed := join(t, n, "a", "b")
		send(t, closed, "last words")
		must(t, closed.Close())
		from, to := packets(t, n, "a", "b")
		send(t, server, "is on its way")
		b.Crash(transport.CrashSilent)
		b.Crash(transport.CrashReset) // it is down already
		_, err := server.Read(make([]byte, 1))
		wantIs(t, "Read on the crashed host", err, transport.ErrHostDown)
		_, _, err = to.ReadFrom(make([]byte, 1))
		wantIs(t, "ReadFrom on the crashed host", err, transport.ErrHostDown)

		must(t, server.Close()) // the goroutine that ran there cleans up, and nobody hears of it
		expectSilence(t, client, time.Hour)
		expectSilence(t, lonely, time.Hour)
		must(t, client.SetWriteDeadline(time.Now().Add(time.Hour)))
		written, err := client.Write(make([]byte, 5000))
		wantIs(t, "Write", err, os.ErrDeadlineExceeded)
		if written != 1000 {
			t.Errorf("%d bytes were written, want a full buffer", written)
		}
		wantIs(t, "Dial", dialFor(a, "b:1", time.Hour), context.DeadlineExceeded)
		_, err = from.WriteTo([]byte("lost"), to.LocalAddr())
		must(t, err)
		if got := n.Stats("a", "b").Cut; got != 1 {
			t.Errorf("%d packets were cut off, want 1", got)
		}

		b.Restart()
		for _, c := range []net.Conn{client, idle, lonely} {
			_, err = c.Read(make([]byte, 1))
			wantIs(t, "Read after the other's Restart", err, transport.ErrReset)
			_, err = c.Write([]byte{1})
			wantIs(t, "Write after the other's Restart", err, transport.ErrReset)
		}
		wantIs(t, "Dial", dialFor(a, "b:1", time.Hour), transport.ErrRefused)
	})
}

// TestCrashWithin: both ends of a connection on one host crash with it, and
// closing them afterwards is harmless.
func TestCrashWithin(t *testing.T) {
	for _, mode := range []transport.CrashMode{transport.CrashReset, transport.CrashSilent} {
		inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
			c, s := join(t, n, "a", "a")
			c2, s2 := join(t, n, "a", "a")
			read := make(chan error)
			go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
			synctest.Wait()
			n.Host("a").Crash(mode)
			wantIs(t, "Read", <-read, transport.ErrHostDown)
			for _, c := range []net.Conn{c, s, c2, s2} {
				_, err := c.Write([]byte{1})
				wantIs(t, "Write", err, transport.ErrHostDown)
				must(t, c.Close())
			}
			n.Host("a").Restart()
			c, s = join(t, n, "a", "a")
			send(t, c, "again")
			expect(t, s, "again")
		})
	}
}

// TestCrashEndsDial: a Dial of a host that crashes meanwhile fails, even if the
// host is back before the answer is.
func TestCrashEndsDial(t *testing.T) {
	cfg := transport.NetworkConfig{Latency: transport.Constant(time.Second)}
	inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
		l, err := n.Host("b").Listen(t.Context(), ":1")
		must(t, err)
		defer l.Close()
		time.AfterFunc(time.Second/2, func() {
			n.Host("a").Crash(transport.CrashReset)
			n.Host("a").Restart()
		})
		wantIs(t, "Dial", dialFor(n.Host("a"), "b:1", time.Hour), transport.ErrHostDown)
	})
}

func TestPause(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		a, b := n.Host("a"), n.Host("b")
		client, server := join(t, n, "a", "b")
		from, to := packets(t, n, "a", "b")
		l, err := b.Listen(t.Context(), ":1")
		must(t, err)
		defer l.Close()
		send(t, client, "arrived")
		b.Pause()
		b.Pause()
		begin := time.Now()
		time.AfterFunc(time.Hour, b.Resume)

		// Everything called on the paused host returns when it goes on.
		type result struct {
			what string
			err  error
			when time.Duration
		}
		results := make(chan result)
		calls := map[string]func() error{
			"Read":    func() error { _, err := server.Read(make([]byte, 7)); return err },
			"Write":   func() error { _, err := server.Write([]byte("answer")); return err },
			"WriteTo": func() error { _, err := to.WriteTo([]byte("answer"), from.LocalAddr()); return err },
			"Dial":    func() error { return dialFor(b, "b:1", 2*time.Hour) },
			"Listen":  func() error { _, err := b.Listen(t.Context(), ":2"); return err },
		}
		must(t, server.SetDeadline(begin.Add(2*time.Hour)))
		for what, call := range calls {
			go func() { err := call(); results <- result{what, err, time.Since(begin)} }()
		}
		// From outside, it looks like a partition.
		expectSilence(t, client, time.Minute)
		wantIs(t, "Dial", dialFor(a, "b:1", time.Minute), context.DeadlineExceeded)
		_, err = from.WriteTo([]byte("lost"), to.LocalAddr())
		must(t, err)
		for range calls {
			if r := <-results; r.err != nil || r.when != time.Hour {
				t.Errorf("%s returns %v after %v, want nil after 1h", r.what, r.err, r.when)
			}
		}
		expect(t, client, "answer")
		if s := n.Stats("a", "b"); s.Cut != 1 {
			t.Errorf("%d packets met the pause, want 1", s.Cut)
		}

		// A deadline passes in the pause and shows after it; Close and Crash get through.
		must(t, server.SetReadDeadline(time.Now().Add(time.Minute)))
		b.Pause()
		begin = time.Now()
		time.AfterFunc(time.Hour, b.Resume)
		_, err = server.Read(make([]byte, 1))
		wantIs(t, "Read", err, os.ErrDeadlineExceeded)
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("Read returns after %v", d)
		}
		b.Pause()
		time.AfterFunc(time.Hour, func() { server.Close() })
		_, err = server.Read(make([]byte, 1))
		wantIs(t, "Read", err, net.ErrClosed)
		time.AfterFunc(time.Hour, func() { b.Crash(transport.CrashReset) })
		_, err = l.Accept()
		wantIs(t, "Accept", err, transport.ErrHostDown)
		b.Resume() // it is down, not paused
		_, err = b.Listen(t.Context(), ":3")
		wantIs(t, "Listen", err, transport.ErrHostDown)
		if n.FaultCount(transport.FaultPause) != 3 || n.FaultCount(transport.FaultResume) != 2 {
			t.Errorf("the log knows %v", n.Faults())
		}
	})
}

func TestPausedHostAcceptsLater(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		b := n.Host("b")
		l, err := b.Listen(t.Context(), ":1")
		must(t, err)
		defer l.Close()
		client, err := n.Host("a").Dial(t.Context(), "b:1")
		must(t, err)
		defer client.Close()
		b.Pause()
		begin := time.Now()
		time.AfterFunc(time.Hour, b.Resume)
		server, err := l.Accept()
		must(t, err)
		defer server.Close()
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("a paused host accepts after %v", d)
		}
	})
}

func TestReset(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		c1, s1 := join(t, n, "a", "b")
		c2, s2 := join(t, n, "b", "a")
		c3, s3 := join(t, n, "a", "c")
		send(t, c1, "lost")
		broken, err := n.Reset("b", "a")
		must(t, err)
		if broken != 2 {
			t.Errorf("%d connections broken, want 2", broken)
		}
		for _, c := range []net.Conn{c1, s1, c2, s2} {
			_, err := c.Read(make([]byte, 1))
			wantIs(t, "Read", err, transport.ErrReset)
			_, err = c.Write([]byte{1})
			wantIs(t, "Write", err, transport.ErrReset)
		}
		send(t, c3, "unharmed")
		expect(t, s3, "unharmed")
		if broken, _ := n.Reset("a", "b"); broken != 0 {
			t.Errorf("%d connections broken again", broken)
		}
		if got := n.FaultCount(transport.FaultReset); got != 2 {
			t.Errorf("%d resets in the log, want 2", got)
		}
	})
}

func TestResetsByVerdict(t *testing.T) {
	run := func(t *testing.T, seed uint64) (lives []int) {
		cfg := transport.NetworkConfig{Seed: seed, Reset: 0.05}
		inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
			total := 0
			for range 50 {
				client, server := join(t, n, "a", "b")
				writes := 0
				var err error
				for ; err == nil; writes++ {
					_, err = client.Write([]byte("x"))
				}
				wantIs(t, "Write", err, transport.ErrReset)
				_, err = io.ReadAll(server)
				wantIs(t, "Read", err, transport.ErrReset)
				lives = append(lives, writes)
				total += writes
			}
			if mean := total / 50; mean < 10 || mean > 40 {
				t.Errorf("a connection lives for %d writes on average, want about 20", mean)
			}
			if s := n.Stats("a", "b"); s.Resets != 50 || n.FaultCount(transport.FaultReset) != 50 {
				t.Errorf("%d resets, and %d in the log, want 50", s.Resets, n.FaultCount(transport.FaultReset))
			}
		})
		return lives
	}
	first, again, other := run(t, 1), run(t, 1), run(t, 2)
	if !equal(first, again) {
		t.Errorf("with the same seed, connections live for %v and %v writes", first, again)
	}
	if equal(first, other) {
		t.Error("two seeds give the same resets")
	}
}

func equal(a, b []int) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestCloseWithUnreadBytesResets(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		send(t, client, "nobody reads this")
		send(t, server, "goodbye")
		server.Close()
		got, err := io.ReadAll(client)
		if string(got) != "goodbye" || !errors.Is(err, transport.ErrReset) {
			t.Errorf("Read %q, %v, want goodbye and a reset", got, err)
		}
	})
}

func TestBacklogPushesBack(t *testing.T) {
	inBubble(t, transport.NetworkConfig{Backlog: 2}, func(t *testing.T, n *transport.Network) {
		a := n.Host("a")
		l, err := n.Host("b").Listen(t.Context(), ":1")
		must(t, err)
		var dialed []net.Conn
		for range 2 {
			c, err := a.Dial(t.Context(), "b:1")
			must(t, err)
			dialed = append(dialed, c)
		}
		wantIs(t, "Dial with a full backlog", dialFor(a, "b:1", time.Hour), context.DeadlineExceeded)
		begin := time.Now()
		time.AfterFunc(time.Minute, func() {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
				_, err = c.Write([]byte{1})
			}
			if err != nil {
				t.Error(err)
			}
		})
		must(t, dialFor(a, "b:1", time.Hour))
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("Dial returns after %v, when Accept made room after 1m", d)
		}
		expect(t, dialed[0], "\x01")
		l.Close()
		_, err = dialed[1].Read(make([]byte, 1))
		wantIs(t, "Read on what was never accepted", err, transport.ErrReset)
		wantIs(t, "Dial", dialFor(a, "b:1", time.Hour), transport.ErrRefused)
		if s := n.Stats("a", "b"); s.Connections != 3 || s.Refused != 1 {
			t.Errorf("%d connections, %d refused, want 3 and 1", s.Connections, s.Refused)
		}
		for _, c := range dialed {
			c.Close()
		}
	})
}
