package gfs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/trilith-go/trilith/internal/vfs"
)

// A replica is two files, named after the handle: HHHHHHHHHHHHHHHH.data holds the bytes
// of the chunk and nothing else, HHHHHHHHHHHHHHHH.meta what is known of them:
//
//	sector 0   the header: magic, format, handle, version, dirty boot, length, run,
//	           verifier, CRC32C
//	then       CRC32C of each block of 64 KiB, four bytes each, the last one's of as
//	           much as there is of it
//
// all numbers little-endian. The header is one sector, which a crash leaves as it was or
// as it was last written (see package vfs). It changes when the version is raised, when
// mutations begin and when they have ended: between, it has the boot id of the process
// that mutates and the run of the machine, and the length is the data file's. Without a
// boot id it says that both files are durable, and how long the data is.
//
// There is a replica where both files are. One that is being made has ".new" behind its
// names until it is complete and durable.
const (
	chunkMagic  = "trigfsC\x01"
	chunkFormat = 2
	chunkHeader = vfs.SectorSize

	dataSuffix = ".data"
	metaSuffix = ".meta"
	newSuffix  = ".new"

	// storeShards is how many directories the replicas are spread over.
	storeShards = 256
)

// A chunkHead is the header of a replica.
type chunkHead struct {
	handle  handle
	version version
	dirty   uint64 // the boot that mutates it; 0: none
	length  int64  // when dirty was last 0

	run      uint64 // of the machine that dirty is of; 0: unknown
	verifier writeVerifier
}

func (h *chunkHead) encode() []byte {
	b := make([]byte, 0, chunkHeader)
	b = append(b, chunkMagic...)
	b = binary.LittleEndian.AppendUint32(b, chunkFormat)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.handle))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.version))
	b = binary.LittleEndian.AppendUint64(b, h.dirty)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.length))
	b = binary.LittleEndian.AppendUint64(b, h.run)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.verifier))
	b = b[:chunkHeader]
	binary.LittleEndian.PutUint32(b[chunkHeader-4:], crc32.Checksum(b[:chunkHeader-4], blockPoly))
	return b
}

func (h *chunkHead) decode(b []byte) error {
	if len(b) < chunkHeader || string(b[:8]) != chunkMagic {
		return fmt.Errorf("%w: not the header of a replica", ErrChecksum)
	}
	if crc32.Checksum(b[:chunkHeader-4], blockPoly) != binary.LittleEndian.Uint32(b[chunkHeader-4:]) {
		return fmt.Errorf("%w in the header of a replica", ErrChecksum)
	}
	if f := binary.LittleEndian.Uint32(b[8:]); f != chunkFormat {
		return fmt.Errorf("replica of format %d, not %d", f, chunkFormat)
	}
	h.handle = handle(binary.LittleEndian.Uint64(b[12:]))
	h.version = version(binary.LittleEndian.Uint64(b[20:]))
	h.dirty = binary.LittleEndian.Uint64(b[28:])
	if h.length = int64(binary.LittleEndian.Uint64(b[36:])); h.length < 0 || h.length > MaxChunkSize {
		return fmt.Errorf("replica of %d bytes", h.length)
	}
	h.run = binary.LittleEndian.Uint64(b[44:])
	h.verifier = writeVerifier(binary.LittleEndian.Uint64(b[52:]))
	return nil
}

// blocksOf returns how many blocks n bytes have.
func blocksOf(n int64) int { return int((n + blockSize - 1) / blockSize) }

// appendSums appends sums as they are in a file.
func appendSums(dst []byte, sums []uint32) []byte {
	for _, sum := range sums {
		dst = binary.LittleEndian.AppendUint32(dst, sum)
	}
	return dst
}

// metaSize returns how long the meta file of n bytes of data is.
func metaSize(n int64) int64 { return chunkHeader + 4*int64(blocksOf(n)) }

// replicaSize returns what a replica of n bytes of data takes on the disk.
func replicaSize(n int64) int64 { return n + metaSize(n) }

// chunkFile returns the name of a replica's file without a suffix.
func chunkFile(dir string, h handle) string {
	return filepath.Join(shardDir(dir, int(h%storeShards)), fmt.Sprintf("%016x", uint64(h)))
}

func shardDir(dir string, shard int) string {
	return filepath.Join(dir, "chunks", fmt.Sprintf("%02x", shard))
}

// parseChunkFile takes the name of a file in a shard apart.
func parseChunkFile(name string) (h handle, suffix string, ok bool) {
	base, suffix, found := strings.Cut(name, ".")
	n, err := strconv.ParseUint(base, 16, 64)
	return handle(n), "." + suffix, found && err == nil && len(base) == 16 && n != 0
}

// A diskHead is what a chunkserver knows of its disk: the content of the file "disk".
type diskHead struct {
	uuid  [16]byte
	epoch uint64 // the highest whose orders were obeyed
}

// diskFile is the name of that file.
const diskFile = "disk"

const diskMagic = "trigfsD\x01"

func (d *diskHead) encode() []byte {
	b := append([]byte(diskMagic), d.uuid[:]...)
	b = binary.LittleEndian.AppendUint64(b, d.epoch)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, blockPoly))
}

func (d *diskHead) decode(b []byte) error {
	if len(b) != len(diskMagic)+16+8+4 || string(b[:len(diskMagic)]) != diskMagic ||
		crc32.Checksum(b[:len(b)-4], blockPoly) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return fmt.Errorf("%w: not the identity of a disk", ErrChecksum)
	}
	copy(d.uuid[:], b[len(diskMagic):])
	d.epoch = binary.LittleEndian.Uint64(b[len(diskMagic)+16:])
	return nil
}
