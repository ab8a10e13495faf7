package gfs

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A record in a file is
//
//	magic   4 bytes
//	length  u32   of the data in bytes
//	writer  u64   random, of the RecordWriter
//	n       u64   counts the writer's records, from 1
//	sum     u32   CRC32C of the data
//	check   u32   CRC32C of the 28 bytes before
//	data
//
// all numbers little-endian. ⟨writer, n⟩ is the record's id: that of a duplicate is the
// same.

const (
	recordHead  = 32
	recordMagic = "\xf5gRc"
)

// A recordHeader is the head of a record.
type recordHeader struct {
	length int
	id     recordID
	sum    uint32
}

type recordID struct{ writer, n uint64 }

// appendRecord appends a record.
func appendRecord(dst []byte, id recordID, data []byte) []byte {
	at := len(dst)
	dst = append(dst, recordMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(data)))
	dst = binary.LittleEndian.AppendUint64(dst, id.writer)
	dst = binary.LittleEndian.AppendUint64(dst, id.n)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(data, blockPoly))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], blockPoly))
	return append(dst, data...)
}

// parseRecord reads the head of a record at the beginning of b, and reports whether there
// is one, of at most most bytes of data.
func parseRecord(b []byte, most int) (recordHeader, bool) {
	if len(b) < recordHead || string(b[:4]) != recordMagic {
		return recordHeader{}, false
	}
	if crc32.Checksum(b[:recordHead-4], blockPoly) != binary.LittleEndian.Uint32(b[recordHead-4:]) {
		return recordHeader{}, false
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if int64(n) > int64(most) {
		return recordHeader{}, false
	}
	return recordHeader{
		length: int(n),
		id:     recordID{binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])},
		sum:    binary.LittleEndian.Uint32(b[24:]),
	}, true
}

// whole reports whether data is what the head belongs to.
func (h *recordHeader) whole(data []byte) bool { return crc32.Checksum(data, blockPoly) == h.sum }

// nextMagic returns where in b, after its first byte, a record may begin: at a magic
// number, or at what may be the first bytes of one at the end; len(b) if nowhere.
func nextMagic(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	if i := bytes.Index(b[1:], []byte(recordMagic)); i >= 0 {
		return 1 + i
	}
	for n := min(len(recordMagic), len(b)) - 1; n > 0; n-- {
		if string(b[len(b)-n:]) == recordMagic[:n] {
			return len(b) - n
		}
	}
	return len(b)
}

// A recordWindow remembers the ids of the last records, up to a number.
type recordWindow struct {
	seen map[recordID]struct{}
	ring []recordID
	next int
	most int
}

// add notes an id and reports whether it was new.
func (w *recordWindow) add(id recordID) bool {
	if _, ok := w.seen[id]; ok {
		return false
	}
	if w.seen == nil {
		w.seen = make(map[recordID]struct{})
	}
	w.seen[id] = struct{}{}
	if len(w.ring) < w.most {
		w.ring = append(w.ring, id)
		return true
	}
	delete(w.seen, w.ring[w.next])
	w.ring[w.next] = id
	w.next = (w.next + 1) % w.most
	return true
}
