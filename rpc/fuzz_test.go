package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/wire"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// disasters are what every decoder is shown first, in the same order each time.
func disasters(f *testing.F, add func(b []byte)) {
	f.Helper()
	for _, b := range testutil.Strangers() {
		add(b)
	}
	for _, all := range []map[string][]byte{garbage(), violations()} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			add(all[name][:min(len(all[name]), 4096)])
		}
	}
}

// maxHead bounds a frame's bytes before its payload.
const maxHead = binary.MaxVarintLen32 + 1 + binary.MaxVarintLen64

// FuzzFrameHead: what is accepted is within the limits and reads back the same.
func FuzzFrameHead(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b) })
	f.Add(appendHead(nil, kindData, 1<<63, maxChunk))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseHead(b)
		switch {
		case err != nil:
			if !errors.Is(err, ErrProtocol) || n != 0 {
				t.Fatalf("%d bytes taken, error %v", n, err)
			}
			return
		case n == 0:
			if len(b) >= maxHead {
				t.Fatalf("a head of more than %d bytes is waited for", len(b))
			}
			return
		case n > len(b) || n > maxHead || h.size < 0 || h.size > maxFrame || h.kind == 0 || h.kind >= kindEnd:
			t.Fatalf("head %+v of %d bytes", h, n)
		}
		// With less of it there, it is not taken yet, nor refused.
		for cut := range n {
			if _, n, err := parseHead(b[:cut]); n != 0 || err != nil {
				t.Fatalf("%d of %d bytes: %d taken, error %v", cut, len(b), n, err)
			}
		}
		again, _, err := parseHead(appendHead(nil, h.kind, h.id, h.size))
		if err != nil || again != h {
			t.Fatalf("%+v reads back as %+v, %v", h, again, err)
		}
	})
}

// pieces is a connection from which bytes arrive in pieces of some size.
type pieces struct {
	net.Conn
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(len(p.rest), p.size)])
	p.rest = p.rest[n:]
	return n, nil
}

// FuzzFrameReader: frames come out the same however their bytes come in.
func FuzzFrameReader(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b, 7) })
	var many []byte
	for n := range uint64(200) {
		many = append(many, frame(kindRequest, callID(n, n), pattern(int(n)*100, byte(n)))...)
		many = append(many, frame(kindData, n, pattern(int(n)*10, byte(n)))...)
	}
	f.Add(many, 1000)
	f.Add(many, 70_000)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		type whole struct {
			h       frameHead
			payload []byte
		}
		read := func(size int) (frames []whole, end error) {
			r := frameReader{nc: &pieces{rest: b, size: size}, block: func() error { return nil }, total: new(atomic.Int64)}
			defer r.close()
			for {
				h, payload, err := r.next()
				if err == nil && !h.kind.whole() {
					payload = make([]byte, h.size)
					err = r.readFull(payload)
				}
				if err != nil {
					return frames, err
				}
				frames = append(frames, whole{h, bytes.Clone(payload)})
				if r.buf != nil && cap(r.buf.b) > busyRead {
					t.Fatalf("a read buffer of %d bytes", cap(r.buf.b))
				}
			}
		}
		if size < 1 || len(b) > 1<<20 {
			return
		}
		all, errAll := read(1 << 20)
		some, errSome := read(size)
		if !reflect.DeepEqual(all, some) || errors.Is(errAll, ErrProtocol) != errors.Is(errSome, ErrProtocol) {
			t.Fatalf("%d frames and %v, or %d frames and %v", len(all), errAll, len(some), errSome)
		}
	})
}

// FuzzRequestHead: what is accepted is within the limits and reads back the same.
func FuzzRequestHead(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b) })
	for _, flags := range []byte{0, flagDeadline, flagChunked, flagExactlyOnce, flagDeadline | flagChunked | flagExactlyOnce | flagAtLeastOnce} {
		f.Add(requestOf("Echo", func(h *requestHead) {
			h.flags, h.timeout, h.seq, h.mark, h.fields, h.body = flags, time.Second, 9, 8, 100, 1000
		}))
	}
	lim := Limits{}.withDefaults()
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again requestHead
		d := wire.NewDecoder(b)
		h.parse(&d, &lim)
		if d.Err() != nil {
			return
		}
		if h.fields > lim.MaxMessageBytes || h.body > lim.MaxBodyBytes || h.timeout > maxTimeout || h.timeout < 0 {
			t.Fatalf("beyond the limits: %+v", h)
		}
		h.method = string(h.name)
		laid := h.append(nil)
		if len(laid) > maxRequestHead || len(laid) != h.size() {
			t.Fatalf("a head of %d bytes", len(laid))
		}
		d = wire.NewDecoder(laid)
		again.parse(&d, &lim)
		again.method = string(again.name)
		h.name, again.name = nil, nil
		if d.Finish() != nil || !reflect.DeepEqual(h, again) {
			t.Fatalf("%+v reads back as %+v, %v", h, again, d.Err())
		}
	})
}

