package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// inBubble runs f in a bubble with a network of its own.
//
//lint:bubble
func inBubble(t *testing.T, cfg transport.NetworkConfig, f func(t *testing.T, n *transport.Network)) {
	t.Helper()
	testutil.Bubble(t, func(t *testing.T) { f(t, transporttest.NewNetwork(t, cfg)) })
}

// join returns both ends of a new connection between two hosts.
func join(t *testing.T, n *transport.Network, from, to string) (client, server net.Conn) {
	t.Helper()
	c, s, _, err := connect(t, n.Host(from), n.Host(to), to+":0")
	must(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", what, err, target)
	}
}

// send writes s, and expect reads it.
func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

func expect(t *testing.T, c net.Conn, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("Read: %q, %v, want %q", got[:n], err, s)
	}
	if string(got) != s {
		t.Fatalf("Read %q, want %q", got, s)
	}
}

// expectSilence checks that nothing can be read for a while.
func expectSilence(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(d)))
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read: %d, %v, want silence for %v", n, err, d)
	}
	must(t, c.SetReadDeadline(time.Time{}))
}

// dialFor dials with a time limit.
func dialFor(h *transport.Host, addr string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	c, err := h.Dial(ctx, addr)
	if err == nil {
		c.Close()
	}
	return err
}

func TestPartitionStallsStreams(t *testing.T) {
	inBubble(t, transport.NetworkConfig{Buffer: 64 << 10}, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		send(t, client, "before")
		must(t, n.Partition([]string{"a"}, []string{"b"}))
		expect(t, server, "before") // it has arrived already

		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB, 16 times the buffer
		go func() {
			client.Write(data)
			client.Close()
		}()
		expectSilence(t, server, 24*time.Hour)
		if s := n.Stats("a", "b"); s.Bytes != 6+64<<10 || s.Delivered != 6 {
			t.Errorf("%d bytes written and %d delivered, want a full buffer and none", s.Bytes, s.Delivered)
		}
		n.Heal()
		got, err := io.ReadAll(server)
		must(t, err)
		if !bytes.Equal(got, data) {
			t.Errorf("after healing, %d bytes arrived, not the %d that were written", len(got), len(data))
		}
		if n.FaultCount(transport.FaultPartition) != 1 || n.FaultCount(transport.FaultHeal) != 1 {
			t.Errorf("the log knows %v", n.Faults())
		}
	})
}

func TestPartitionStallsDial(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		a, b := n.Host("a"), n.Host("b")
		l, err := b.Listen(t.Context(), ":1")
		must(t, err)
		defer l.Close()
		must(t, n.Partition([]string{"a"}))
		begin := time.Now()
		wantIs(t, "Dial", dialFor(a, "b:1", time.Hour), context.DeadlineExceeded)
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("Dial gave up after %v", d)
		}
		wantIs(t, "Dial where nobody listens", dialFor(a, "b:2", time.Second), context.DeadlineExceeded)
		time.AfterFunc(time.Minute, n.Heal)
		must(t, dialFor(a, "b:1", time.Hour))
	})
}

func TestPartitionHasSides(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		hosts := []string{"a", "b", "c", "d"}
		for _, h := range hosts {
			l, err := n.Host(h).Listen(t.Context(), ":1")
			must(t, err)
			defer l.Close()
		}
		reach := func() (all string) {
			for _, from := range hosts {
				for _, to := range hosts {
					if dialFor(n.Host(from), to+":1", time.Second) == nil {
						all += from + to + " "
					}
				}
			}
			return all
		}
		must(t, n.Partition([]string{"a", "b"}, []string{"c"}))
		if got := reach(); got != "aa ab ba bb cc dd " {
			t.Errorf("two sides and the rest: %s", got)
		}
		must(t, n.Partition([]string{"d"}))
		if got := reach(); got != "aa ab ac ba bb bc ca cb cc dd " {
			t.Errorf("d apart: %s", got)
		}
		must(t, n.Partition())
		must(t, n.PartitionOneWay([]string{"a"}, []string{"b", "c"}))
		if got := reach(); got != "aa ad bb bc bd cb cc cd da db dc dd " {
			t.Errorf("one way: %s", got) // a dial needs both directions
		}
		n.Heal()
		if got := reach(); len(got) != 16*3 {
			t.Errorf("healed: %s", got)
		}
	})
}

func TestPartitionOneWay(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		must(t, n.PartitionOneWay([]string{"a"}, []string{"b"}))
		send(t, client, "request")
		send(t, server, "still here")
		expect(t, client, "still here")
		expectSilence(t, server, time.Hour)
		n.Heal()
		expect(t, server, "request")
	})
}

