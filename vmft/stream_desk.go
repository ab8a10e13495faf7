package vmft

import (
	"fmt"
	"time"
)

// streamDesk is what a node that is live keeps of the streams, beside their table: how far
// each has come in released outputs, which is what its client may know, and who is attached.
// It is pure: its shell hands it notes as they are released, and frames as they arrive, and
// writes what say returns.
//
// The desk of a node that has just gone live begins with its table: whatever that has was
// acknowledged by the node itself, as the backup, so all of it is released.
type streamDesk struct {
	streams map[streamID]*deskStream
	events  []streamEvent // for the log; data are borrowed from the frame that they came in
	timeout time.Duration

	ackEarly bool // a bug, planted by tests: clients forget what is not safe yet
}

// A deskStream is one stream.
type deskStream struct {
	id    streamID
	side  streamSide
	deaf  bool // an event has said so
	taken bool // the client has taken more than an event has told yet
	told  bool // such an event is on its way
	dying bool // an event that resets it is on its way

	attached uint64 // number of the attachment, 0 for none
	talk     talk
	taking   uint64    // what is before it has come from the client in this attachment
	ending   bool      // and the end
	left     time.Time // since when nobody has been attached
}

func newStreamDesk(t *streamTable, timeout time.Duration, now time.Time) *streamDesk {
	d := &streamDesk{streams: make(map[streamID]*deskStream), timeout: timeout}
	for _, s := range t.list {
		d.streams[s.id] = &deskStream{
			id: s.id, left: now, deaf: s.deaf,
			side: streamSide{
				out: s.out.share(), closed: s.closed,
				in: talkAckment{got: s.in.got, ended: s.in.ended, limit: s.in.limit()},
			},
		}
	}
	return d
}

// tell queues an event.
func (d *streamDesk) tell(e streamEvent) { d.events = append(d.events, e) }

// released takes a note that was released.
func (d *streamDesk) released(n *streamNote, now time.Time) {
	s := d.streams[n.id]
	switch n.kind {
	case noteOpened:
		if s == nil {
			d.streams[n.id] = &deskStream{id: n.id, left: now, side: streamSide{in: talkAckment{limit: streamWindow}}}
		}
		return
	case noteGone:
		if s != nil && (!s.side.reset || s.attached == 0) { // there is nothing that its client has to be told
			delete(d.streams, n.id)
		}
		return
	}
	if s == nil {
		return
	}
	in := &s.side.in
	switch n.kind {
	case noteGot:
		in.got, in.ended = max(in.got, n.off), in.ended || n.flag
	case noteLimit:
		in.limit = max(in.limit, n.off)
	case noteData:
		s.side.out.write(n.data)
		if s.deaf {
			d.kill(s)
		}
	case noteEnd:
		s.side.out.ended = true
		s.side.closed = s.side.closed || n.flag
	case noteTaken:
		if s.told = false; s.taken {
			d.tellTaken(s)
		}
	case noteReset:
		s.side.reset = true
		s.left = now
	}
}

func (d *streamDesk) kill(s *deskStream) {
	if !s.dying {
		s.dying = true
		d.tell(streamEvent{kind: streamReset, id: s.id})
	}
}

// attach begins an attachment. The one before it says no more. It returns nil if there is no
// such stream.
func (d *streamDesk) attach(h *streamHello, number uint64) *deskStream {
	s := d.streams[h.id]
	if s == nil {
		return nil
	}
	s.attached = number
	s.talk = talk{ack: s.side.in}
	s.taking, s.ending = s.side.in.got, s.side.in.ended
	if err := d.ack(s, h.ack); err != nil {
		d.kill(s) // it has bytes that were never sent: nothing can be mended
	}
	s.talk.next = s.side.out.base
	return s
}

// detach ends an attachment.
func (d *streamDesk) detach(s *deskStream, number uint64, now time.Time) {
	if s.attached != number {
		return
	}
	s.attached, s.left = 0, now
	if s.side.reset {
		delete(d.streams, s.id)
	}
}

// heard takes a frame of the client's. One that cannot be right ends the stream: to attach it
// again would only bring the same.
func (d *streamDesk) heard(s *deskStream, f *talkFrameIn) error {
	err := d.take(s, f)
	if err != nil {
		d.kill(s)
	}
	return err
}

func (d *streamDesk) take(s *deskStream, f *talkFrameIn) error {
	switch f.kind {
	case talkAck:
		return d.ack(s, f.ack)
	case talkData:
		s.skip(f.off)
		if f.off != s.taking || s.ending || f.off+uint64(len(f.data)) > s.side.in.limit {
			return fmt.Errorf("%w: %d bytes at %d, where %d were expected", errFormat, len(f.data), f.off, s.taking)
		}
		s.taking += uint64(len(f.data))
		d.tell(streamEvent{kind: streamData, id: s.id, off: f.off, data: f.data})
		if d.ackEarly {
			s.side.in.got = s.taking
		}
	case talkEnd:
		if s.skip(f.off); f.off != s.taking {
			return fmt.Errorf("%w: the end at %d, where %d was expected", errFormat, f.off, s.taking)
		}
		if !s.ending {
			s.ending = true
			d.tell(streamEvent{kind: streamEnd, id: s.id, off: f.off})
		}
		if f.flag && !s.deaf {
			s.deaf = true
			d.tell(streamEvent{kind: streamDeaf, id: s.id})
			if s.side.out.base < s.side.out.end {
				d.kill(s)
			}
		}
	case talkReset:
		d.kill(s)
	default:
		return errFormat
	}
	return nil
}

// skip leaves out what the attachment before this one has brought, and the client has heard of
// in this one.
func (s *deskStream) skip(to uint64) {
	if to > s.taking && to <= s.side.in.got {
		s.taking = to
	}
}

func (d *streamDesk) ack(s *deskStream, a talkAckment) error {
	fresh, err := s.side.heard(a)
	if err != nil || !fresh {
		return err
	}
	if s.taken = true; !s.told {
		d.tellTaken(s)
	}
	return nil
}

// tellTaken tells the log of what the client has, once until that is in it: meanwhile more
// gathers.
func (d *streamDesk) tellTaken(s *deskStream) {
	s.taken, s.told = false, true
	d.tell(streamEvent{kind: streamTaken, id: s.id, off: s.side.out.base, flag: s.side.out.done})
}

// tick gives streams up whose clients have been away for too long.
func (d *streamDesk) tick(now time.Time) {
	for id, s := range d.streams { // order-free: events of different streams have no order
		switch {
		case s.attached != 0 || now.Sub(s.left) < d.timeout:
		case s.side.reset:
			delete(d.streams, id)
		default:
			d.kill(s)
		}
	}
}
