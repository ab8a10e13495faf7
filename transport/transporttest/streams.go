package transporttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

func streamCases() []Case {
	return []Case{
		{"Echo", testEcho},
		{"Addresses", testAddresses},
		{"ManyConnections", testManyConnections},
		{"LargeTransfer", testLargeTransfer},
		{"ConcurrentWrites", testConcurrentWrites},
		{"BackPressure", testBackPressure},
		{"ReadDeadline", testReadDeadline},
		{"DeadlineWakesRead", testDeadlineWakesRead},
		{"DialContext", testDialContext},
		{"ListenContext", testListenContext},
		{"Refused", testRefused},
		{"AddressInUse", testAddressInUse},
		{"CloseWakesAccept", testCloseWakesAccept},
		{"SilentStranger", testSilentStranger},
		{"CloseWakesRead", testCloseWakesRead},
		{"CloseWakesWrite", testCloseWakesWrite},
		{"CloseDelivers", testCloseDelivers},
		{"CloseTwice", testCloseTwice},
		{"PeerCloses", testPeerCloses},
		{"HalfClose", testHalfClose},
	}
}

func testEcho(t *testing.T, p Pair) {
	client, server := p.connect(t)
	wantEcho(t, client, server)
	if n, err := client.Read(nil); n != 0 || err != nil {
		t.Errorf("Read into no bytes: %d, %v", n, err)
	}
	if n, err := client.Write(nil); n != 0 || err != nil {
		t.Errorf("Write of no bytes: %d, %v", n, err)
	}
	wantEcho(t, client, server)
}

func testAddresses(t *testing.T, p Pair) {
	l := p.listen(t)
	client, server := p.connectTo(t, l)
	for _, a := range []struct {
		name string
		addr net.Addr
		want string
	}{
		{"the client's RemoteAddr", client.RemoteAddr(), l.Addr().String()},
		{"the server's LocalAddr", server.LocalAddr(), l.Addr().String()},
		{"the client's LocalAddr", client.LocalAddr(), ""},
		{"the server's RemoteAddr", server.RemoteAddr(), ""},
	} {
		if a.addr == nil {
			t.Errorf("%s is nil", a.name)
		} else if a.want != "" && a.addr.String() != a.want {
			t.Errorf("%s is %s, the listener's is %s", a.name, a.addr, a.want)
		}
	}
}

// testManyConnections checks that connections made at the same time are apart.
func testManyConnections(t *testing.T, p Pair) {
	const conns = 64
	l := p.listen(t)
	var served, dialed sync.WaitGroup
	served.Go(func() {
		for range conns {
			c, err := l.Accept()
			if err != nil {
				t.Errorf("Accept: %v", err)
				return
			}
			served.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				if _, err := io.Copy(c, io.LimitReader(c, 4<<10)); err != nil {
					t.Errorf("echo: %v", err)
				}
				// Let the client close first, which has everything then.
				io.Copy(io.Discard, c)
			})
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range conns {
		dialed.Go(func() {
			c, err := p.Client.Dial(ctx, l.Addr().String())
			if err != nil {
				t.Errorf("Dial: %v", err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			sent, got := bytes.Repeat([]byte{byte(i)}, 4<<10), make([]byte, 4<<10)
			dialed.Go(func() { // the network may hold less than all of it
				if _, err := c.Write(sent); err != nil {
					t.Errorf("Write: %v", err)
				}
			})
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(sent, got) {
				t.Errorf("connection %d got other bytes than it sent, or %v", i, err)
			}
		})
	}
	dialed.Wait()
	if t.Failed() {
		l.Close() // Accept may wait for a Dial that failed
	}
	served.Wait()
}

// testLargeTransfer sends megabytes both ways at once, in pieces of all sizes.
func testLargeTransfer(t *testing.T, p Pair) {
	const size = 8 << 20
	client, server := p.connect(t)
	var wg sync.WaitGroup
	for i, d := range [][2]net.Conn{{client, server}, {server, client}} {
		data := make([]byte, size)
		fill(data, uint64(i))
		wg.Go(func() {
			sizes := rand.New(rand.NewPCG(1, uint64(i)))
			for rest := data; len(rest) > 0; {
				n := min(1<<sizes.IntN(19)+sizes.IntN(100), len(rest))
				if m, err := d[0].Write(rest[:n]); m != n || err != nil {
					t.Errorf("Write of %d bytes: %d, %v", n, m, err)
					return
				}
				rest = rest[n:]
			}
		})
		wg.Go(func() {
			sizes := rand.New(rand.NewPCG(2, uint64(i)))
			buf := make([]byte, 1<<19)
			for rest := data; len(rest) > 0; {
				n, err := d[1].Read(buf[:min(1<<sizes.IntN(19)+sizes.IntN(100), len(rest))])
				if err != nil {
					t.Errorf("Read with %d bytes to come: %v", len(rest), err)
					return
				}
				if !bytes.Equal(buf[:n], rest[:n]) {
					t.Errorf("the %d bytes from %d on are not those written", n, size-len(rest))
					return
				}
				rest = rest[n:]
			}
		})
	}
	wg.Wait()
}

func fill(p []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := 0; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
}

// testConcurrentWrites checks that Writes by several goroutines do not mix.
func testConcurrentWrites(t *testing.T, p Pair) {
	const writers, frames, size = 8, 50, 5000
	client, server := p.connect(t)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range frames {
				if _, err := client.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
					t.Errorf("Write: %v", err)
					return
				}
			}
		})
	}
	frame := make([]byte, size)
	for range writers * frames {
		if _, err := io.ReadFull(server, frame); err != nil {
			t.Errorf("Read: %v", err)
			break
		}
		if !bytes.Equal(frame, bytes.Repeat(frame[:1], size)) {
			t.Error("bytes of different Writes are mixed")
			break
		}
	}
	if t.Failed() {
		client.Close()
	}
	wg.Wait()
}

