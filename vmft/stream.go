package vmft

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/trilith-go/trilith/internal/deadline"
	"github.com/trilith-go/trilith/rpc"
)

// DefaultStreamTimeout is how long a stream's client tries to come back to it, and how long
// a machine keeps a stream whose client does not.
const DefaultStreamTimeout = time.Minute

// A Stream is a connection to a program on a fault-tolerant machine that goes on at the other
// node when one of them dies: no byte is lost or repeated in either direction. It is a
// net.Conn, with half-closes; its methods may be called concurrently.
//
// Up to 256 KiB in each direction are under way. What is written counts as delivered when
// both nodes have it. A stream breaks, with an error that matches [ErrStreamLost], if no node
// is live for DefaultStreamTimeout, or all nodes have died.
type Stream struct {
	d    *streamDialer
	id   streamID
	port uint16
	from netip.AddrPort
	end  context.CancelFunc // gives up what is not delivered

	readLimit, writeLimit deadline.Deadline
	readable, writable    chan struct{} // of capacity 1
	kick                  chan struct{} // of capacity 1: there is something to say

	mu     sync.Mutex // guards what follows
	side   streamSide // closed: by Close
	in     receiving
	unread sending // what has arrived: from base to end
	gone   bool    // nothing is left to be done, and the machine has forgotten it
	far    bool    // the program has closed its end: it reads no more
	err    error   // why it has broken
	linger *time.Timer
}

var _ net.Conn = (*Stream)(nil)

// DialStream connects to a port that the program on a fault-tolerant machine listens on. ctx
// bounds the connecting alone. The error matches [ErrStreamRefused] if the program does not
// listen there. [Client.Close] breaks the stream.
func DialStream(ctx context.Context, c *Client, port uint16) (*Stream, error) {
	return dialStream(ctx, c, port, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 1))
}

func dialStream(ctx context.Context, c *Client, port uint16, from netip.AddrPort) (*Stream, error) {
	s := &Stream{
		d: c.streams, port: port, from: from,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), kick: make(chan struct{}, 1),
	}
	s.id = newStreamID()
	s.side.in = talkAckment{limit: s.in.limit()}
	a, err := s.attach(ctx, true)
	if err != nil {
		return nil, &Error{Op: "dial stream", Err: err}
	}
	life, cancel := context.WithCancel(s.d.ctx)
	s.end = cancel
	s.d.count(1)
	s.d.work.Go(func() {
		defer s.d.count(-1)
		defer cancel()
		s.carry(life, a)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.linger != nil {
			s.linger.Stop()
		}
	})
	return s, nil
}

// Read reads what has arrived. After the last byte it returns io.EOF.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		if s.readLimit.Passed() {
			return 0, s.dress("read stream", os.ErrDeadlineExceeded)
		}
		s.mu.Lock()
		n, err := s.read(p)
		more := s.unread.base < s.unread.end || s.in.ended || s.err != nil || s.side.closed
		s.mu.Unlock()
		if n > 0 || err != nil || len(p) == 0 {
			if more {
				poke(s.readable) // for another reader
			}
			return n, err
		}
		select {
		case <-s.readable:
		case <-s.readLimit.Wait():
		}
	}
}

// read reads without waiting. s.mu is held.
func (s *Stream) read(p []byte) (n int, err error) {
	if s.side.closed {
		return 0, s.dress("read stream", net.ErrClosed)
	}
	for n < len(p) {
		b := s.unread.at(s.unread.base, len(p)-n)
		if len(b) == 0 {
			break
		}
		n += copy(p[n:], b)
		_, _ = s.unread.arrived(s.unread.base+uint64(len(b)), false) // they are there
	}
	if n > 0 {
		s.in.consume(uint64(n))
		if limit := s.in.limit(); limit-s.side.in.limit >= streamWindow/4 { // worth a frame
			s.side.in.limit = limit
			poke(s.kick)
		}
		return n, nil
	}
	switch {
	case len(p) == 0:
	case s.err != nil:
		return 0, s.dress("read stream", s.err)
	case s.in.ended:
		return 0, io.EOF
	}
	return 0, nil
}

// Write writes p, and waits for room.
func (s *Stream) Write(p []byte) (n int, err error) {
	for {
		if s.writeLimit.Passed() {
			return n, s.dress("write stream", os.ErrDeadlineExceeded)
		}
		s.mu.Lock()
		switch {
		case s.side.out.ended || s.side.closed:
			err = net.ErrClosed
		case s.err != nil:
			err = s.err
		case s.far:
			err = syscall.EPIPE
		default:
			k := min(len(p), int(streamWindow-(s.side.out.end-s.side.out.base)))
			if k > 0 {
				s.side.out.write(p[:k])
				n, p = n+k, p[k:]
				poke(s.kick)
			}
		}
		s.mu.Unlock()
		if err != nil || len(p) == 0 {
			poke(s.writable) // for another writer
			if err != nil {
				err = s.dress("write stream", err)
			}
			return n, err
		}
		select {
		case <-s.writable:
		case <-s.writeLimit.Wait():
		}
	}
}

// CloseWrite says that nothing more will be written. What was is still delivered.
func (s *Stream) CloseWrite() error { return s.finish("close stream", false) }

// Close ends both directions. What was written is still delivered, in the background, for
// DefaultStreamTimeout at most. The error is nil.
func (s *Stream) Close() error { return s.finish("close stream", true) }

func (s *Stream) finish(op string, all bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.side.closed {
		if all {
			return nil
		}
		return s.dress(op, net.ErrClosed)
	}
	s.side.out.ended = true
	if s.side.closed = all; all {
		s.discard()
		s.linger = time.AfterFunc(DefaultStreamTimeout, s.end)
	}
	s.wake()
	return nil
}

