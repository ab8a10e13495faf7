package vmft

import (
	"encoding/binary"
	"fmt"

	"github.com/trilith-go/trilith/internal/wire"
)

// The logging channel is a stream of frames in both directions:
//
//	kind, 1 byte   length of the payload, 4 bytes, little-endian   payload
//
// From the primary:
//
//	accept   the primary's record, the stream's session, and for a clone the image's
//	         position, time and fingerprint
//	image    bytes of the image
//	whole    the image's end: its length and checksum
//	batch    the round of confirmation, 8 bytes, and a batch of entries
//	record   the newest record
//
// From the follower:
//
//	attach   a clone is complete: who it is
//	ack      acknowledged position, answered round, applied position
//	hash     a position, and the hash of the state there
//
// From both: beat, a sign of life.
//
// A batch, which is also what a record of the journal is, holds entries of one time:
//
//	position of the first, 8 bytes   time, 8 bytes   number of entries, 4 bytes
//
// and then of each its kind, 1 byte, the length of its data, a uvarint, and the data.
const (
	frameAccept = 1
	frameImage  = 2
	frameWhole  = 3
	frameBatch  = 4
	frameRecord = 5
	frameAttach = 6
	frameAck    = 7
	frameHash   = 8
	frameBeat   = 9

	frameHead = 5
	batchHead = 20
	// maxFrame bounds a frame: a batch holds one command of any size, or a few small ones.
	maxFrame = MaxCommand + 1<<20
	// maxBatch is how many bytes of commands a batch takes before it is closed.
	maxBatch = 256 << 10
	// maxText bounds fingerprints, in bytes.
	maxText = 4096
)

var le = binary.LittleEndian

// appendFrame appends a frame.
func appendFrame(dst []byte, kind byte, payload ...[]byte) []byte {
	at := len(dst)
	dst = append(dst, kind, 0, 0, 0, 0)
	for _, p := range payload {
		dst = append(dst, p...)
	}
	le.PutUint32(dst[at+1:], uint32(len(dst)-at-frameHead))
	return dst
}

// cutFrame takes a whole frame off the front of b; ok is false if there is none yet, need
// is then how long b must be at least.
func cutFrame(b []byte) (kind byte, payload, rest []byte, need int, err error) {
	if len(b) < frameHead {
		return 0, nil, b, frameHead, nil
	}
	n := int(le.Uint32(b[1:]))
	if n > maxFrame || b[0] < frameAccept || b[0] > frameBeat {
		return 0, nil, nil, 0, fmt.Errorf("%w: a frame of kind %d with %d bytes", errFormat, b[0], n)
	}
	if len(b) < frameHead+n {
		return 0, nil, b, frameHead + n, nil
	}
	return b[0], b[frameHead : frameHead+n], b[frameHead+n:], 0, nil
}

// beginBatch appends the head of a batch, addEntry an entry, endBatch sets their number.
func beginBatch(dst []byte, first uint64, at int64) []byte {
	dst = le.AppendUint64(dst, first)
	dst = le.AppendUint64(dst, uint64(at))
	return le.AppendUint32(dst, 0)
}

func addEntry(dst []byte, kind byte, data []byte) []byte {
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(len(data)))
	return append(dst, data...)
}

func endBatch(b []byte, count int) { le.PutUint32(b[16:], uint32(count)) }

// A batch is a batch of entries, and where it stands in the log.
type batch struct {
	first, last uint64
	at          int64
	data        []byte // encoded, all of it
	sequence    uint64 // of its record in the journal, if it is in one
}

// parseBatch checks a batch and returns it. data is kept.
func parseBatch(data []byte) (batch, error) {
	if len(data) < batchHead {
		return batch{}, fmt.Errorf("%w: a batch of %d bytes", errFormat, len(data))
	}
	b := batch{first: le.Uint64(data), at: int64(le.Uint64(data[8:])), data: data}
	count := uint64(le.Uint32(data[16:]))
	if count == 0 || b.first == 0 || b.first+count < b.first {
		return batch{}, fmt.Errorf("%w: a batch of %d entries from %d on", errFormat, count, b.first)
	}
	b.last = b.first + count - 1
	rest := data[batchHead:]
	for range count {
		_, after, err := cutEntry(rest)
		if err != nil {
			return batch{}, err
		}
		rest = after
	}
	if len(rest) > 0 {
		return batch{}, fmt.Errorf("%w: %d bytes after the last entry", errFormat, len(rest))
	}
	return b, nil
}

