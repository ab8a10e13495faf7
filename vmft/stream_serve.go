package vmft

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const methodStream = "vmft.Stream"

// deskTick is how often a node looks for streams whose clients have gone.
const deskTick = time.Second

// A streamPort serves the streams of a machine while its node is live.
type streamPort struct {
	// inject hands an event to the machine. It never blocks: the windows of the streams bound
	// what is under way.
	inject func(event []byte)
	term   context.Context
	now    func() time.Time

	mu      sync.Mutex // guards what follows
	desk    *streamDesk
	last    uint64 // number of the last attachment
	kicks   map[uint64]chan struct{}
	opening map[streamID]chan byte // what the client is to be answered
}

// newStreamPort returns the port of a node that has gone live with a table.
func newStreamPort(term context.Context, t *streamTable, timeout time.Duration, inject func([]byte)) *streamPort {
	return &streamPort{
		inject: inject, term: term, now: time.Now, desk: newStreamDesk(t, timeout, time.Now()),
		kicks: make(map[uint64]chan struct{}), opening: make(map[streamID]chan byte),
	}
}

// run looks after streams that nobody is attached to, until the term ends.
func (p *streamPort) run() {
	ticker := time.NewTicker(deskTick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.mu.Lock()
			p.desk.tick(p.now())
			p.flush()
			p.mu.Unlock()
		case <-p.term.Done():
			return
		}
	}
}

// flush hands the events to the machine. p.mu is held.
func (p *streamPort) flush() {
	for i := range p.desk.events {
		p.inject(p.desk.events[i].append(nil))
	}
	clear(p.desk.events)
	p.desk.events = p.desk.events[:0]
}

// released takes an output of the machine that may leave. It is borrowed.
func (p *streamPort) released(output []byte) error {
	n, err := parseStreamNote(output)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.desk.released(&n, p.now())
	if c := p.opening[n.id]; c != nil && (n.kind == noteOpened || n.kind == noteRefused) {
		delete(p.opening, n.id)
		status := byte(welcomeOK)
		if n.kind == noteRefused {
			status = welcomeRefused
		}
		c <- status
	}
	p.flush()
	if s := p.desk.streams[n.id]; s != nil && s.attached != 0 {
		poke(p.kicks[s.attached])
	}
	return nil
}

// serve is one attachment.
func (p *streamPort) serve(ctx context.Context, h *streamHello, st *rpc.Stream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.term, func() { cancel(); st.Close() })()
	s, number, kick, status := p.attach(h)
	if s == nil && h.fresh {
		var err error
		if status, err = p.open(ctx, h); err != nil {
			return err
		}
		if status == welcomeOK {
			s, number, kick, status = p.attach(h)
		}
	}
	p.mu.Lock()
	ack := talkAckment{limit: streamWindow}
	if s != nil {
		ack = s.side.in
		s.talk.ack = ack
	}
	p.mu.Unlock()
	_, err := st.Write(appendFrame(nil, talkWelcome, ack.append([]byte{status})))
	if s == nil || err != nil {
		p.detach(s, number)
		return err
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		p.write(ctx, s, number, kick, st)
		cancel()
		st.SetReadDeadline(time.Unix(1, 0)) // the reader ends
	})
	err = p.read(s, number, st)
	cancel()
	writer.Wait()
	p.detach(s, number)
	if p.term.Err() != nil {
		return rpc.Refuse(context.Cause(p.term))
	}
	if errors.Is(err, errFormat) {
		return err
	}
	return nil
}

func (p *streamPort) attach(h *streamHello) (s *deskStream, number uint64, kick chan struct{}, status byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.desk.streams[h.id]
	if before == nil {
		return nil, 0, nil, welcomeGone
	}
	poke(p.kicks[before.attached]) // it ends
	p.last++
	number, kick = p.last, make(chan struct{}, 1)
	s = p.desk.attach(h, number)
	p.kicks[number] = kick
	p.flush()
	return s, number, kick, welcomeOK
}

func (p *streamPort) detach(s *deskStream, number uint64) {
	if s == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.kicks, number)
	p.desk.detach(s, number, p.now())
}

// open has a stream opened, and waits for the position at which it is to be released.
func (p *streamPort) open(ctx context.Context, h *streamHello) (status byte, err error) {
	c := make(chan byte, 1)
	e := streamEvent{kind: streamOpen, id: h.id, port: h.port, from: h.from}
	p.mu.Lock()
	p.opening[h.id] = c
	p.inject(e.append(nil))
	p.mu.Unlock()
	select {
	case status = <-c:
		return status, nil
	case <-ctx.Done():
		p.mu.Lock()
		if p.opening[h.id] == c {
			delete(p.opening, h.id)
		}
		p.mu.Unlock()
		return 0, rpc.Refuse(errors.Join(context.Cause(ctx), rpc.ErrUnavailable))
	}
}

// write writes what the desk has to say, until the attachment has ended or ctx.
func (p *streamPort) write(ctx context.Context, s *deskStream, number uint64, kick chan struct{}, st *rpc.Stream) {
	var b []byte
	for {
		p.mu.Lock()
		current := s.attached == number
		if current {
			b = s.talk.say(&s.side, b[:0])
		}
		p.mu.Unlock()
		if !current {
			return
		}
		if len(b) > 0 {
			if _, err := st.Write(b); err != nil {
				return
			}
			continue
		}
		select {
		case <-kick:
		case <-ctx.Done():
			return
		}
	}
}

// read takes the client's frames.
func (p *streamPort) read(s *deskStream, number uint64, st io.Reader) error {
	in := bufio.NewReaderSize(st, talkBatch)
	var b []byte
	for {
		f, next, err := readTalk(in, b)
		if err != nil {
			return err
		}
		b = next
		p.mu.Lock()
		if s.attached != number {
			p.mu.Unlock()
			return nil
		}
		if err = p.desk.heard(s, &f); err != nil {
			err = fmt.Errorf("a frame of kind %d of stream %x: %w", f.kind, s.id, err)
		}
		p.flush()
		poke(p.kicks[number])
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// readTalk reads a frame. buf is used again for the next.
func readTalk(r *bufio.Reader, buf []byte) (f talkFrameIn, b []byte, err error) {
	head, err := r.Peek(frameHead)
	if err != nil {
		return f, buf, err
	}
	kind, size := head[0], int(le.Uint32(head[1:]))
	if size > talkFrame {
		return f, buf, fmt.Errorf("%w: a frame of %d bytes", errFormat, size)
	}
	_, _ = r.Discard(frameHead) // it is there
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	b = buf[:size]
	if _, err := io.ReadFull(r, b); err != nil {
		return f, b, err
	}
	f, err = parseTalk(kind, b)
	return f, b, err
}
