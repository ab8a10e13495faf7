package vmft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// maxStreams bounds the streams of a machine.
const maxStreams = 4096

// firstConn is the number before that of the first connection that a stream becomes.
const firstConn = 1 << 32

// A Network says how a [Processor] is told of its connections, and tells what becomes of
// them. Connections that come from outside are numbered from 2^32 on; a number is never used
// again. The methods are pure.
type Network interface {
	// Connect is the event of a connection to a port that the program may listen on. If it
	// does not, EffectClose follows at once.
	Connect(conn uint64, port uint16, from netip.AddrPort) []byte
	// Data is the event of bytes that have arrived; at most 256 KiB of a connection are
	// unread at any time. b is borrowed.
	Data(conn uint64, b []byte) []byte
	// End is the event of the far side's sending no more, Reset that of its having broken.
	End(conn uint64) []byte
	Reset(conn uint64) []byte
	// Taken is the event of n bytes of output having been taken over, which makes room for
	// so many.
	Taken(conn uint64, n int) []byte
	// Effect reads an output. n counts the bytes of EffectWindow, data are those of
	// EffectData, borrowed from output.
	Effect(output []byte) (effect int, conn uint64, n int, data []byte)
}

// What an output is to a connection.
const (
	EffectNone   = 0 // it is about something else
	EffectData   = 1 // bytes leave
	EffectWindow = 2 // the program has read bytes
	EffectEnd    = 3 // the program sends no more
	EffectClose  = 4 // it sends no more, and reads no more
)

// streamTable is the part of a replicated machine's state that makes connections outlive the
// machine's hosts: of each stream, what has arrived of either direction and what may have to
// be sent again. It follows from the log alone; so both nodes have the same, and the one that
// goes live goes on with each stream where its client has got to.
//
// A stream's bytes are counted from 0 in both directions. What a client sends counts as
// arrived when its entry is released; what the program sends is kept until the client has
// said, by an entry, that it has it.
//
// Invariants: each direction's own; a stream is in both indexes, or in neither; conns rise.
type streamTable struct {
	net  Network
	conn uint64         // the last number given
	list []*tableStream // by number
	byID map[streamID]*tableStream
	bugs streamBugs

	// Under state transfer. No part of the state.
	deltas bool     // there will be some
	gone   []uint64 // numbers of streams that were forgotten since the last one
}

// A tableStream is one stream.
type tableStream struct {
	id     streamID
	conn   uint64
	in     receiving
	out    sending
	closed bool // by the program
	deaf   bool // the client reads no more

	sent streamMark // the stream in the last delta
}

// streamBugs are planted by tests.
type streamBugs struct {
	forgetEarly bool // what was let out is forgotten before its client has it
	trustOffset bool // what arrives again is taken again
}

func newStreamTable(net Network) *streamTable {
	return &streamTable{net: net, conn: firstConn, byID: make(map[streamID]*tableStream)}
}

// told does what an event says, and hands to inject what the processor is to be told, and to
// note what the client may be; if it has opened a stream, [streamTable.welcome] says the rest
// when effect has seen all that came of it. An event that contradicts the table is of no effect, for a
// client must not stop a machine; one that inject refuses is an error.
func (t *streamTable) told(e *streamEvent, inject func([]byte) error, note func(streamNote)) error {
	s := t.byID[e.id]
	if s == nil {
		if e.kind == streamOpen {
			return t.open(e, inject)
		}
		note(streamNote{kind: noteGone, id: e.id})
		return nil
	}
	switch e.kind {
	case streamOpen: // again: its client has not heard of it
		note(streamNote{kind: noteOpened, id: s.id, off: s.in.got})
	case streamData:
		return t.data(s, e, inject, note)
	case streamEnd:
		if fresh, err := s.in.finish(e.off); err == nil && fresh {
			note(streamNote{kind: noteGot, id: s.id, off: s.in.got, flag: true})
			if !s.closed {
				return inject(t.net.End(s.conn))
			}
		}
	case streamTaken:
		return t.taken(s, e, inject, note)
	case streamReset:
		return t.reset(s, inject, note)
	case streamDeaf: // the node gives it up as soon as the program has something to say
		s.deaf = true
	}
	return nil
}

func (t *streamTable) open(e *streamEvent, inject func([]byte) error) error {
	if len(t.list) >= maxStreams {
		return nil
	}
	t.conn++
	s := &tableStream{id: e.id, conn: t.conn}
	t.list = append(t.list, s)
	t.byID[s.id] = s
	return inject(t.net.Connect(s.conn, e.port, e.from))
}

func (t *streamTable) data(s *tableStream, e *streamEvent, inject func([]byte) error, note func(streamNote)) error {
	if t.bugs.trustOffset {
		e.off = s.in.got
	}
	fresh, err := s.in.take(e.off, e.data)
	if err != nil || len(fresh) == 0 {
		return nil
	}
	note(streamNote{kind: noteGot, id: s.id, off: s.in.got})
	if s.closed { // as a host does to who sends to a closed connection
		return t.reset(s, inject, note)
	}
	return inject(t.net.Data(s.conn, fresh))
}

func (t *streamTable) taken(s *tableStream, e *streamEvent, inject func([]byte) error, note func(streamNote)) error {
	note(streamNote{kind: noteTaken, id: s.id})
	fresh, err := s.out.arrived(e.off, e.flag)
	if err != nil {
		return nil
	}
	if fresh > 0 && !s.closed {
		if err := inject(t.net.Taken(s.conn, int(fresh))); err != nil {
			return err
		}
	}
	if s.closed && s.out.done {
		t.forget(s, note)
	}
	return nil
}

