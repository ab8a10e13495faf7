package vmft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/trilith-go/trilith/internal/wire"
)

// What a machine with streams is told, and what it lets out, is a byte and what belongs to
// it: tagPlain and an event or an output of the processor itself, or a streamEvent or a
// streamNote.
const tagPlain = 0

// Kinds of events of streams.
const (
	streamOpen  = 1 // from, port: the client opens it
	streamData  = 2 // off, data: what the client has sent
	streamEnd   = 3 // off: the client sends no more
	streamTaken = 4 // off, flag: the client has what is before it (and the end)
	streamReset = 5 // the client, or the node for it, has given it up
	streamDeaf  = 6 // the client reads no more
)

// A streamEvent is what a log says of a stream.
type streamEvent struct {
	kind byte
	id   streamID
	off  uint64
	flag bool
	port uint16
	from netip.AddrPort
	data []byte
}

func (e *streamEvent) append(dst []byte) []byte {
	dst = append(dst, e.kind)
	dst = append(dst, e.id[:]...)
	switch e.kind {
	case streamOpen:
		ip := e.from.Addr().As16()
		dst = binary.LittleEndian.AppendUint16(dst, e.port)
		dst = append(dst, ip[:]...)
		dst = binary.LittleEndian.AppendUint16(dst, e.from.Port())
	case streamData:
		dst = binary.AppendUvarint(dst, e.off)
		dst = append(dst, e.data...)
	case streamEnd:
		dst = binary.AppendUvarint(dst, e.off)
	case streamTaken:
		dst = binary.AppendUvarint(dst, e.off)
		dst = wire.AppendBool(dst, e.flag)
	}
	return dst
}

// parseStreamEvent reads an event. Its data are borrowed from b.
func parseStreamEvent(b []byte) (e streamEvent, err error) {
	d := wire.NewDecoder(b)
	e.kind = d.Byte()
	copy(e.id[:], d.Next(len(e.id)))
	switch e.kind {
	case streamOpen:
		e.port = decodePort(&d)
		var ip [16]byte
		copy(ip[:], d.Next(len(ip)))
		e.from = netip.AddrPortFrom(netip.AddrFrom16(ip), decodePort(&d))
	case streamData:
		e.off = d.Uvarint()
		e.data = d.Rest()
	case streamEnd:
		e.off = d.Uvarint()
	case streamTaken:
		e.off = d.Uvarint()
		e.flag = d.Bool()
	case streamReset, streamDeaf:
	default:
		d.Fail("an event of kind %d", e.kind)
	}
	if err := d.Finish(); err != nil {
		return streamEvent{}, fmt.Errorf("reading what a stream is told: %w", err)
	}
	return e, nil
}

func decodePort(d *wire.Decoder) uint16 {
	if b := d.Next(2); len(b) == 2 {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// Kinds of notes.
const (
	noteOpened  = 1 // the stream is there: off is what has arrived of the client
	noteRefused = 2 // nobody listens at the port, or there are too many
	noteGot     = 3 // what is before off has arrived, flag: and the end
	noteLimit   = 4 // the client may send up to off
	noteData    = 5 // data, which end at off
	noteEnd     = 6 // the end, at off; flag: the program has closed the connection
	noteReset   = 7 // it has broken
	noteGone    = 8 // nothing is left to be done; it is forgotten
	noteTaken   = 9 // a streamTaken is in the log
)

// A streamNote is an output of a machine with streams: what the client of one may know when
// the position is released.
type streamNote struct {
	kind byte
	id   streamID
	off  uint64
	flag bool
	data []byte
}

// isNote reports whether an output of a streamMachine is one of its own.
func isNote(output []byte) bool { return len(output) > 0 && output[0] != tagPlain }

func (n *streamNote) append(dst []byte) []byte {
	dst = append(dst, n.kind)
	dst = append(dst, n.id[:]...)
	dst = binary.AppendUvarint(dst, n.off)
	dst = wire.AppendBool(dst, n.flag)
	return append(dst, n.data...)
}

// parseStreamNote reads a note. Its data are borrowed from b.
func parseStreamNote(b []byte) (n streamNote, err error) {
	d := wire.NewDecoder(b)
	n.kind = d.Byte()
	copy(n.id[:], d.Next(len(n.id)))
	n.off = d.Uvarint()
	n.flag = d.Bool()
	n.data = d.Rest()
	if n.kind < noteOpened || n.kind > noteTaken {
		d.Fail("a note of kind %d", n.kind)
	}
	if err := d.Finish(); err != nil {
		return streamNote{}, fmt.Errorf("reading what a stream has to tell: %w", err)
	}
	return n, nil
}