// discard throws away what nobody will read. s.mu is held.
func (s *Stream) discard() {
	s.unread = sending{}
	s.in.read = s.in.got
	s.side.in.limit = s.in.limit()
}

// Reset breaks the connection at both ends: what is under way is lost.
func (s *Stream) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.side.reset, s.side.closed, s.side.out.ended = true, true, true
	s.wake()
	return nil
}

// wake tells all who wait. s.mu is held.
func (s *Stream) wake() {
	poke(s.readable)
	poke(s.writable)
	poke(s.kick)
}

// LocalAddr returns the address by which the program knows this end.
func (s *Stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.from) }

// RemoteAddr returns the program's port, with no address: it has no place.
func (s *Stream) RemoteAddr() net.Addr { return &net.TCPAddr{Port: int(s.port)} }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	s.readLimit.Set(t)
	s.writeLimit.Set(t)
	return nil
}

// SetReadDeadline bounds Read, which then returns an error that matches
// os.ErrDeadlineExceeded.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.readLimit.Set(t)
	return nil
}

// SetWriteDeadline bounds Write likewise.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.writeLimit.Set(t)
	return nil
}

func (s *Stream) dress(op string, err error) error { return &Error{Op: op, Err: err} }

// over reports whether nothing is left to be done. s.mu is held.
func (s *Stream) over() bool {
	return s.err != nil || s.gone || s.side.out.done && (s.side.closed || s.in.ended)
}

// broke takes note that the stream has broken. One of which the machine knows nothing any
// more, after it has told its end, has come to it.
func (s *Stream) broke(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.ended && s.far && errors.Is(why, ErrStreamLost) {
		s.gone = true
	} else if s.err == nil {
		s.err = why
	}
	s.wake()
}

// attach attaches the stream to the node that is live, wherever that is.
func (s *Stream) attach(ctx context.Context, fresh bool) (*attachment, error) {
	s.mu.Lock()
	h := &streamHello{id: s.id, fresh: fresh, port: s.port, from: s.from, ack: s.side.in}
	s.mu.Unlock()
	return s.d.attach(ctx, h)
}

// carry keeps the stream attached, until it is over. Attachments that do not last are not made
// without a pause.
func (s *Stream) carry(ctx context.Context, a *attachment) {
	pause := time.Duration(0)
	for began := time.Now(); !s.talk(ctx, a); began = time.Now() {
		if pause = min(max(2*pause, attachPause), attachPauseMax); time.Since(began) > attachLasts {
			pause = 0
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		again, cancel := context.WithTimeoutCause(ctx, DefaultStreamTimeout, ErrStreamLost)
		var err error
		a, err = s.attach(again, false)
		cancel()
		if err != nil {
			s.broke(err)
			return
		}
	}
}

// talk talks on an attachment until it is lost, or the stream is over.
func (s *Stream) talk(ctx context.Context, a *attachment) (over bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Close waits for nobody, and lets a Read and a Write return.
	defer context.AfterFunc(ctx, func() { a.st.Close() })()
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel()
	if err := s.heard(&a.welcome); err != nil {
		s.broke(err)
		return true
	}
	finished := false
	writer.Go(func() {
		finished = s.write(ctx, a)
		cancel()
	})
	var b []byte
	for {
		f, next, err := readTalk(a.in, b)
		b = next
		if err == nil {
			err = s.heard(&f)
		}
		if errors.Is(err, errFormat) {
			s.broke(err)
		}
		if err != nil {
			break
		}
	}
	poke(s.kick)
	cancel()
	writer.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return finished || s.err != nil
}

// write writes what is to be said, until ctx ends or all is said; then it returns true.
func (s *Stream) write(ctx context.Context, a *attachment) bool {
	t := &talk{ack: a.said}
	var b []byte
	for {
		var over bool
		if b, over = s.say(t, b[:0]); len(b) > 0 {
			if _, err := a.st.Write(b); err != nil {
				return false
			}
			continue
		}
		if over {
			_ = a.st.CloseWrite() // what was written is still sent
			return true
		}
		select {
		case <-s.kick:
		case <-ctx.Done():
			return false
		}
	}
}

// heard takes a frame of the node's.
func (s *Stream) heard(f *talkFrameIn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f.kind {
	case talkAck, talkWelcome:
		if _, err := s.side.heard(f.ack); err != nil {
			return err
		}
		poke(s.writable)
		poke(s.kick)
	case talkData:
		b, err := s.in.take(f.off, f.data)
		if err != nil {
			return err
		}
		if s.side.in.got = s.in.got; s.side.closed {
			s.discard()
		} else {
			s.unread.write(b)
		}
		poke(s.readable)
		poke(s.kick)
	case talkEnd:
		if _, err := s.in.finish(f.off); err != nil {
			return err
		}
		s.side.in.ended = true
		s.far = s.far || f.flag
		s.wake()
	case talkReset:
		if s.err == nil {
			s.err = syscall.ECONNRESET
		}
		s.wake()
		return io.EOF
	default:
		return errFormat
	}
	return nil
}

// say appends what is to be said on an attachment now. over reports that with it all is said
// and heard.
func (s *Stream) say(t *talk, dst []byte) (b []byte, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dst = t.say(&s.side, dst)
	if s.side.reset && t.over && s.err == nil {
		s.err = net.ErrClosed
	}
	return dst, s.over()
}

// The errors of streams.
const (
	// ErrStreamRefused says that the program does not listen on the port, or that it has
	// too many connections.
	ErrStreamRefused = rpc.Code("vmft: the program does not accept the connection")
	// ErrStreamLost says that a stream could not be resumed: the machine knows nothing of it,
	// or no node was live for too long.
	ErrStreamLost = rpc.Code("vmft: the stream is lost")
)
