package rpc

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// The records of a table that stands on its own. They say what was decided, not
// what was asked: replaying them repeats no decision, so they may be replayed
// under other limits. What changes nothing but the time of a session's last
// activity is not recorded.
const (
	sessionRecordTable    = 't' // uuid
	sessionRecordOpen     = 'o' // n, at
	sessionRecordMark     = 'w' // n, watermark, at
	sessionRecordBegin    = 'b' // n, seq, watermark, at, hash
	sessionRecordComplete = 'c' // n, seq, kept, result
	sessionRecordAbort    = 'a' // n, seq
	sessionRecordClose    = 'x' // n: closed or expired
)

func appendSessionRecordTable(dst []byte, uuid [16]byte) []byte {
	return append(append(dst, sessionRecordTable), uuid[:]...)
}

func appendSessionRecordOpen(dst []byte, n uint64, at time.Time) []byte {
	dst = binary.AppendUvarint(append(dst, sessionRecordOpen), n)
	return binary.AppendVarint(dst, at.UnixMilli())
}

func appendSessionRecordMark(dst []byte, n, watermark uint64, at time.Time) []byte {
	dst = binary.AppendUvarint(append(dst, sessionRecordMark), n)
	dst = binary.AppendUvarint(dst, watermark)
	return binary.AppendVarint(dst, at.UnixMilli())
}

func appendSessionRecordBegin(dst []byte, c SessionCall, at time.Time) []byte {
	dst = binary.AppendUvarint(append(dst, sessionRecordBegin), c.ID.N)
	dst = binary.AppendUvarint(dst, c.Seq)
	dst = binary.AppendUvarint(dst, c.Watermark)
	dst = binary.AppendVarint(dst, at.UnixMilli())
	return binary.LittleEndian.AppendUint64(dst, c.Hash)
}

func appendSessionRecordComplete(dst []byte, n, seq uint64, kept bool, result []byte) []byte {
	dst = binary.AppendUvarint(append(dst, sessionRecordComplete), n)
	dst = binary.AppendUvarint(dst, seq)
	dst = wire.AppendBool(dst, kept)
	if kept {
		dst = append(dst, result...)
	}
	return dst
}

func appendSessionRecordAbort(dst []byte, n, seq uint64) []byte {
	dst = binary.AppendUvarint(append(dst, sessionRecordAbort), n)
	return binary.AppendUvarint(dst, seq)
}

func appendSessionRecordClose(dst []byte, n uint64) []byte {
	return binary.AppendUvarint(append(dst, sessionRecordClose), n)
}

// replay applies a record that was made after the image that the table was
// restored from. The error wraps ErrSessionImage: the record can't follow what
// was there.
func (s *Sessions) replay(record []byte) error {
	d := wire.NewDecoder(record)
	switch kind := d.Byte(); kind {
	case sessionRecordTable:
		copy(s.table[:], d.Next(len(s.table)))
	case sessionRecordOpen:
		n, at := d.Uvarint(), time.UnixMilli(d.Varint())
		if n < s.next || n == 1<<64-1 {
			d.Fail("session %d is opened, %d is next", n, s.next)
		}
		if d.Err() == nil {
			s.next = n + 1
			s.add(n, at)
		}
	case sessionRecordMark:
		n, watermark, at := d.Uvarint(), d.Uvarint(), time.UnixMilli(d.Varint())
		if ss := s.replayed(&d, n); ss != nil {
			s.touch(ss, at)
			s.acknowledge(ss, watermark)
		}
	case sessionRecordBegin:
		n, seq, watermark := d.Uvarint(), d.Uvarint(), d.Uvarint()
		at, hash := time.UnixMilli(d.Varint()), d.Uint64()
		if ss := s.replayed(&d, n); ss != nil {
			s.replayBegin(&d, ss, seq, watermark, hash, at)
		}
	case sessionRecordComplete:
		n, seq, kept := d.Uvarint(), d.Uvarint(), d.Bool()
		result := d.Rest()
		if ss := s.replayed(&d, n); ss != nil {
			s.replayComplete(&d, ss, seq, kept, result)
		}
	case sessionRecordAbort:
		n, seq := d.Uvarint(), d.Uvarint()
		if s.replayed(&d, n) != nil {
			s.Abort(SessionID{s.table, n}, seq, nil)
		}
	case sessionRecordClose:
		if ss := s.replayed(&d, d.Uvarint()); ss != nil {
			s.Close(SessionID{s.table, ss.n})
		}
	default:
		d.Fail("a record of kind %d", kind)
	}
	if err := d.Finish(); err != nil {
		return fmt.Errorf("%w: %w", ErrSessionImage, err)
	}
	return nil
}

// replayed returns the session of a record, or makes the decoder fail.
func (s *Sessions) replayed(d *wire.Decoder, n uint64) *sessionState {
	ss := s.byN[n]
	if ss == nil && d.Err() == nil {
		d.Fail("no session %d", n)
	}
	if d.Err() != nil {
		return nil
	}
	return ss
}

func (s *Sessions) replayBegin(d *wire.Decoder, ss *sessionState, seq, watermark, hash uint64, at time.Time) {
	s.touch(ss, at)
	s.acknowledge(ss, watermark)
	if ss.closed || seq < ss.watermark || seq-ss.watermark >= SessionMaxWindow || seq == 1<<64-1 || ss.entry(seq) != nil {
		d.Fail("call %d begins out of place", seq)
		return
	}
	s.insert(ss, seq, hash)
}

func (s *Sessions) replayComplete(d *wire.Decoder, ss *sessionState, seq uint64, kept bool, result []byte) {
	if len(result) > SessionMaxResult {
		d.Fail("a result of %d bytes", len(result))
		return
	}
	e := ss.entry(seq)
	if e == nil {
		s.endOrphan(ss, seq, nil)
		return
	}
	if e.phase != sessionRunning {
		d.Fail("call %d completes and is not running", seq)
		return
	}
	if !kept {
		result = nil
	}
	s.store(ss, e, kept, result)
}
