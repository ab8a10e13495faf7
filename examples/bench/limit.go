package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
)

// The limit is the least that any layer of remote calls on one connection has to
// do, done as cheaply as we know: frames of a length, an id and a payload;
// callers that combine their requests into one write; a handler that runs where
// the request was read; responses collected until there is nothing more to read;
// no buffer made twice. It has no deadlines, no errors but a broken connection,
// no limits, no types, nobody to be fair to.
//
// There are two. In limit-eager a caller writes as soon as nobody else does, and
// what comes meanwhile leaves together. In limit it first lets the others run
// that the last responses have woken, so that a batch that came in one read leaves
// in one write: as little work as there can be.
//
// For one bulk call at a time it is not the fastest there is: a bare exchange with
// one goroutine at each end, where the caller itself reads, moves up to half as
// much again. The ends then take turns on one core, and the bytes stay in its cache. With
// a reader that many callers share, the copies in and out go on at once, on two.

const (
	limitHeader = 8        // length of the payload and id, little endian, 4 bytes each
	limitBuffer = 64 << 10 // for reading; also the point from which payloads are not copied

	// limitWrite is how much of a payload leaves at first: the reader is awake when the rest
	// comes, and has not read as far. Halves and three quarters of 1 MiB do as well; with all
	// at once, or quarters, it takes up to twice as long.
	limitWrite = 768 << 10
)

// openLimit opens one of the two limits.
func openLimit(yield bool) func(context.Context, rpcCase) (*load, error) {
	return func(ctx context.Context, c rpcCase) (*load, error) { return startLimit(ctx, c, yield) }
}

func startLimit(ctx context.Context, c rpcCase, yield bool) (*load, error) {
	if !yield && c.kind != echo {
		return nil, nil // nobody to wait for
	}
	conn, server, err := tcpPair(ctx)
	if err != nil {
		return nil, err
	}
	if c.kind == stream {
		return limitStream(conn, server), nil
	}
	handle := func(req []byte) []byte { return req }
	if c.kind == bulk {
		body := newBulkBody()
		handle = func([]byte) []byte { return body }
	}
	var running sync.WaitGroup
	running.Go(func() { serveLimit(server, handle) })
	client := newLimitClient(conn, c.callers, yield)
	running.Go(client.read)
	l := &load{close: func() error {
		err := conn.Close()
		running.Wait()
		return err
	}}
	for id := range c.callers {
		e := newExchange(c.kind, id)
		l.callers = append(l.callers, func() error {
			e.next()
			n, err := client.call(id, e.req, e.resp)
			if err != nil {
				return err
			}
			return e.check(e.resp[:n])
		})
	}
	return l, nil
}

// tcpPair returns the two ends of a connection over loopback TCP.
func tcpPair(ctx context.Context) (client, server net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	client, err = new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	server, err = ln.Accept() // the kernel has the connection already
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, server, nil
}

// limitStream is a bare connection, written to on one side and read on the other.
func limitStream(conn, server net.Conn) *load {
	var running sync.WaitGroup
	running.Go(func() {
		defer server.Close()
		buf := make([]byte, chunkSize)
		for {
			if _, err := server.Read(buf); err != nil {
				return
			}
		}
	})
	chunk := make([]byte, chunkSize)
	return &load{
		callers: []caller{func() error {
			_, err := conn.Write(chunk)
			return err
		}},
		close: func() error {
			err := conn.Close()
			running.Wait()
			return err
		},
	}
}