// testBackPressure checks that a Write waits for a reader that does not read.
func testBackPressure(t *testing.T, p Pair) {
	const tooMuch = 256 << 20
	client, _ := p.connect(t)
	client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	piece := make([]byte, 64<<10)
	written := 0
	var err error
	for err == nil && written < tooMuch {
		var n int
		n, err = client.Write(piece)
		written += n
	}
	if err == nil {
		t.Fatalf("%d bytes were written and nobody has read any", written)
	}
	wantTimeout(t, "Write", err)
}

func testReadDeadline(t *testing.T, p Pair) {
	client, server := p.connect(t)
	buf := make([]byte, 1)
	for name, d := range map[string]time.Duration{"past": -time.Hour, "present": 0, "future": 10 * time.Millisecond} {
		if err := client.SetReadDeadline(time.Now().Add(d)); err != nil {
			t.Fatalf("SetReadDeadline: %v", err)
		}
		n, err := client.Read(buf)
		if n != 0 {
			t.Errorf("%s: Read %d bytes that nobody wrote", name, n)
		}
		wantTimeout(t, "Read", err)
	}
	if err := client.SetReadDeadline(time.Time{}); err != nil {
		t.Fatalf("SetReadDeadline: %v", err)
	}
	wantEcho(t, client, server) // the connection is as good as before
}

func testDeadlineWakesRead(t *testing.T, p Pair) {
	client, server := p.connect(t)
	if err := client.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	read := inBackground(func() error { _, err := client.Read(make([]byte, 1)); return err })
	// Whether Read waits already or not, it has to end.
	if err := client.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	wantTimeout(t, "Read", read(t))
	client.SetReadDeadline(time.Now().Add(patience))
	wantEcho(t, client, server)
}

// inBackground runs f and returns a function that waits for its error.
func inBackground(f func() error) func(t *testing.T) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return func(t *testing.T) error {
		t.Helper()
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case err := <-done:
			return err
		case <-timer.C:
			t.Fatalf("still waiting after %v", patience)
			return nil
		}
	}
}

