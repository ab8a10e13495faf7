package transporttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// A Pair is what one case of the suite runs on: two ends of a network.
type Pair struct {
	// Server listens and Client dials. They may be the same.
	Server, Client transport.Transport
	// Addr returns an address that Server can listen on. A case may ask several
	// times, and listen on all of them at once. If both sides are
	// PacketTransports, either side can listen for packets on it.
	Addr func() string
	// ClientAddr is Addr for packets on the Client's side. Nil means Addr.
	ClientAddr func() string
	// Stranger dials as Client does but without the handshake, if Client has one,
	// as TLS does. Nil means Client.
	Stranger transport.Transport
}

func (p Pair) withDefaults() Pair {
	if p.ClientAddr == nil {
		p.ClientAddr = p.Addr
	}
	if p.Stranger == nil {
		p.Stranger = p.Client
	}
	return p
}

// A Case is one promise of a transport.
type Case struct {
	Name string
	// Run checks the promise. It closes what it opens. It must not run beside
	// others on the same Pair.
	Run func(t *testing.T, p Pair)
}

// Test runs every case as a subtest of t, on a Pair of its own that setup makes
// (and cleans up with t.Cleanup), and checks that no goroutine is left. It fails t
// where the Transport falls short of its contract.
func Test(t *testing.T, setup func(t *testing.T) Pair) {
	for _, c := range Cases() {
		before := runtime.NumGoroutine()
		t.Run(c.Name, func(t *testing.T) { c.Run(t, setup(t)) })
		testutil.Eventually(t, patience, func() bool { return runtime.NumGoroutine() <= before },
			"the goroutines of "+c.Name+" have ended")
	}
}

// Cases returns the cases of the suite.
func Cases() []Case {
	cases := append(streamCases(), packetCases()...)
	for i, c := range cases {
		cases[i].Run = func(t *testing.T, p Pair) { c.Run(t, p.withDefaults()) }
	}
	return cases
}

// patience bounds everything that should have happened at once. What takes so
// long is broken, whatever the load of the machine.
const patience = time.Minute

// listen listens on a new address until the test ends.
func (p Pair) listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := p.Server.Listen(t.Context(), p.Addr())
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect returns both ends of a new connection.
func (p Pair) connect(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := p.listen(t)
	defer l.Close()
	return p.connectTo(t, l)
}

// connectTo dials l and accepts. Both ends have sent and received a byte, so
// whatever handshake there is, is over. They are closed with the test, and fail
// when patience ends, unless the case sets other deadlines.
func (p Pair) connectTo(t *testing.T, l net.Listener) (client, server net.Conn) {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	accepted := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			if err = exchange(c); err != nil {
				c.Close()
			}
		}
		accepted <- result{c, err}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := p.Client.Dial(ctx, l.Addr().String())
	if err == nil {
		t.Cleanup(func() { client.Close() })
		err = exchange(client)
	}
	if err != nil {
		l.Close() // so that Accept returns
		<-accepted
		t.Fatalf("Dial: %v", err)
	}
	r := <-accepted
	if r.err != nil {
		t.Fatalf("Accept: %v", r.err)
	}
	// The server's end closes first: a TLS client that says goodbye to a full
	// buffer would wait for seconds.
	t.Cleanup(func() { r.conn.Close() })
	return client, r.conn
}

// exchange sends a byte and receives one.
func exchange(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("SetDeadline: %w", err)
	}
	b := []byte{'!'}
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("Write: %w", err)
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return fmt.Errorf("Read: %w", err)
	}
	return nil
}

// wantTimeout checks that err is what a passed deadline gives.
func wantTimeout(t *testing.T, op string, err error) {
	t.Helper()
	var timeout net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s after its deadline: %v, want os.ErrDeadlineExceeded", op, err)
	} else if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%s after its deadline: %v is not a net.Error whose Timeout is true", op, err)
	}
}

// wantErr checks that err matches target.
func wantErr(t *testing.T, op string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", op, err, target)
	}
}

// wantEcho checks that both ends of a connection work.
func wantEcho(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, d := range [][2]net.Conn{{a, b}, {b, a}} {
		const hello = "how do you do"
		if _, err := io.WriteString(d[0], hello); err != nil {
			t.Fatalf("Write: %v", err)
		}
		got := make([]byte, len(hello))
		if _, err := io.ReadFull(d[1], got); err != nil {
			t.Fatalf("Read: %v", err)
		}
		if string(got) != hello {
			t.Fatalf("Read %q, want %q", got, hello)
		}
	}
}