// FuzzHello: what is accepted is within the limits and reads back the same.
func FuzzHello(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b) })
	f.Add(greeting(func(h *hello) { h.cluster, h.node, h.prove = "cluster", "node", true })[len(magic)+2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again hello
		if err := h.parse(b); err != nil {
			return
		}
		if len(h.cluster) > maxName || len(h.node) > maxName || h.minVersion == 0 || h.maxVersion < h.minVersion {
			t.Fatalf("out of range: %+v", h)
		}
		if err := again.parse(h.append(nil)); err != nil || again != h {
			t.Fatalf("%+v reads back as %+v, %v", h, again, err)
		}
	})
}

// FuzzError: what arrives as an error matches, sent on, the same.
func FuzzError(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b) })
	for _, err := range []error{
		errCustom, io.EOF, RedirectTo("a:1", "b:2"), RedirectTo(), Refuse(ErrUnavailable),
		errors.Join(errCustom, context.Canceled, ErrSessionExpired), errors.New("words"),
	} {
		f.Add(appendError(nil, outcomeOfHandler(err), err))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := wire.NewDecoder(b)
		outcome, err := decodeError(&d)
		if d.Err() != nil {
			return
		}
		if err == nil || outcome > Executed {
			t.Fatalf("outcome %v, error %v", outcome, err)
		}
		laid := appendError(nil, outcome, err)
		d = wire.NewDecoder(laid)
		outcome2, err2 := decodeError(&d)
		if d.Finish() != nil || outcome2 != outcome {
			t.Fatalf("%v, %v reads back as %v, %v (%v)", outcome, err, outcome2, err2, d.Err())
		}
		for _, s := range sentinels {
			if errors.Is(err, s.err) && !errors.Is(err2, s.err) && len(codesOf(err)) < maxErrorCodes {
				t.Fatalf("%v is no longer %v as %v", err, s.err, err2)
			}
		}
	})
}

// FuzzMessages: the messages of this package.
func FuzzMessages(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b) })
	m := &sessionMessage{id: SessionID{Table: [16]byte{1, 2, 3}, N: 1 << 40}, watermark: 7}
	seed, _ := m.AppendBinary(nil)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again sessionMessage
		if m.UnmarshalBinary(b) == nil {
			laid, err := m.AppendBinary(nil)
			if err != nil || again.UnmarshalBinary(laid) != nil || again != m {
				t.Fatalf("%+v reads back as %+v, %v", m, again, err)
			}
		}
		if err := new(Empty).UnmarshalBinary(b); (err == nil) != (len(b) == 0) {
			t.Fatalf("%d bytes as the empty message: %v", len(b), err)
		}
		sc := &serverCall{}
		if sc.setResult(b) == nil { // a result out of a table's journal
			r := sc.result(nil)
			other := &serverCall{}
			if err := other.setResult(slices.Concat(r[:]...)); err != nil || !bytes.Equal(other.fields, sc.fields) || other.flags != sc.flags {
				t.Fatalf("a stored result does not read back: %v", err)
			}
		}
		if out, err := ParseSessionOutput(b); err == nil && len(out) >= len(b) {
			t.Fatal("an output longer than it is")
		}
	})
}

// FuzzHandshake: whatever the other side says, each side comes to an end, and only
// somebody who knows the secret is let in.
func FuzzHandshake(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b, true); f.Add(b, false) })
	f.Add(greeting(nil), true)
	f.Add(append(greeting(nil), appendBlock(nil, make([]byte, 32))...), true)
	f.Add(appendBlock([]byte(magic), append([]byte{helloOK}, greeting(func(h *hello) { h.prove = true })[len(magic)+2:]...)), false)
	hs := handshake{cluster: "", secret: []byte("secret"), lim: Limits{HandshakeTimeout: 20 * time.Second}.withDefaults()}
	f.Fuzz(func(t *testing.T, b []byte, server bool) {
		near, far := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() {
			far.Write(b)
			far.Close()
		})
		wg.Go(func() { io.Copy(io.Discard, far) })
		var err error
		if server {
			_, _, err = hs.server(t.Context(), near, func() byte { return helloOK })
		} else {
			_, _, err = hs.client(t.Context(), near)
		}
		if err == nil {
			t.Error("a stranger was let in")
		}
		near.Close()
		wg.Wait()
	})
}