func testDialContext(t *testing.T, p Pair) {
	l := p.listen(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := p.Client.Dial(cancelled, l.Addr().String()); err == nil {
		c.Close()
		t.Error("Dial succeeds with a cancelled context")
	} else {
		wantErr(t, "Dial with a cancelled context", err, context.Canceled)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if c, err := p.Client.Dial(late, l.Addr().String()); err == nil {
		c.Close()
		t.Error("Dial succeeds with a context whose deadline has passed")
	} else {
		wantErr(t, "Dial after the context's deadline", err, context.DeadlineExceeded)
	}
	// connectTo cancels its context when Dial has returned.
	client, server := p.connectTo(t, l)
	giveItTime()
	wantEcho(t, client, server)
}

// giveItTime lets something happen in the background that should not.
func giveItTime() { <-time.After(20 * time.Millisecond) }

func testListenContext(t *testing.T, p Pair) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := p.Server.Listen(ctx, p.Addr())
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	cancel()
	giveItTime()
	client, server := p.connectTo(t, l)
	wantEcho(t, client, server)
	if l, err := p.Server.Listen(ctx, p.Addr()); err == nil {
		l.Close()
		t.Error("Listen succeeds with a cancelled context")
	} else {
		wantErr(t, "Listen with a cancelled context", err, context.Canceled)
	}
}

func testRefused(t *testing.T, p Pair) {
	l := p.listen(t)
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := p.Client.Dial(ctx, addr)
	if err == nil {
		c.Close()
		t.Fatal("Dial succeeds after the listener was closed")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial waits for a listener that was closed: %v", err)
	}
}

func testAddressInUse(t *testing.T, p Pair) {
	l := p.listen(t)
	if again, err := p.Server.Listen(t.Context(), l.Addr().String()); err == nil {
		again.Close()
		t.Error("two listeners have the same address")
	}
	client, server := p.connectTo(t, l) // the first is unharmed
	wantEcho(t, client, server)
}

func testCloseWakesAccept(t *testing.T, p Pair) {
	l := p.listen(t)
	client, server := p.connectTo(t, l)
	accept := inBackground(func() error {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		return err
	})
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantErr(t, "Accept after Close", accept(t), net.ErrClosed)
	l.Close() // again, which must not panic
	wantEcho(t, client, server)
}

// testSilentStranger checks that a connection whose peer says nothing keeps
// nobody else waiting.
func testSilentStranger(t *testing.T, p Pair) {
	l := p.listen(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stranger, err := p.Stranger.Dial(ctx, l.Addr().String())
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	defer stranger.Close()
	first := make(chan net.Conn, 1)
	accept := inBackground(func() error {
		c, err := l.Accept()
		first <- c
		return err
	})
	if err := accept(t); err != nil {
		t.Fatalf("Accept: %v", err)
	}
	defer (<-first).Close()
	client, server := p.connectTo(t, l)
	wantEcho(t, client, server)
}

func testCloseWakesRead(t *testing.T, p Pair) {
	client, _ := p.connect(t)
	read := inBackground(func() error { _, err := client.Read(make([]byte, 1)); return err })
	client.Close()
	wantErr(t, "Read after Close", read(t), net.ErrClosed)
	_, err := client.Read(make([]byte, 1))
	wantErr(t, "Read after Close", err, net.ErrClosed)
	_, err = client.Write(make([]byte, 1))
	wantErr(t, "Write after Close", err, net.ErrClosed)
}

func testCloseWakesWrite(t *testing.T, p Pair) {
	client, _ := p.connect(t)
	write := inBackground(func() error {
		piece := make([]byte, 64<<10)
		for {
			if _, err := client.Write(piece); err != nil {
				return err
			}
		}
	})
	client.Close() // whether Write waits for room already or not
	wantErr(t, "Write after Close", write(t), net.ErrClosed)
}

func testCloseDelivers(t *testing.T, p Pair) {
	client, server := p.connect(t)
	data := make([]byte, 100<<10)
	fill(data, 3)
	write := inBackground(func() error {
		if _, err := client.Write(data); err != nil {
			return fmt.Errorf("Write: %w", err)
		}
		return client.Close()
	})
	got, err := io.ReadAll(server)
	if err != nil {
		t.Errorf("Read: %v, want all bytes and io.EOF", err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes arrived, not the %d written before Close", len(got), len(data))
	}
	if err := write(t); err != nil {
		t.Error(err)
	}
}

func testCloseTwice(t *testing.T, p Pair) {
	client, server := p.connect(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { client.Close() })
		wg.Go(func() { server.Close() })
	}
	wg.Wait()
	client.Close()
}

func testPeerCloses(t *testing.T, p Pair) {
	client, server := p.connect(t)
	server.Close()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read after the peer's Close: %v, want io.EOF itself", err)
	}
	// It may take a while until the transport learns that nobody reads.
	client.SetWriteDeadline(time.Now().Add(patience))
	var err error
	for err == nil {
		_, err = client.Write(make([]byte, 1<<10))
	}
	if errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after the peer's Close: %v, as if it were closed here", err)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("Write after the peer's Close never fails: %v", err)
	}
}

func testHalfClose(t *testing.T, p Pair) {
	client, server := p.connect(t)
	half, ok := client.(interface{ CloseWrite() error })
	if !ok {
		t.Skip("connections have no CloseWrite")
	}
	if _, err := io.WriteString(client, "question"); err != nil {
		t.Fatalf("Write: %v", err)
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatalf("CloseWrite: %v", err)
	}
	if got, err := io.ReadAll(server); err != nil || string(got) != "question" {
		t.Fatalf("the server got %q, %v", got, err)
	}
	if _, err := client.Write([]byte{1}); err == nil {
		t.Error("Write succeeds after CloseWrite")
	}
	if _, err := io.WriteString(server, "answer"); err != nil {
		t.Fatalf("Write: %v", err)
	}
	server.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Fatalf("the client got %q, %v", got, err)
	}
}