// serveLimit answers the requests of one connection until it ends.
func serveLimit(conn net.Conn, handle func(req []byte) []byte) {
	defer conn.Close()
	in := make([]byte, limitBuffer)
	var out []byte
	var pair [2][]byte
	bufs := new(net.Buffers) // on the heap for good: WriteTo makes it escape
	have := 0
	for {
		n, err := conn.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		rest := in[:have]
		for len(rest) >= limitHeader {
			size := int(binary.LittleEndian.Uint32(rest))
			if len(rest) < limitHeader+size {
				break
			}
			resp := handle(rest[limitHeader : limitHeader+size])
			out = binary.LittleEndian.AppendUint32(out, uint32(len(resp)))
			out = append(out, rest[4:limitHeader]...)
			rest = rest[limitHeader+size:]
			if len(resp) < limitBuffer {
				out = append(out, resp...)
				continue
			}
			first := min(len(resp), limitWrite)
			pair = [2][]byte{out, resp[:first]}
			*bufs = pair[:] // writev
			if _, err := bufs.WriteTo(conn); err != nil {
				return
			}
			out = out[:0]
			if first == len(resp) {
				continue
			}
			if _, err := conn.Write(resp[first:]); err != nil {
				return
			}
		}
		have = copy(in, rest)
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

// A limitClient carries the calls of a fixed number of callers on one connection.
type limitClient struct {
	conn   net.Conn
	yield  bool        // to the other callers before a write
	slots  []limitSlot // by id
	flying atomic.Int32

	mu      sync.Mutex // guards what follows
	pending []byte     // requests that nobody has begun to write
	spare   []byte     // the buffer that pending changes places with
	writing bool       // a caller is in flush
	err     error      // why the connection is of no more use
}

// A limitSlot is where one caller waits.
type limitSlot struct {
	resp []byte        // where the response goes
	n    int           // its length
	done chan struct{} // holds one token when it is there
}

func newLimitClient(conn net.Conn, callers int, yield bool) *limitClient {
	c := &limitClient{conn: conn, yield: yield, slots: make([]limitSlot, callers)}
	for i := range c.slots {
		c.slots[i].done = make(chan struct{}, 1)
	}
	return c
}

// call sends a request and waits for its response, which it reads into resp.
func (c *limitClient) call(id int, req, resp []byte) (int, error) {
	s := &c.slots[id]
	s.resp = resp
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return 0, c.err
	}
	c.pending = binary.LittleEndian.AppendUint32(c.pending, uint32(len(req)))
	c.pending = binary.LittleEndian.AppendUint32(c.pending, uint32(id))
	c.pending = append(c.pending, req...)
	first := !c.writing
	c.writing = true
	c.mu.Unlock()
	c.flying.Add(1)
	if first {
		c.flush()
	}
	<-s.done
	c.flying.Add(-1)
	if s.n < 0 {
		return 0, c.err
	}
	return s.n, nil
}

// flush writes what is pending until there is nothing more. Before each write, if
// it yields, it lets the other callers, which the last batch of responses has woken, add theirs.
func (c *limitClient) flush() {
	for {
		if c.yield && c.flying.Load() > 1 {
			runtime.Gosched()
		}
		c.mu.Lock()
		out := c.pending
		if len(out) == 0 {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.pending, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		_, err := c.conn.Write(out)
		if err != nil {
			c.conn.Close() // read fails everybody
		}
		c.mu.Lock()
		c.spare = out
		c.mu.Unlock()
	}
}

// read hands out responses until the connection ends.
func (c *limitClient) read() {
	err := c.responses()
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.conn.Close()
	for i := range c.slots {
		c.slots[i].n = -1
		select {
		case c.slots[i].done <- struct{}{}:
		default:
		}
	}
}

func (c *limitClient) responses() error {
	in := make([]byte, limitBuffer)
	fill := len(in)
	have := 0
	for {
		n, err := c.conn.Read(in[have:fill])
		if err != nil {
			return err
		}
		have += n
		fill = len(in)
		rest := in[:have]
		for len(rest) >= limitHeader {
			size := int(binary.LittleEndian.Uint32(rest))
			id := int(binary.LittleEndian.Uint32(rest[4:]))
			if id >= len(c.slots) || size > len(c.slots[id].resp) {
				return fmt.Errorf("a response of %d bytes to %d", size, id)
			}
			if len(rest) < limitHeader+size && size < limitBuffer/2 {
				break
			}
			s := &c.slots[id]
			s.n = size
			got := copy(s.resp[:size], rest[limitHeader:])
			rest = rest[limitHeader+got:]
			if got < size {
				if _, err := io.ReadFull(c.conn, s.resp[got:size]); err != nil {
					return err
				}
				// Likely another such follows: read little more than its header, since
				// what is read here is copied twice.
				fill = 4 << 10
			}
			s.done <- struct{}{}
		}
		have = copy(in, rest)
	}
}