// FuzzServer: bytes thrown at a server's port, before the handshake or after it:
// it does not fall over, hang or keep anything, and serves others.
func FuzzServer(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b, true); f.Add(b, false) })
	f.Add(append(greeting(nil), frame(kindRequest, callID(1, 0), requestOf("Echo", nil), []byte{0, 0})...), false)
	conversation := slices.Concat(
		frame(kindRequest, callID(1, 0), requestOf("Echo", nil), []byte{0, 0}),
		frame(kindRequest, callID(2, 1), requestOf("Inline", nil), []byte{0, 0}),
		frame(kindRequest, callID(3, 2), requestOf("Echo", func(h *requestHead) { h.flags, h.fields, h.body = flagChunked, 2, 8 })),
		frame(kindChunk, callID(3, 2), []byte{0, 0, 1, 2, 3}), frame(kindPing, 0), frame(kindChunk, callID(3, 2), []byte{4, 5, 6, 7, 8}),
		frame(kindRequest, callID(4, 3), requestOf("Wait", nil)), frame(kindCancel, callID(4, 3)),
		frame(kindOpen, 1, requestOf("Stream", nil)), frame(kindData, 1, []byte("hello")), frame(kindCredit, 1, []byte{100}),
		frame(kindFin, 1), frame(kindOpen, 2, requestOf("Stream", nil)), frame(kindReset, 2, appendError(nil, Executed, errCustom)),
		frame(kindRequest, callID(5, 4), requestOf("Echo", func(h *requestHead) { h.flags = flagExactlyOnce; h.seq = 1 }), []byte{0, 0}),
		frame(kindRequest, callID(6, 5), requestOf(methodOpenSession, nil)),
		frame(kindRequest, callID(7, 6), requestOf("Echo", func(h *requestHead) { h.flags, h.body = flagChunked, 100 })), frame(kindCancel, callID(7, 6)),
	)
	f.Add(conversation, true)
	n := transporttest.NewNetwork(f, transport.NetworkConfig{})
	s, addr := serveAt(f, n.Host("server"), ":1", ServerConfig{
		Sessions: newTable(f), Limits: Limits{ConnBudgetBytes: 4 << 20},
	}, func(s *Server) {
		muteServer(s)
		HandleInline(s, "Inline", echo)
		HandleStream(s, "Stream", echoStream)
	})
	good := dialFrom(f, n.Host("client"), ClientConfig{Addrs: []string{addr}})
	f.Fuzz(func(t *testing.T, b []byte, inside bool) {
		var nc net.Conn
		if inside {
			nc = intrude(t, n.Host("stranger"), addr).nc
		} else {
			var err error
			if nc, err = n.Host("stranger").Dial(t.Context(), addr); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(io.Discard, nc) })
		nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
		nc.Write(b)
		if resp, err := Call[note](t.Context(), good, "Echo", &note{N: 5}); err != nil || resp.N != 5 {
			t.Fatalf("a good client is harmed: %v", err)
		}
		nc.Close()
		wg.Wait()
		idle(t, s)
		eventually(t, "the stranger is gone", func() bool { return s.Stats().OpenConns == 1 })
		if p := s.Stats().Panics; p != 0 {
			t.Fatalf("%d panics", p)
		}
	})
}

// FuzzClient: the same for a client with a call and a stream in progress, whose
// server says whatever it likes.
func FuzzClient(f *testing.F) {
	disasters(f, func(b []byte) { f.Add(b) })
	id := callID(1, 0)
	f.Add(slices.Concat(
		frame(kindResponse, id, []byte{flagChunked, 2, 4}), frame(kindPing, 0), frame(kindChunk, id, []byte{0, 0, 1, 2}),
		frame(kindCredit, 1, []byte{0}), frame(kindData, 1, []byte("hello")), frame(kindChunk, id, []byte{3, 4}),
		frame(kindReset, 1, appendError(nil, Executed, errCustom)), frame(kindGoAway, 0),
	))
	f.Add(slices.Concat(frame(kindCredit, 1, []byte{0}), frame(kindFin, 1), frame(kindResponse, id, []byte{0, 1, 0})))
	f.Add(frame(kindResponse, id, []byte{flagError}, appendError(nil, NotExecuted, RedirectTo("x:1"))))
	n := transporttest.NewNetwork(f, transport.NetworkConfig{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := n.Host("server").Listen(t.Context(), ":0")
		if err != nil {
			t.Fatal(err)
		}
		c := dialFrom(t, n.Host("client"), ClientConfig{Addrs: []string{l.Addr().String()}, Backoff: Backoff{Max: 5 * time.Millisecond}})
		var server sync.WaitGroup
		server.Go(func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				answer(nc, b)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var calls sync.WaitGroup
		calls.Go(func() {
			resp := &note{Body: Body{Data: make([]byte, 0, 16)}}
			_ = CallInto(ctx, c, "Echo", &note{}, resp)
		})
		calls.Go(func() {
			st, err := OpenStream(ctx, c, "Stream", &Empty{})
			if err == nil {
				io.Copy(io.Discard, st)
				st.Close()
			}
		})
		calls.Wait()
		if ctx.Err() != nil {
			t.Error("a call or stream hangs")
		}
		l.Close()
		c.Close()
		server.Wait()
	})
}

// answer is a server that says b when it has been asked for two things, and hangs
// up.
func answer(nc net.Conn, b []byte) {
	defer nc.Close()
	hs := handshake{lim: Limits{}.withDefaults()}
	if _, _, err := hs.server(context.Background(), nc, func() byte { return helloOK }); err != nil {
		return
	}
	nc.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	r := frameReader{nc: nc, block: func() error { return nil }, total: new(atomic.Int64)}
	defer r.close()
	for range 2 {
		if _, _, err := r.next(); err != nil {
			break // one of them has ended already, with the connection before
		}
	}
	nc.Write(b)
	nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	io.Copy(io.Discard, nc)
}
