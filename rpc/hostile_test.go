package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/transport"
)

// An intruder has passed the handshake and speaks the protocol by hand.
type intruder struct {
	t  testing.TB
	nc net.Conn
}

func intrude(t testing.TB, tr transport.Transport, addr string) *intruder {
	t.Helper()
	nc, err := tr.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	hs := handshake{lim: Limits{}.withDefaults()}
	if _, _, err := hs.client(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	return &intruder{t, nc}
}

// say sends bytes; the other side may hang up on them.
func (i *intruder) say(b ...[]byte) { i.nc.Write(bytes.Join(b, nil)) }

// hungUp waits until the other side ends the connection.
func (i *intruder) hungUp() bool {
	i.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := io.Copy(io.Discard, i.nc)
	return !isTimeout(err)
}

// frame lays out a frame.
func frame(kind frameKind, id uint64, payload ...[]byte) []byte {
	p := bytes.Join(payload, nil)
	return append(appendHead(nil, kind, id, len(p)), p...)
}

// frameHeadOf lays out the head of a frame whose payload does not follow.
func frameHeadOf(kind frameKind, id uint64, size int) []byte { return appendHead(nil, kind, id, size) }

func requestOf(method string, change func(*requestHead)) []byte {
	h := requestHead{method: method}
	if change != nil {
		change(&h)
	}
	return h.append(nil)
}

// callID is the id of the n-th call, in a slot.
func callID(n, slot uint64) uint64 { return n<<slotBits | slot }

// violations are what a client may not say, each after its own handshake.
func violations() map[string][]byte {
	echo := requestOf("Wait", nil)
	chunked := func(fields, body int) []byte {
		return requestOf("Echo", func(h *requestHead) { h.flags, h.fields, h.body = flagChunked, fields, body })
	}
	open := frame(kindOpen, 1, requestOf("Mute", nil))
	uvarint := func(v uint64) []byte { return binary.AppendUvarint(nil, v) }
	window := bytes.Repeat(frame(kindData, 1, make([]byte, 128<<10)), 9)
	return map[string][]byte{
		"kind 0":                         {2, 0, 0},
		"an unknown kind":                {2, byte(kindEnd), 0},
		"an empty frame":                 {0},
		"a frame too short":              {1, byte(kindPing)},
		"a length of 2³¹":                binary.AppendUvarint(nil, 1<<31),
		"a length of 2⁶³":                binary.AppendUvarint(nil, 1<<63),
		"a length without an end":        bytes.Repeat([]byte{0xff}, 20),
		"an id without an end":           append([]byte{30, byte(kindRequest)}, bytes.Repeat([]byte{0xff}, 30)...),
		"a request too long for a frame": frameHeadOf(kindRequest, callID(1, 0), maxWhole+1),
		"a ping too long":                frameHeadOf(kindPing, 0, maxWhole+1),
		"a response":                     frame(kindResponse, callID(1, 0), []byte{0}),
		"a go-away":                      frame(kindGoAway, 0),
		"an empty request":               frame(kindRequest, callID(1, 0)),
		"unknown flags":                  frame(kindRequest, callID(1, 0), requestOf("Echo", func(h *requestHead) { h.flags = 0x80 })),
		"a method cut short":             frame(kindRequest, callID(1, 0), []byte{0, 9, 'E'}),
		"a time-out beyond the limit":    frame(kindRequest, callID(1, 0), []byte{flagDeadline}, uvarint(math.MaxUint64), []byte{0}),
		"a session cut short":            frame(kindRequest, callID(1, 0), []byte{flagExactlyOnce, 1, 'E', 1, 2, 3}),
		"chunks of nothing":              frame(kindRequest, callID(1, 0), chunked(0, 0)),
		"a message beyond the limit":     frame(kindRequest, callID(1, 0), chunked(16<<20+1, 0)),
		"a body of 2³¹":                  frame(kindRequest, callID(1, 0), chunked(0, 1<<31)),
		"a body of 2⁶³":                  frame(kindRequest, callID(1, 0), []byte{flagChunked, 1, 'E', 0}, uvarint(1<<63)),
		"a slot that is not there":       frame(kindRequest, callID(1, 1024), echo),
		"two calls in one slot":          append(frame(kindRequest, callID(1, 0), echo), frame(kindRequest, callID(2, 0), echo)...),
		"one call twice":                 append(frame(kindRequest, callID(1, 0), requestOf("None", nil)), frame(kindRequest, callID(1, 0), echo)...),
		"one call in two slots":          append(frame(kindRequest, callID(1, 0), echo), frame(kindRequest, callID(1, 1), echo)...),
		"a chunk that was not announced": frame(kindChunk, callID(1, 0), []byte("x")),
		"a chunk too many":               append(frame(kindRequest, callID(1, 0), chunked(10, 0)), frame(kindChunk, callID(1, 0), make([]byte, 11))...),
		"a stream with flags":            frame(kindOpen, 1, requestOf("Mute", func(h *requestHead) { h.flags = flagChunked; h.body = 1 })),
		"a stream cut short":             frame(kindOpen, 1, []byte{0, 99}),
		"a stream twice":                 append(bytes.Clone(open), open...),
		"streams backwards":              append(frame(kindOpen, 2, requestOf("Mute", nil)), open...),
		"credit of 2³²":                  append(bytes.Clone(open), frame(kindCredit, 1, uvarint(1<<32))...),
		"credit that adds up to 2³²":     append(bytes.Clone(open), bytes.Repeat(frame(kindCredit, 1, uvarint(1<<30)), 4)...),
		"credit cut short":               append(bytes.Clone(open), frame(kindCredit, 1)...),
		"data beyond the window":         append(bytes.Clone(open), window...),
		"data in too long a frame":       append(bytes.Clone(open), frameHeadOf(kindData, 1, maxChunk+1)...),
		"a reset cut short":              append(bytes.Clone(open), frame(kindReset, 1, []byte{2, 0, 9})...),
		"a reset of unknown outcome":     append(bytes.Clone(open), frame(kindReset, 1, []byte{9, 0, 0, 0})...),
	}
}

// A logbook collects what is logged.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged, and forgets it.
func (l *logbook) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func (l *logbook) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Info})
}