// TestPartitionHidesCloses: what a host does behind a partition, the others learn
// when it heals.
func TestPartitionHidesCloses(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		closing, other := join(t, n, "a", "b")
		halfClosing, third := join(t, n, "a", "b")
		crashing, fourth := join(t, n, "c", "b")
		must(t, n.Partition([]string{"b"}))
		closing.Close()
		must(t, halfClosing.(interface{ CloseWrite() error }).CloseWrite())
		n.Host("c").Crash(transport.CrashReset)
		_, err := crashing.Write([]byte{1})
		wantIs(t, "Write on the crashed host", err, transport.ErrHostDown)
		for _, c := range []net.Conn{other, third, fourth} {
			expectSilence(t, c, time.Hour)
			send(t, c, "anybody there?")
		}
		n.Heal()
		_, err = other.Read(make([]byte, 1))
		wantIs(t, "Read after the peer's Close", err, io.EOF)
		_, err = other.Write([]byte{1})
		wantIs(t, "Write after the peer's Close", err, transport.ErrReset)
		_, err = third.Read(make([]byte, 1))
		wantIs(t, "Read after the peer's CloseWrite", err, io.EOF)
		expect(t, halfClosing, "anybody there?")
		_, err = fourth.Read(make([]byte, 1))
		wantIs(t, "Read after the peer's crash", err, transport.ErrReset)
	})
}

func TestHoldKeepsAndReleaseDelivers(t *testing.T) {
	inBubble(t, transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)}, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		from, to := packets(t, n, "a", "b")
		must(t, n.Hold("a", "b"))
		const messages = 50
		for i := range messages {
			send(t, client, fmt.Sprintf("%04d", i))
			_, err := from.WriteTo([]byte{byte(i)}, to.LocalAddr())
			must(t, err)
			time.Sleep(time.Second)
		}
		send(t, server, "the other way is open")
		expect(t, client, "the other way is open")
		expectSilence(t, server, time.Hour)
		must(t, n.Release("a", "b"))
		begin := time.Now()
		buf := make([]byte, 1)
		for i := range messages {
			expect(t, server, fmt.Sprintf("%04d", i))
			_, _, err := to.ReadFrom(buf)
			must(t, err)
			if buf[0] != byte(i) {
				t.Fatalf("packet %d comes as number %d", buf[0], i)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("what was held came %v after its release", d)
		}
		if n.FaultCount(transport.FaultHold) != 1 || n.FaultCount(transport.FaultRelease) != 1 {
			t.Errorf("the log knows %v", n.Faults())
		}
	})
}

func TestBreakAfter(t *testing.T) {
	inBubble(t, transport.NetworkConfig{BreakAfter: time.Minute}, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		bystander, peer := join(t, n, "c", "b")
		must(t, n.PartitionOneWay([]string{"a"}, []string{"b"}))
		time.Sleep(59 * time.Second)
		n.Heal()
		time.Sleep(time.Hour)
		send(t, client, "59 seconds are not enough")
		expect(t, server, "59 seconds are not enough")

		must(t, n.PartitionOneWay([]string{"a"}, []string{"b"}))
		begin := time.Now()
		for _, c := range []net.Conn{client, server} {
			_, err := c.Read(make([]byte, 1))
			wantIs(t, "Read", err, transport.ErrTimedOut)
			_, err = c.Write([]byte{1})
			wantIs(t, "Write", err, transport.ErrTimedOut)
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("broken after %v", d)
		}
		send(t, bystander, "hello")
		expect(t, peer, "hello")
		if got := n.FaultCount(transport.FaultBreak); got != 1 {
			t.Errorf("%d connections broken, want 1", got)
		}
	})
}

func TestLatencyAndBandwidth(t *testing.T) {
	const latency = 10 * time.Millisecond
	cfg := transport.NetworkConfig{Latency: transport.Constant(latency), Bandwidth: 1 << 20, Buffer: 8 << 20}
	inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
		begin := time.Now()
		took := func(what string, want time.Duration) {
			t.Helper()
			if d := time.Since(begin); (d - want).Abs() > want/1000 {
				t.Errorf("%s took %v, want %v", what, d, want)
			}
			begin = time.Now()
		}
		client, server := join(t, n, "a", "b")
		took("connecting", 2*latency)
		wantIs(t, "Dial", dialFor(n.Host("a"), "b:9", time.Hour), transport.ErrRefused)
		took("being refused", 2*latency)

		// Two connections share the link, and the other direction is free.
		client2, server2 := join(t, n, "a", "b")
		begin = time.Now()
		send(t, client, string(make([]byte, 2<<20)))
		send(t, client2, string(make([]byte, 1<<20)))
		took("writing into the buffer", 0)
		send(t, server, "hi")
		expect(t, client, "hi")
		took("the other direction", latency)
		_, err := io.ReadFull(server, make([]byte, 2<<20))
		must(t, err)
		_, err = io.ReadFull(server2, make([]byte, 1<<20))
		must(t, err)
		took("3 MiB at 1 MiB/s", 3*time.Second)
		server.Close()
		_, err = client.Read(make([]byte, 1))
		wantIs(t, "Read", err, io.EOF)
		took("the end", latency)

		// Within a host there is none of this, unless asked for.
		c, s := join(t, n, "a", "a")
		send(t, c, string(make([]byte, 1<<20)))
		_, err = io.ReadFull(s, make([]byte, 1<<20))
		must(t, err)
		took("a host and itself", 0)
		must(t, n.SetLink("a", "a", transport.Link{Latency: transport.Constant(time.Hour)}))
		send(t, c, "x")
		expect(t, s, "x")
		took("a slow host and itself", time.Hour)
	})
}