// reset breaks a stream at both ends.
func (t *streamTable) reset(s *tableStream, inject func([]byte) error, note func(streamNote)) error {
	note(streamNote{kind: noteReset, id: s.id})
	t.forget(s, note)
	if s.closed {
		return nil
	}
	return inject(t.net.Reset(s.conn))
}

func (t *streamTable) forget(s *tableStream, note func(streamNote)) {
	note(streamNote{kind: noteGone, id: s.id})
	delete(t.byID, s.id)
	if i, ok := t.find(s.conn); ok {
		t.list = slices.Delete(t.list, i, i+1)
		if t.deltas {
			t.gone = append(t.gone, s.conn)
		}
	}
}

func (t *streamTable) find(conn uint64) (int, bool) {
	return slices.BinarySearchFunc(t.list, conn, func(s *tableStream, conn uint64) int {
		switch {
		case s.conn < conn:
			return -1
		case s.conn > conn:
			return 1
		}
		return 0
	})
}

// effect takes what the processor has let out, if it is about a stream, and reports whether
// it was.
func (t *streamTable) effect(output []byte, note func(streamNote)) (mine bool) {
	effect, conn, n, data := t.net.Effect(output)
	if effect == EffectNone || conn <= firstConn {
		return false
	}
	i, ok := t.find(conn)
	if !ok { // it has been reset meanwhile
		return true
	}
	s := t.list[i]
	switch effect {
	case EffectData:
		s.out.write(data)
		note(streamNote{kind: noteData, id: s.id, off: s.out.end, data: data})
		if t.bugs.forgetEarly {
			_, _ = s.out.arrived(s.out.end, false)
		}
	case EffectWindow:
		s.in.consume(uint64(n))
		note(streamNote{kind: noteLimit, id: s.id, off: s.in.limit()})
	case EffectEnd:
		if !s.out.ended {
			s.out.ended = true
			note(streamNote{kind: noteEnd, id: s.id, off: s.out.end})
		}
	case EffectClose:
		s.closed = true
		if s.out.done {
			t.forget(s, note)
			break
		}
		s.out.ended = true
		note(streamNote{kind: noteEnd, id: s.id, off: s.out.end, flag: true})
	}
	return true
}

// welcome says what has become of a stream that an event has just opened: if its connection
// was closed at once, nobody listens at the port, and it is forgotten.
func (t *streamTable) welcome(id streamID) streamNote {
	s := t.byID[id]
	if s == nil || s.closed {
		if s != nil {
			t.forget(s, func(streamNote) {})
		}
		return streamNote{kind: noteRefused, id: id}
	}
	return streamNote{kind: noteOpened, id: id, off: s.in.got}
}

// append appends the table, as it is in an image.
func (t *streamTable) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.conn)
	dst = binary.AppendUvarint(dst, uint64(len(t.list)))
	for _, s := range t.list {
		dst = append(dst, s.id[:]...)
		for _, v := range []uint64{s.conn, s.in.read, s.in.got, s.out.base, s.out.end} {
			dst = binary.AppendUvarint(dst, v)
		}
		for _, v := range []bool{s.in.ended, s.out.ended, s.out.done, s.closed, s.deaf} {
			dst = wire.AppendBool(dst, v)
		}
		for _, p := range s.out.kept {
			dst = append(dst, p...)
		}
	}
	return dst
}

// decode replaces the table by one that append has written. On an error it is unchanged.
func (t *streamTable) decode(b []byte) error {
	d := wire.NewDecoder(b)
	n := newStreamTable(t.net)
	n.bugs, n.deltas = t.bugs, t.deltas
	n.conn = d.Uvarint()
	for range d.Count(len(streamID{})) {
		s := &tableStream{}
		copy(s.id[:], d.Next(len(s.id)))
		for _, v := range []*uint64{&s.conn, &s.in.read, &s.in.got, &s.out.base, &s.out.end} {
			*v = d.Uvarint()
		}
		for _, v := range []*bool{&s.in.ended, &s.out.ended, &s.out.done, &s.closed, &s.deaf} {
			*v = d.Bool()
		}
		if size := s.out.end - s.out.base; size > uint64(d.Len()) {
			d.Fail("%d bytes are kept of a stream", size)
		} else if size > 0 {
			s.out.kept = [][]byte{bytes.Clone(d.Next(int(size)))}
		}
		n.list = append(n.list, s)
		n.byID[s.id] = s
	}
	if err := d.Finish(); err != nil {
		return fmt.Errorf("reading a table of streams: %w", err)
	}
	if err := n.check(); err != nil {
		return fmt.Errorf("reading a table of streams: %w: %w", errFormat, err)
	}
	*t = *n
	return nil
}

// check reports a broken invariant.
func (t *streamTable) check() error {
	if len(t.byID) != len(t.list) {
		return fmt.Errorf("%d streams have ids, %d have numbers", len(t.byID), len(t.list))
	}
	last := uint64(firstConn)
	for _, s := range t.list {
		if err := s.out.check(); err != nil {
			return fmt.Errorf("stream %x: %w", s.id, err)
		}
		if s.conn <= last || s.conn > t.conn || t.byID[s.id] != s {
			return fmt.Errorf("stream %x is out of order", s.id)
		}
		if last = s.conn; s.in.read > s.in.got || s.in.got > s.in.limit() {
			return fmt.Errorf("stream %x has read %d of %d bytes", s.id, s.in.read, s.in.got)
		}
	}
	return nil
}
