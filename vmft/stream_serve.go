package vmft

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const methodStream = "vmft.Stream"

// deskTick is how often a node looks for streams whose clients have gone.
const deskTick = time.Second

// A streamPort serves the streams of a machine while its node is live.
type streamPort struct {
	l      *leader
	f      *flight
	news   chan struct{} // of capacity 1: there are notes
	active chan struct{} // closed when what the desk began with may be told
	count  atomic.Int64  // of streams

	mu      sync.Mutex // guards what follows; taken before those of the leader
	desk    *streamDesk
	last    uint64 // number of the last attachment
	kicks   map[uint64]chan struct{}
	opening map[streamID]chan byte // what the client is to be answered
}

// board opens the port for streams, if the processor has them. What its table has may be told
// when all that it follows from may, which a marker among the outputs tells.
func (f *flight) board() {
	m := streamsOf(f.r.p)
	if m == nil {
		return
	}
	l := f.l
	f.streams = &streamPort{
		l: l, f: f, news: make(chan struct{}, 1), active: make(chan struct{}), desk: newStreamDesk(m.table, l.n.cfg.StreamTimeout, time.Now()),
		kicks: make(map[uint64]chan struct{}), opening: make(map[streamID]chan byte),
	}
	f.streams.desk.ackEarly = f.r.bugs.ackInputEarly
	if marker := (Output{}); !f.held.push(l.host.position, marker) {
		f.leave(marker)
	}
	l.work.Go(f.streams.run)
}

// run takes the notes that may leave, and looks after streams that nobody is attached to,
// until the term ends.
func (p *streamPort) run() {
	ticker := time.NewTicker(deskTick)
	defer ticker.Stop()
	for {
		select {
		case <-p.news:
			p.l.mu.Lock()
			notes := p.f.notes
			p.f.notes = nil
			p.l.mu.Unlock()
			p.released(notes)
		case <-ticker.C:
			p.mu.Lock()
			p.desk.tick(time.Now())
			p.flush()
			p.mu.Unlock()
		case <-p.l.term.Done():
			return
		}
	}
}

// serveStream is one attachment.
func (n *Node) serveStream(ctx context.Context, h *streamHello, st *rpc.Stream) error {
	l := n.leading.Load()
	switch {
	case l == nil || l.term.Err() != nil:
		return rpc.Refuse(n.elsewhere())
	case l.flight == nil || l.flight.streams == nil:
		return rpc.Refuse(ErrNoStreams)
	}
	return l.flight.streams.serve(ctx, h, st)
}

// serveLive tells whether this node is live.
func (n *Node) serveLive(context.Context, *rpc.Empty) (*rpc.Empty, error) {
	if l := n.leading.Load(); l == nil || l.term.Err() != nil {
		return nil, rpc.Refuse(n.elsewhere())
	}
	return &rpc.Empty{}, nil
}

// flush hands the events to the machine. p.mu is held.
func (p *streamPort) flush() {
	for i := range p.desk.events {
		_ = p.l.submit(kindInput, p.desk.events[i].append(nil)) // fails when the term has ended, and clients know what to do
	}
	p.count.Store(int64(len(p.desk.streams)))
	clear(p.desk.events)
	p.desk.events = p.desk.events[:0]
}

// released takes notes, which may leave now.
func (p *streamPort) released(notes []Output) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for i := range notes {
		if notes[i].Number == 0 {
			close(p.active)
			continue
		}
		n, err := parseStreamNote(notes[i].Data)
		if err != nil { // the table has written it
			p.l.n.cfg.Logger.Error("a note of a stream makes no sense", "error", err)
			continue
		}
		p.desk.released(&n, now)
		if c := p.opening[n.id]; c != nil && (n.kind == noteOpened || n.kind == noteRefused) {
			delete(p.opening, n.id)
			status := byte(welcomeOK)
			if n.kind == noteRefused {
				status = welcomeRefused
			}
			c <- status
		}
		if s := p.desk.streams[n.id]; s != nil && s.attached != 0 {
			poke(p.kicks[s.attached])
		}
	}
	p.flush()
}

// serve is one attachment.
func (p *streamPort) serve(ctx context.Context, h *streamHello, st *rpc.Stream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.l.term, func() { cancel(); st.Close() })()
	select {
	case <-p.active:
	case <-ctx.Done():
		return rpc.Refuse(errors.Join(context.Cause(ctx), rpc.ErrUnavailable))
	}
	s, number, kick, status := p.attach(h)
	if s == nil && h.fresh {
		var err error
		if status, err = p.open(ctx, h); err != nil {
			return err
		}
		if status == welcomeOK {
			s, number, kick, status = p.attach(h)
		}
	} else if s == nil {
		// One that has been replaced and does not know it has none of the streams that were
		// opened since: that there is no such stream is a read, and confirmed as one.
		if _, err := p.l.confirm(ctx); err != nil {
			return rpc.Refuse(p.l.n.elsewhere())
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
	if p.l.term.Err() != nil {
		return rpc.Refuse(context.Cause(p.l.term))
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
	p.desk.detach(s, number, time.Now())
	p.flush()
}

// open has a stream opened, and waits for the position at which it is to be released.
func (p *streamPort) open(ctx context.Context, h *streamHello) (status byte, err error) {
	c := make(chan byte, 1)
	e := streamEvent{kind: streamOpen, id: h.id, port: h.port, from: h.from}
	p.mu.Lock()
	p.opening[h.id] = c
	_ = p.l.submit(kindInput, e.append(nil)) // as above
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