// muteServer has a call and a stream that wait until they are told to end.
func muteServer(s *Server) {
	echoServer(s)
	Handle(s, "Wait", func(ctx context.Context, _ *Empty) (*Empty, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	HandleStream(s, "Mute", func(ctx context.Context, _ *Empty, st *Stream) error {
		<-ctx.Done()
		return nil
	})
}

// TestViolations: whoever breaks the protocol loses the connection, which is
// logged, and harms nobody else.
func TestViolations(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		var log logbook
		s, addr := r.serve(t, ServerConfig{Logger: log.logger()}, muteServer)
		good := r.dial(t, ClientConfig{Addrs: []string{addr}})
		for name, bytes := range violations() {
			i := intrude(t, r.client, addr)
			i.say(bytes)
			if !i.hungUp() {
				t.Errorf("%s: the server does not hang up", name)
			}
			i.nc.Close()
			if _, err := Call[note](t.Context(), good, "Echo", &note{}); err != nil {
				t.Errorf("%s: a good client is harmed: %v", name, err)
			}
			eventually(t, name+" is logged", func() bool { return s.Stats().OpenConns == 1 })
			if said := log.take(); !strings.Contains(said, "protocol violation") || strings.Count(said, "\n") != 1 {
				t.Errorf("%s: logged %q", name, said)
			}
			idle(t, s)
		}
		if good.Stats().Conns != 1 {
			t.Error("the good client lost its connection")
		}
	})
}

// TestHostileServer: a client whose server breaks the protocol loses that
// connection, tells its callers so, and gets on with the next.
func TestHostileServer(t *testing.T) {
	uvarint := func(v uint64) []byte { return binary.AppendUvarint(nil, v) }
	id := callID(1, 0)
	for name, answer := range map[string][]byte{
		"an unknown kind":            {2, byte(kindEnd), 0},
		"a length of 2⁶³":            binary.AppendUvarint(nil, 1<<63),
		"a request":                  frame(kindRequest, 1, requestOf("Echo", nil)),
		"a stream":                   frame(kindOpen, 1, requestOf("Echo", nil)),
		"a cancel":                   frame(kindCancel, id),
		"another's response":         frame(kindResponse, callID(7, 0), []byte{0}),
		"a response to no slot":      frame(kindResponse, callID(1, 9), []byte{0}),
		"an empty response":          frame(kindResponse, id),
		"a response of 2³¹":          frame(kindResponse, id, []byte{flagChunked}, uvarint(1<<31), uvarint(0)),
		"a body of 2⁶³":              frame(kindResponse, id, []byte{flagChunked}, uvarint(0), uvarint(1<<63)),
		"a chunk that's unannounced": frame(kindChunk, id, []byte("x")),
		"a chunk too many":           append(frame(kindResponse, id, []byte{flagChunked, 1, 1}), frame(kindChunk, id, []byte("xyz"))...),
		"an error cut short":         frame(kindResponse, id, []byte{flagError, 2, 0, 9}),
		"an error of no outcome":     frame(kindResponse, id, []byte{flagError, 77, 0, 0, 0}),
		"nothing more":               nil,
	} {
		t.Run(name, func(t *testing.T) {
			l, err := transport.TCP{}.Listen(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				l.Close() // the next dial goes elsewhere
				hs := handshake{lim: Limits{}.withDefaults()}
				if _, _, err := hs.server(context.Background(), nc, func() byte { return helloOK }); err != nil {
					t.Error(err)
				}
				nc.Read(make([]byte, 1000)) // the request
				nc.Write(answer)
				if name != "an error cut short" && name != "an error of no outcome" && answer != nil {
					io.Copy(io.Discard, nc) // until the client hangs up
				}
				nc.Close()
			}()
			_, addr := serveAt(t, transport.TCP{}, "127.0.0.1:0", ServerConfig{}, echoServer)
			c := dialFrom(t, transport.TCP{}, ClientConfig{Addrs: []string{l.Addr().String(), addr}})
			_, err = Call[note](t.Context(), c, "Echo", &note{})
			if err == nil || OutcomeOf(err) == NotExecuted {
				t.Errorf("the call returned %v", err)
			}
			if _, err := Call[note](t.Context(), c.AtLeastOnce(), "Echo", &note{}); err != nil {
				t.Errorf("with a good server: %v", err)
			}
		})
	}
}

