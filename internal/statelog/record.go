package statelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A record of the journal is
//
//	kind, 1 byte   time in nanoseconds since 1970, 8 bytes, little-endian
//
// and then, of a command, the command; of an epoch, its number in 8 bytes and the
// fingerprint of the machine that applies what follows. An image begins with
//
//	length of the fingerprint, 4 bytes   the fingerprint   epoch, 8 bytes   time, 8 bytes
//
// and goes on with the image of the machine. The journal answers for all of it by
// checksum, so whatever does not fit here was written so.
const (
	kindCommand = 1
	kindEpoch   = 2

	recordOverhead = 9
	maxFingerprint = 4096 // bytes
)

var (
	le = binary.LittleEndian

	errFormat      = errors.New("not a record of a statelog")
	errFingerprint = fmt.Errorf("the fingerprint of the machine has more than %d bytes", maxFingerprint)
)

// record is a record, decoded.
type record struct {
	kind        byte
	at          int64
	command     []byte // kindCommand
	epoch       uint64 // kindEpoch
	fingerprint string // kindEpoch
}

func putRecordHeader(b *[recordOverhead]byte, kind byte, at int64) {
	b[0] = kind
	le.PutUint64(b[1:], uint64(at))
}

func decodeRecord(b []byte) (record, error) {
	if len(b) < recordOverhead {
		return record{}, errFormat
	}
	r := record{kind: b[0], at: int64(le.Uint64(b[1:]))}
	rest := b[recordOverhead:]
	switch {
	case r.kind == kindCommand:
		r.command = rest
	case r.kind == kindEpoch && len(rest) >= 8:
		r.epoch, r.fingerprint = le.Uint64(rest), string(rest[8:])
	default:
		return record{}, errFormat
	}
	return r, nil
}

func encodeEpoch(epoch uint64, fingerprint string) []byte {
	return append(le.AppendUint64(nil, epoch), fingerprint...)
}

// imageHeader is what an image says about the log.
type imageHeader struct {
	fingerprint string
	epoch       uint64
	at          int64
}

func (h *imageHeader) encode() []byte {
	b := le.AppendUint32(nil, uint32(len(h.fingerprint)))
	b = append(b, h.fingerprint...)
	b = le.AppendUint64(b, h.epoch)
	return le.AppendUint64(b, uint64(h.at))
}

func readImageHeader(r io.Reader) (imageHeader, error) {
	var h imageHeader
	b := make([]byte, 4)
	if _, err := io.ReadFull(r, b); err != nil {
		return h, err
	}
	n := le.Uint32(b)
	if n > maxFingerprint {
		return h, errFormat
	}
	rest := make([]byte, n+16)
	if _, err := io.ReadFull(r, rest); err != nil {
		return h, err
	}
	h.fingerprint = string(rest[:n])
	h.epoch = le.Uint64(rest[n:])
	h.at = int64(le.Uint64(rest[n+8:]))
	return h, nil
}
