package vmft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/trilith-go/trilith/internal/wire"
)

// Between a client of a stream and the node that is live there is an attachment, which either
// side may lose at any time: an rpc stream of frames, laid out as those of the logging
// channel. The client opens it with a streamHello and the node answers with a welcome; then
// both sides say the same things.
const (
	talkWelcome = 1 // status, and what an ack says
	talkAck     = 2 // what is before an offset has arrived; and the end, or not; and the limit
	talkData    = 3 // an offset, and bytes from there on
	talkEnd     = 4 // an offset: nothing comes after it; and that nothing is read any more, or not
	talkReset   = 5 // it has broken

	// talkPiece is how many bytes a frame has at most, talkBatch how many are written at once.
	talkPiece = 64 << 10
	talkBatch = 128 << 10
	talkFrame = talkPiece + 2*binary.MaxVarintLen64
)

// What a node answers.
const (
	welcomeOK      = 0
	welcomeRefused = 1 // nobody listens at the port, or there are too many streams
	welcomeGone    = 2 // there is no such stream
)

// A streamHello opens an attachment, and the stream if the client has never been welcomed.
type streamHello struct {
	id    streamID
	fresh bool
	port  uint16
	from  netip.AddrPort
	ack   talkAckment
}

// A talkAckment says how far one direction has come, to who sends.
type talkAckment struct {
	got   uint64
	ended bool
	limit uint64
}

func (a *talkAckment) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, a.got)
	dst = wire.AppendBool(dst, a.ended)
	return binary.AppendUvarint(dst, a.limit)
}

func (a *talkAckment) decode(d *wire.Decoder) {
	*a = talkAckment{d.Uvarint(), d.Bool(), d.Uvarint()}
	if a.limit < a.got || a.limit-a.got > streamWindow {
		d.Fail("a window from %d to %d", a.got, a.limit)
	}
}

// AppendBinary implements encoding.BinaryAppender.
func (h *streamHello) AppendBinary(dst []byte) ([]byte, error) {
	e := streamEvent{kind: streamOpen, id: h.id, port: h.port, from: h.from}
	dst = wire.AppendBool(e.append(dst), h.fresh)
	return h.ack.append(dst), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (h *streamHello) UnmarshalBinary(b []byte) error {
	const open = 1 + len(h.id) + 2 + 16 + 2
	if len(b) < open {
		return fmt.Errorf("%w: a hello of %d bytes", errFormat, len(b))
	}
	e, err := parseStreamEvent(b[:open])
	if err != nil {
		return err
	}
	d := wire.NewDecoder(b[open:])
	*h = streamHello{id: e.id, port: e.port, from: e.from, fresh: d.Bool()}
	h.ack.decode(&d)
	return d.Finish()
}

// A talkFrameIn is a frame that was read.
type talkFrameIn struct {
	kind   byte
	status byte        // of talkWelcome
	ack    talkAckment // of talkWelcome and talkAck
	off    uint64      // of talkData and talkEnd
	flag   bool        // of talkEnd
	data   []byte      // of talkData, borrowed
}

func parseTalk(kind byte, b []byte) (f talkFrameIn, err error) {
	d := wire.NewDecoder(b)
	f.kind = kind
	switch kind {
	case talkWelcome:
		f.status = d.Byte()
		f.ack.decode(&d)
	case talkAck:
		f.ack.decode(&d)
	case talkData:
		f.off = d.Uvarint()
		f.data = d.Rest()
	case talkEnd:
		f.off = d.Uvarint()
		f.flag = d.Bool()
	case talkReset:
	default:
		d.Fail("a frame of kind %d", kind)
	}
	if err := d.Finish(); err != nil {
		return talkFrameIn{}, fmt.Errorf("reading what the other end of a stream says: %w", err)
	}
	return f, nil
}

// A streamSide is one end of a stream, as far as an attachment is concerned.
type streamSide struct {
	out    sending
	limit  uint64 // what the far end lets out be sent up to
	closed bool   // this end reads no more
	in     talkAckment
	reset  bool
}

// talk is what was said on an attachment by one side. It is pure.
type talk struct {
	next   uint64 // of out: what is before it was sent
	ended  bool   // the end was sent,
	closed bool   // with this
	ack    talkAckment
	over   bool // the reset was sent
}

// heard takes an ack of the far end, and reports whether it has made a difference to what is
// kept.
func (s *streamSide) heard(a talkAckment) (fresh bool, err error) {
	done := s.out.done
	n, err := s.out.arrived(a.got, a.ended)
	if err != nil {
		return false, err
	}
	s.limit = max(s.limit, a.limit)
	return n > 0 || done != s.out.done, nil
}

// say appends the frames that are to be written now, some of them if there are many.
func (t *talk) say(s *streamSide, dst []byte) []byte {
	if s.reset {
		if t.over {
			return dst
		}
		t.over = true
		return appendFrame(dst, talkReset)
	}
	if t.ack != s.in {
		t.ack = s.in
		var b [3 * binary.MaxVarintLen64]byte
		dst = appendFrame(dst, talkAck, s.in.append(b[:0]))
	}
	for len(dst) < talkBatch {
		t.next = max(t.next, s.out.base)
		room := min(s.limit, s.out.end)
		if t.next >= room {
			break
		}
		b := s.out.at(t.next, int(min(room-t.next, talkPiece)))
		var off [binary.MaxVarintLen64]byte
		dst = appendFrame(dst, talkData, binary.AppendUvarint(off[:0], t.next), b)
		t.next += uint64(len(b))
	}
	if s.out.ended && t.next == s.out.end && (!t.ended || t.closed != s.closed) {
		t.ended, t.closed = true, s.closed
		var b [binary.MaxVarintLen64 + 1]byte
		dst = appendFrame(dst, talkEnd, wire.AppendBool(binary.AppendUvarint(b[:0], s.out.end), s.closed))
	}
	return dst
}