// TestFloods: what is allowed and sent without end, by peers who read nothing of
// the answers, stops at a bound; others do not notice.
func TestFloods(t *testing.T) {
	big := requestOf("Echo", func(h *requestHead) { h.flags, h.body = flagChunked, 256<<20 })
	floods := map[string]func(n uint64) []byte{
		"pings":           func(uint64) []byte { return frame(kindPing, 0) },
		"pongs":           func(uint64) []byte { return frame(kindPong, 0) },
		"cancels":         func(n uint64) []byte { return frame(kindCancel, callID(n, n%1024)) },
		"unknown methods": func(n uint64) []byte { return frame(kindRequest, callID(n, n%1024), requestOf("None", nil)) },
		"unknown streams": func(n uint64) []byte { return frame(kindOpen, n, requestOf("None", nil)) },
		"streams": func(n uint64) []byte {
			return append(frame(kindOpen, n, requestOf("Mute", nil)), frame(kindReset, n, []byte{2, 0, 0, 0})...)
		},
		"credit for nobody": func(n uint64) []byte { return frame(kindCredit, n, []byte{1}) },
		"data for nobody":   func(n uint64) []byte { return frame(kindData, n, make([]byte, 1000)) },
		"ends of nobody":    func(n uint64) []byte { return frame(kindFin, n) },
		"calls": func(n uint64) []byte {
			return frame(kindRequest, callID(n, n%1024), requestOf("Echo", nil), []byte{0, 0})
		},
		"empty chunks": func(n uint64) []byte { return frame(kindChunk, n) },
		"claims": func(n uint64) []byte {
			return append(frame(kindRequest, callID(n, n%1024), big), frame(kindCancel, callID(n, n%1024))...)
		},
	}
	onEach(t, func(t *testing.T, r rig) {
		if r.client != r.raw {
			t.Skip("the flood is the same inside TLS")
		}
		s, addr := r.serve(t, ServerConfig{}, muteServer)
		good := r.dial(t, ClientConfig{Addrs: []string{addr}})
		for name, make := range floods {
			i := intrude(t, r.client, addr)
			i.nc.SetWriteDeadline(time.Now().Add(time.Minute)) // for the first thousand, which the server takes
			var b []byte
			n := uint64(0)
			for err := error(nil); err == nil && n < 100_000; {
				if n == 1000 { // more it need not take
					i.nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				}
				b = b[:0]
				for range 100 {
					n++
					b = append(b, make(n)...)
				}
				_, err = i.nc.Write(b)
			}
			if n <= 1000 {
				t.Errorf("%s: only %d were sent", name, n)
			}
			if _, err := Call[note](t.Context(), good, "Echo", &note{}); err != nil {
				t.Errorf("%s: a good client is harmed: %v", name, err)
			}
			s.mu.Lock()
			for c := range s.conns {
				c.mu.Lock()
				if c.out != nil && len(c.out.b) > maxPending+maxWhole {
					t.Errorf("%s: %d bytes wait to be sent", name, len(c.out.b))
				}
				c.mu.Unlock()
			}
			s.mu.Unlock()
			i.nc.Close()
			idle(t, s)
			eventually(t, name+" is over", func() bool { return s.Stats().OpenConns == 1 })
		}
	})
}

// TestHostileClaims: a thousand connections that each claim as much as the
// protocol lets them, in calls, streams and frames, and send next to nothing. The
// memory that they get stays within the budgets: that of each connection, and that of
// all together if it is less. A good client works in the first case, and in the second
// it is told that the server is overloaded, until they have gone.
func TestHostileClaims(t *testing.T) {
	t.Run("of each", func(t *testing.T) { hostileClaims(t, 128<<10, 160<<20, false) })
	t.Run("of all", func(t *testing.T) { hostileClaims(t, 128<<10, 32<<20, true) })
}

