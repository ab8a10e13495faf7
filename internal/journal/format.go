package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// MaxRecord is the size of the greatest record in bytes.
const MaxRecord = 64 << 20

const (
	version = 1

	fileHeaderSize   = 64 // of a segment and of a checkpoint
	recordHeaderSize = 24
	trailerSize      = 12 // of a checkpoint

	segmentMagic    = "trilog\r\n"
	checkpointMagic = "trichk\r\n"
)

// The kinds of records. None is zero, so that zeros are never a record.
const (
	kindData = 1
	kindMark = 2
)

// stopByte follows the last record. Without it a record whose last bytes are zeros
// could not be told from one that was cut off there. The next batch goes over it.
const stopByte = 0xa5

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// identity tells the files of one journal from those of all others.
type identity [16]byte

// seed is where the checksums of records start.
func (id identity) seed() uint32 { return crc32.Checksum(id[:], castagnoli) }

// fileHeader is the beginning of a segment or a checkpoint.
type fileHeader struct {
	magic    string
	id       identity
	sequence uint64
	flags    uint32
}

// flagFirst is set in a checkpoint with which the journal began.
const flagFirst = 1

func (h *fileHeader) encode() []byte {
	b := make([]byte, fileHeaderSize)
	copy(b, h.magic)
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], h.flags)
	copy(b[16:], h.id[:])
	le.PutUint64(b[32:], h.sequence)
	le.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// decodeFileHeader reads a header that must have the given magic and sequence
// number. b holds fileHeaderSize bytes.
func decodeFileHeader(b []byte, magic string, sequence uint64) (fileHeader, error) {
	h := fileHeader{magic: string(b[:8]), flags: le.Uint32(b[12:]), sequence: le.Uint64(b[32:])}
	copy(h.id[:], b[16:])
	switch v := le.Uint32(b[8:]); {
	case h.magic != magic:
		return h, fmt.Errorf("%w: it does not begin as it should", ErrCorrupt)
	case le.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli):
		return h, fmt.Errorf("%w: the checksum of the header is wrong", ErrCorrupt)
	case v != version:
		return h, fmt.Errorf("%w: %d, this code knows %d", ErrVersion, v, version)
	case h.sequence != sequence:
		return h, fmt.Errorf("%w: the header says %d, the name %d", ErrCorrupt, h.sequence, sequence)
	}
	return h, nil
}

// recordHeader is the beginning of a record.
type recordHeader struct {
	sum      uint32 // of the header and the payload
	length   int
	kind     byte
	sequence uint64
}

// putRecordHeader completes b, which holds the place of a header and the payload.
func putRecordHeader(b []byte, seed uint32, kind byte, sequence uint64) {
	le.PutUint32(b[8:], uint32(len(b)-recordHeaderSize))
	le.PutUint32(b[12:], uint32(kind))
	le.PutUint64(b[16:], sequence)
	check := crc32.Update(seed, castagnoli, b[8:recordHeaderSize])
	le.PutUint32(b[4:], check)
	le.PutUint32(b[0:], crc32.Update(check, castagnoli, b[recordHeaderSize:]))
}

// decodeRecordHeader reads a header from b, which holds recordHeaderSize bytes,
// and reports whether it is one. If so, it was written as it is: its length can be
// trusted.
func decodeRecordHeader(b []byte, seed uint32) (recordHeader, bool) {
	h := recordHeader{
		sum:      le.Uint32(b[0:]),
		length:   int(le.Uint32(b[8:]) & (1<<31 - 1)),
		kind:     b[12],
		sequence: le.Uint64(b[16:]),
	}
	ok := (h.kind == kindData || h.kind == kindMark && h.length == 0) &&
		le.Uint32(b[8:]) <= MaxRecord &&
		le.Uint32(b[4:]) == crc32.Update(seed, castagnoli, b[8:recordHeaderSize])
	return h, ok
}

// holds reports whether the payload is that of the header.
func (h *recordHeader) holds(header, payload []byte) bool {
	return h.sum == crc32.Update(le.Uint32(header[4:]), castagnoli, payload)
}