// TestLatencyKeepsOrder: latencies that differ from write to write never change
// the order of bytes, and a link may change its shape in between.
func TestLatencyKeepsOrder(t *testing.T) {
	cfg := transport.NetworkConfig{Seed: 5, Latency: transport.Exponential(time.Second), Buffer: 1000}
	inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		go func() {
			for i := range 2000 {
				fmt.Fprintf(client, "%06d", i)
				if i == 1000 {
					n.SetLink("a", "b", transport.Link{})
				}
				if i == 1500 {
					n.SetLink("a", "b", transport.Link{Latency: transport.Uniform(0, time.Minute)})
				}
			}
			client.Close()
		}()
		begin := time.Now()
		for i := range 2000 {
			expect(t, server, fmt.Sprintf("%06d", i))
		}
		_, err := server.Read(make([]byte, 1))
		wantIs(t, "Read", err, io.EOF)
		if time.Since(begin) < time.Second {
			t.Error("there was no latency")
		}
	})
}

// TestFasterLinkKeepsOrder: what is written after a link has become fast waits for
// what is on its way since before.
func TestFasterLinkKeepsOrder(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		must(t, n.SetLink("a", "b", transport.Link{Latency: transport.Constant(time.Hour)}))
		send(t, client, "slow ")
		must(t, n.SetLink("a", "b", transport.Link{}))
		begin := time.Now()
		send(t, client, "fast")
		expect(t, server, "slow fast")
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("it arrived after %v", d)
		}
	})
}

// TestManySmallWritesPushBack: what a connection keeps on its way is bounded in
// number too, not only in bytes.
func TestManySmallWritesPushBack(t *testing.T) {
	inBubble(t, transport.NetworkConfig{Latency: transport.Constant(time.Hour)}, func(t *testing.T, n *transport.Network) {
		client, server := join(t, n, "a", "b")
		must(t, client.SetWriteDeadline(time.Now().Add(time.Hour/2)))
		written := 0
		for {
			time.Sleep(time.Millisecond)
			if _, err := client.Write([]byte{byte(written)}); err != nil {
				wantIs(t, "Write", err, os.ErrDeadlineExceeded)
				break
			}
			written++
		}
		if written != 1024 {
			t.Errorf("%d writes are on their way, want 1024", written)
		}
		for i := range written {
			expect(t, server, string([]byte{byte(i)}))
		}
		must(t, client.SetWriteDeadline(time.Time{}))
		send(t, client, "go on")
		expect(t, server, "go on")
	})
}

func TestDeadlinesAreExact(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		client, _ := join(t, n, "a", "b")
		begin := time.Now()
		must(t, client.SetReadDeadline(begin.Add(time.Hour)))
		// Moved while Read waits: to later, and to earlier.
		time.AfterFunc(30*time.Minute, func() { client.SetReadDeadline(begin.Add(3 * time.Hour)) })
		time.AfterFunc(90*time.Minute, func() { client.SetReadDeadline(begin.Add(2 * time.Hour)) })
		_, err := client.Read(make([]byte, 1))
		wantIs(t, "Read", err, os.ErrDeadlineExceeded)
		if d := time.Since(begin); d != 2*time.Hour {
			t.Errorf("Read ends after %v, want 2h", d)
		}
		must(t, client.SetWriteDeadline(time.Now().Add(time.Minute)))
		begin = time.Now()
		written, err := client.Write(make([]byte, 1<<20))
		wantIs(t, "Write", err, os.ErrDeadlineExceeded)
		if d := time.Since(begin); d != time.Minute || written != 256<<10 {
			t.Errorf("Write ends after %v with %d bytes, want 1m and the buffer full", d, written)
		}
		must(t, client.SetDeadline(time.Unix(1<<60, 0))) // later than any clock shows
		time.AfterFunc(time.Hour, func() { client.Close() })
		_, err = client.Read(make([]byte, 1))
		wantIs(t, "Read", err, net.ErrClosed)
	})
}
