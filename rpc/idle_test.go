package rpc

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// The bounds of an idle connection, on each side.
const (
	idleGoroutines = 1
	idleBytes      = 16 << 10
)

// TestIdleConnections: what a connection costs each side while nothing happens on
// it, after calls have been made over it: the goroutines, their stacks and what is
// allocated, and after a few calls the gaps between that too (see heap). The gaps that a
// burst has left are used again by whatever comes next, so they are not counted there.
func TestIdleConnections(t *testing.T) {
	if testing.Short() || sessionsRace {
		t.Skip("measures memory, which the race detector changes")
	}
	const conns = 500
	t.Run("server", func(t *testing.T) {
		s, addr := serveAt(t, transport.TCP{}, "127.0.0.1:0", ServerConfig{}, echoServer)
		var clients []*intruder // who keep next to nothing themselves
		check := measure(t, conns, heap, idleBytes)
		for range conns {
			i := intrude(t, transport.TCP{}, addr)
			for n := range uint64(3) {
				i.say(frame(kindRequest, callID(n+1, 0), requestOf("Echo", nil), []byte{0, 0}))
				i.nc.Read(make([]byte, 100))
			}
			clients = append(clients, i)
		}
		eventually(t, "all are idle", func() bool { return s.Stats().OpenConns == conns && s.Stats().Running == 0 })
		check()
		runtime.KeepAlive(clients)
	})
	t.Run("server after a burst", func(t *testing.T) {
		const conns, burst, ping = 300, 900, 300 * time.Millisecond
		s, addr := serveAt(t, transport.TCP{}, "127.0.0.1:0", ServerConfig{
			Limits: Limits{PingInterval: ping},
		}, muteServer)
		// As many idle workers as a server keeps, which are not the connections'.
		busy := intrude(t, transport.TCP{}, addr)
		for n := range uint64(2 * maxIdleWorkers) {
			busy.say(frame(kindRequest, callID(n+1, n), requestOf("Wait", nil)))
		}
		eventually(t, "all run", func() bool { return s.Stats().Running == 2*maxIdleWorkers })
		busy.nc.Close()
		eventually(t, "none runs", func() bool { return s.Stats().Running == 0 && s.Stats().OpenConns == 0 })

		var said []byte
		answer := 0
		for n := range uint64(burst) {
			said = append(said, frame(kindRequest, callID(n+1, n), requestOf("Echo", nil), []byte{0, 50}, make([]byte, 50))...)
			answer += len(frame(kindResponse, callID(n+1, n), make([]byte, 53)))
		}
		var mu sync.Mutex // guards clients
		var clients []*intruder
		check := measure(t, conns, held, idleBytes)
		over, answered := make(chan struct{}), make(chan struct{})
		go func() { // keep them alive, and silent most of the time
			defer close(answered)
			tick := time.NewTicker(3 * ping / 2)
			defer tick.Stop()
			for {
				select {
				case <-over:
					return
				case <-tick.C:
				}
				mu.Lock()
				for _, i := range clients {
					i.say(frame(kindPong, 0))
				}
				mu.Unlock()
			}
		}()
		for range conns {
			i := intrude(t, transport.TCP{}, addr)
			mu.Lock()
			clients = append(clients, i)
			mu.Unlock()
			go i.say(said)
			if _, err := io.CopyN(io.Discard, i.nc, int64(answer)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all have let go of their buffers", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			for c := range s.conns {
				if c.in.large.Load() {
					return false
				}
			}
			return true
		})
		check()
		close(over)
		<-answered
		if open := s.Stats().OpenConns; open != conns {
			t.Errorf("%d connections are left of %d", open, conns)
		}
	})
	t.Run("client", func(t *testing.T) {
		l, err := transport.TCP{}.Listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		hs := handshake{lim: Limits{}.withDefaults()}
		var servers []net.Conn // likewise
		var clients []*Client
		check := measure(t, conns, heap, idleBytes)
		for range conns {
			c := dialFrom(t, transport.TCP{}, ClientConfig{Addrs: []string{l.Addr().String()}})
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 3 {
					if _, err := Call[Empty](t.Context(), c, "Echo", &Empty{}); err != nil {
						t.Error(err)
					}
				}
			})
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := hs.server(context.Background(), nc, func() byte { return helloOK }); err != nil {
				t.Fatal(err)
			}
			for n := range uint64(3) {
				nc.Read(make([]byte, 100))
				nc.Write(frame(kindResponse, callID(n+1, 0), []byte{0}))
			}
			wg.Wait()
			servers, clients = append(servers, nc), append(clients, c)
		}
		check()
		runtime.KeepAlive(servers)
		runtime.KeepAlive(clients)
		for _, nc := range servers {
			nc.Close()
		}
	})
}

// TestIdleTLS: over TLS, what crypto/tls holds at both ends comes on top of what an idle
// connection costs a server: the keys, the certificates that it has parsed, and the buffer
// of the longest record so far. Nobody can do anything about that; it is here to be known.
func TestIdleTLS(t *testing.T) {
	if testing.Short() || sessionsRace {
		t.Skip("measures memory, which the race detector changes")
	}
	const (
		conns    = 200
		tlsBytes = 10 << 10 // at each end
	)
	ca := transporttest.NewCA(t)
	server := transport.TLS(transport.TCP{}, ca.Config(t, "server", "127.0.0.1"))
	client := transport.TLS(transport.TCP{}, ca.Config(t, "client"))
	s, addr := serveAt(t, server, "127.0.0.1:0", ServerConfig{}, echoServer)
	var clients []*intruder
	check := measure(t, conns, held, idleBytes+2*tlsBytes)
	for range conns {
		i := intrude(t, client, addr)
		for n := range uint64(3) {
			i.say(frame(kindRequest, callID(n+1, 0), requestOf("Echo", nil), []byte{0, 0}))
			i.nc.Read(make([]byte, 100))
		}
		clients = append(clients, i)
	}
	eventually(t, "all are idle", func() bool { return s.Stats().OpenConns == conns && s.Stats().Running == 0 })
	check()
	runtime.KeepAlive(clients)
}

// measure notes what the process holds, by one of the functions heap and held; what it
// returns waits until that has grown by no more than it may for each of n connections:
// goroutines need a moment to end, and the collector halves a stack at a time.
func measure(t *testing.T, n int, bytes func() int64, most int64) (check func()) {
	goroutines, before := runtime.NumGoroutine(), bytes()
	return func() {
		t.Helper()
		var g float64
		var b int64
		defer func() { t.Logf("an idle connection: %.2f goroutines, %d bytes", g, b) }()
		testutil.Eventually(t, 10*time.Second, func() bool {
			g = float64(runtime.NumGoroutine()-goroutines) / float64(n)
			b = (bytes() - before) / int64(n)
			return g <= idleGoroutines+0.1 && b <= most
		}, fmt.Sprintf("an idle connection costs at most %d goroutines and %d bytes", idleGoroutines, most))
	}
}

// held returns how many bytes are allocated, and in use by stacks.
func held() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // twice, so that pools are empty
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