func hostileClaims(t *testing.T, connBudget, budget int64, binds bool) {
	const (
		conns   = 1000
		perConn = 96 << 10 // on top: a read buffer, two goroutines, what both ends keep
		claimed = 64 << 10 // the memory for the one claim that a connection's budget has room for
	)
	s, addr := serveAt(t, transport.TCP{}, "127.0.0.1:0", ServerConfig{Limits: Limits{
		ConnBudgetBytes: connBudget, BudgetBytes: budget,
	}}, muteServer)
	good := dialFrom(t, transport.TCP{}, ClientConfig{Addrs: []string{addr}})
	if _, err := Call[note](t.Context(), good, "Echo", &note{}); err != nil {
		t.Fatal(err)
	}
	said, lasts := claims()
	before := heap()
	intruders := make([]*intruder, conns)
	for i := range intruders {
		intruders[i] = intrude(t, transport.TCP{}, addr)
		intruders[i].say(said, lasts[i%len(lasts)], []byte("x"))
	}
	eventually(t, "all has been read", func() bool { return s.Stats().BytesIn >= int64(conns*len(said)) })
	least := int64(conns * claimed)
	if binds {
		least = budget - claimed // the next claim does not fit
	}
	eventually(t, "what is claimed is held", func() bool { return s.Stats().HeldBytes >= least })
	held := s.Stats().HeldBytes
	if held > budget || held > conns*connBudget {
		t.Errorf("%d bytes held; the budgets allow %d and %d", held, conns*connBudget, budget)
	}
	grown := heap() - before
	if most := min(conns*connBudget, budget) + conns*perConn; grown > most {
		t.Errorf("the heap has grown by %d MiB, want at most %d", grown>>20, most>>20)
	}
	t.Logf("%d connections hold %d KiB each, the heap has grown by %d KiB each", conns, held/conns>>10, grown/conns>>10)
	req := &note{Body: Body{Data: pattern(50<<10, 1)}}
	resp, err := Call[note](t.Context(), good, "Echo", req)
	if binds && (!errors.Is(err, ErrOverloaded) || !errors.Is(err, ErrNotExecuted)) {
		t.Errorf("a good client is told: %v", err)
	}
	if !binds && err != nil {
		t.Errorf("a good client is harmed: %v", err)
	}
	for _, i := range intruders {
		i.nc.Close()
	}
	if binds {
		resp, err = Call[note](t.Context(), good.AtLeastOnce(), "Echo", req)
	}
	if err != nil {
		t.Fatalf("a good client, in the end: %v", err)
	}
	mustEqual(t, "echo", resp.Data, req.Data)
	idle(t, s)
	eventually(t, "the intruders are gone", func() bool { return s.Stats().OpenConns == 1 })
	if good.Stats().Conns != 1 {
		t.Error("the good client lost its connection")
	}
}

// claims are what a connection claims, and a last frame that does not come.
func claims() (said []byte, lasts [][]byte) {
	claim := func(fields, body int) []byte {
		return requestOf("Echo", func(h *requestHead) { h.flags, h.fields, h.body = flagChunked, fields, body })
	}
	one := []byte("x")
	said = append(said, frame(kindRequest, callID(1, 0), claim(16<<20, 256<<20))...)
	said = append(said, frame(kindChunk, callID(1, 0), one)...)
	said = append(said, frame(kindRequest, callID(2, 1), claim(0, 40<<10+1))...)
	said = append(said, frame(kindChunk, callID(2, 1), one)...)
	said = append(said, frame(kindRequest, callID(3, 2), claim(0, 256<<20))...)
	said = append(said, frame(kindChunk, callID(3, 2), one)...)
	said = append(said, frame(kindOpen, 1, requestOf("Mute", nil))...)
	return said, [][]byte{
		frameHeadOf(kindRequest, callID(4, 3), maxWhole),
		frameHeadOf(kindData, 1, maxChunk),
		frameHeadOf(kindData, 9, maxChunk),
		frameHeadOf(kindChunk, callID(2, 1), maxChunk),
	}
}

// heap returns how many bytes of the heap and of stacks are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // twice, so that pools are empty
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestHandlersOfTheLost: what ran for a connection that broke the protocol ends.
func TestHandlersOfTheLost(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		s, addr := r.serve(t, ServerConfig{}, muteServer)
		i := intrude(t, r.client, addr)
		for n := range uint64(10) {
			i.say(frame(kindRequest, callID(n+1, n), requestOf("Wait", nil)), frame(kindOpen, n+1, requestOf("Mute", nil)))
		}
		eventually(t, "all run", func() bool { return s.Stats().Running == 20 })
		i.say([]byte{0})
		if !i.hungUp() {
			t.Error("the server does not hang up")
		}
		idle(t, s)
	})
}