// cutEntry takes an entry off the front of b.
func cutEntry(b []byte) (e entry, rest []byte, err error) {
	if len(b) < 2 || b[0] < kindCommand || b[0] > kindFetched && b[0] != kindDelta {
		return e, nil, fmt.Errorf("%w: no entry", errFormat)
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || n > uint64(len(b)-1-size) {
		return e, nil, fmt.Errorf("%w: an entry of %d bytes", errFormat, n)
	}
	from := 1 + size
	return entry{kind: b[0], data: b[from : from+int(n) : from+int(n)]}, b[from+int(n):], nil
}

// each calls f with the entries of a batch that was parsed.
func (b *batch) each(f func(e entry)) {
	rest := b.data[batchHead:]
	for len(rest) > 0 {
		e, after, err := cutEntry(rest)
		if err != nil {
			return // parseBatch has seen all of it
		}
		e.at = b.at
		f(e)
		rest = after
	}
}

// acceptance is the payload of an accept frame.
type acceptance struct {
	record      Record
	session     ID
	position    uint64
	at          int64
	fingerprint string
}

func (a *acceptance) append(dst []byte) []byte {
	dst, _ = a.record.AppendBinary(dst) // never fails
	dst = le.AppendUint64(dst, uint64(a.session))
	dst = le.AppendUint64(dst, a.position)
	dst = le.AppendUint64(dst, uint64(a.at))
	return wire.AppendString(dst, a.fingerprint)
}

func parseAcceptance(b []byte) (acceptance, error) {
	d := wire.NewDecoder(b)
	a := acceptance{record: takeRecord(&d), session: ID(d.Uint64()), position: d.Uint64(), at: int64(d.Uint64()), fingerprint: d.String()}
	return a, d.Finish()
}

// acknowledgement is the payload of an ack frame.
type acknowledgement struct{ position, round, applied uint64 }

func (a acknowledgement) append(dst []byte) []byte {
	return le.AppendUint64(le.AppendUint64(le.AppendUint64(dst, a.position), a.round), a.applied)
}

func parseAcknowledgement(b []byte) (acknowledgement, error) {
	d := wire.NewDecoder(b)
	a := acknowledgement{d.Uint64(), d.Uint64(), d.Uint64()}
	return a, d.Finish()
}

// followReq asks a primary to be followed.
type followReq struct {
	Member      Member
	Fingerprint string
	Upgrades    []string
	Session     ID     // of the stream, drawn by the follower
	Resume      bool   // go on after Position, without an image
	Position    uint64 // what the follower has
}

// AppendBinary implements encoding.BinaryAppender.
func (r *followReq) AppendBinary(dst []byte) ([]byte, error) {
	dst = r.Member.append(dst)
	dst = wire.AppendString(dst, r.Fingerprint)
	dst = binary.AppendUvarint(dst, uint64(len(r.Upgrades)))
	for _, u := range r.Upgrades {
		dst = wire.AppendString(dst, u)
	}
	dst = le.AppendUint64(dst, uint64(r.Session))
	dst = wire.AppendBool(dst, r.Resume)
	return binary.AppendUvarint(dst, r.Position), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (r *followReq) UnmarshalBinary(b []byte) error {
	d := wire.NewDecoder(b)
	*r = followReq{Member: takeMember(&d), Fingerprint: d.String()}
	for range d.Count(1) {
		r.Upgrades = append(r.Upgrades, d.String())
	}
	r.Session, r.Resume, r.Position = ID(d.Uint64()), d.Bool(), d.Uvarint()
	return d.Finish()
}
