package rpc

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// A fade is what happens to what a host writes: so many bytes leave at once, and those
// after them as the bandwidth allows.
type fade struct {
	bandwidth int // bytes a second

	mu    sync.Mutex // guards quick
	quick int
	faded chan struct{} // closed when quick is used up, before the bytes that are too many leave
}

// fading is a transport whose writes fade.
type fading struct {
	transport.Transport
	fade *fade
}

func (f fading) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := f.Transport.Listen(ctx, addr)
	return fadingListener{l, f.fade}, err
}

func (f fading) Dial(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := f.Transport.Dial(ctx, addr)
	return fadingConn{nc, f.fade}, err
}

type fadingListener struct {
	net.Listener
	fade *fade
}

func (l fadingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	return fadingConn{nc, l.fade}, err
}

type fadingConn struct {
	net.Conn
	fade *fade
}

//lint:bubble
func (c fadingConn) Write(p []byte) (int, error) {
	f := c.fade
	f.mu.Lock()
	if f.quick > 0 {
		if f.quick -= len(p); f.quick <= 0 {
			close(f.faded)
		}
	}
	slow := f.quick <= 0
	f.mu.Unlock()
	if slow {
		<-time.After(time.Duration(len(p)) * time.Second / time.Duration(f.bandwidth))
	}
	return c.Conn.Write(p)
}

// TestBulkDelaysOnFading: on a connection that was quick and has just become slow, a
// small call waits for what is in the write that is under way: one chunk of a stream, and
// of the only body up to three.
func TestBulkDelaysOnFading(t *testing.T) {
	const (
		bandwidth = 1 << 20
		chunkTime = maxChunk * time.Second / bandwidth
		slack     = 2 * time.Millisecond // for the small frames
	)
	for _, up := range []bool{true, false} {
		for asStream, chunks := range map[bool]time.Duration{true: 1, false: 3} {
			t.Run(fmt.Sprintf("up=%v/stream=%v", up, asStream), func(t *testing.T) {
				var slowest time.Duration
				for quick := 4 << 20; quick < 5<<20; quick += maxChunk { // so that any chunk of a write is the first to be slow
					slowest = max(slowest, fadingCall(t, up, asStream, &fade{bandwidth: bandwidth, quick: quick}))
				}
				t.Logf("a small call took %v at most", slowest)
				if slowest > chunks*chunkTime+slack || slowest < (chunks-1)*chunkTime+chunkTime/2 {
					t.Errorf("a small call took %v beside bulk, want the time of %d chunks, %v", slowest, chunks, chunks*chunkTime)
				}
			})
		}
	}
}

// fadingCall returns how long a small call takes that is made beside bulk at the moment
// when the connection fades.
func fadingCall(t *testing.T, up, asStream bool, f *fade) (took time.Duration) {
	testutil.Bubble(t, func(t *testing.T) {
		f.faded = make(chan struct{})
		n := transporttest.NewNetwork(t, transport.NetworkConfig{Buffer: 1 << 20})
		server, client := transport.Transport(n.Host("server")), transport.Transport(n.Host("client"))
		if up {
			client = fading{client, f}
		} else {
			server = fading{server, f}
		}
		bulk := make([]byte, 8<<20)
		serveAt(t, server, ":1", ServerConfig{}, func(s *Server) { bulkServer(s, up, bulk) })
		c := dialFrom(t, client, ClientConfig{Addrs: []string{"server:1"}})
		if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- moveBulk(c, up, asStream, bulk) }()
		<-f.faded
		start := time.Now()
		if _, err := Call[note](t.Context(), c, "Echo", &note{}); err != nil {
			t.Fatal(err)
		}
		took = time.Since(start)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return took
}
