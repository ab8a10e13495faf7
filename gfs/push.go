package gfs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
)

// # The push protocol
//
// Data travels apart from control (§3.2): a client pushes it down a chain of
// chunkservers, each of which keeps it in a buffer under a dataID; the control
// messages that follow name the data by that id.
//
// A chain is one stream a hop. The client opens methodPush at the first member with a
// pushReq that lists the others; the first member opens methodPush at the second with
// what is left of the list, and so on. One chain serves any number of data, for as
// long as the client likes to keep it: for the lease of a chunk, as a rule. Nothing in
// it names a chunk, so chunks with the same members may share it.
//
// Downstream go frames, one for each data:
//
//	client  u64   the dataID
//	n       u64
//	length  u32   of the data in bytes, from 1 on
//	phase   u32   where in a block of 64 KiB the first byte belongs: the sender's guess
//	check   u32   CRC32C of all of the head but this: 24 bytes and the sums
//	sums    u32…  CRC32C of each piece
//	data
//
// all numbers little-endian. The pieces are what the boundaries of 64 KiB blocks cut the
// data into when its first byte lies at phase in the first block: ⌈(phase+length)/64 KiB⌉
// of them. Where the data comes to lie in the chunk just so, the sums are the ones that
// are stored: then each server reads over the data once, to verify it. A wrong guess is
// no error, it costs a part of a second pass.
//
// A server passes the head on as soon as it has it, and each stretch of data as soon as
// its pieces are verified, while more arrives: over a chain of R hops, B bytes take
// B/T + R·L (§3.2). What does not match its sum is never passed on: the stream ends with
// ErrChecksum, and the chain with it.
//
// Upstream go acknowledgements, one for each data, in the order of the frames:
//
//	client  u64
//	n       u64
//	lost    u32   members, counted from the end of the chain, that have not all of it
//
// The last member acknowledges what it has whole with 0. Every other passes on what it
// hears from its successor. When it has lost that, or never reached it, it goes on to
// receive, and acknowledges with the number of members that come after it: a broken hop
// cuts off those behind it and no one else. A client that sees lost members opens
// another chain; what they lack, a primary resends to its secondaries (mutationResend).
//
// Nobody has to wait for acknowledgements: who applies a mutation waits a little for its
// data by itself (errNoData after that). Flow is controlled hop by hop, by the windows
// of the streams.
//
// The client ends its direction to end the chain: what is under way still arrives and is
// acknowledged, then the servers end the stream.

const (
	// pushHead is the length of a frame's head without its sums, pushAck that of an
	// acknowledgement, in bytes.
	pushHead = 28
	pushAck  = 20
	// maxPush is the most bytes of one data: the largest record of the largest chunk.
	// A server takes no more than a quarter of its buffer.
	maxPush = MaxChunkSize / 4
	// maxChain is the most members of a chain.
	maxChain = MaxReplication
)

// blockPoly is the polynomial (CRC32C) of all checksums here.
var blockPoly = crc32.MakeTable(crc32.Castagnoli)

// pushReq opens a chain: it names the members after the one that gets it.
type pushReq struct{ rest []location }

func (m *pushReq) code(c *coder) {
	list(c, &m.rest, func(c *coder, l *location) { l.code(c) })
	if len(m.rest) >= maxChain {
		c.invalid("a chain of more than %d members", maxChain)
	}
}

func (m *pushReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *pushReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

// A pushFrame is the head of data that is pushed.
type pushFrame struct {
	id    dataID
	n     int // bytes
	phase int
	check uint32
	sums  []uint32 // of the pieces
}

// pushPieces returns how many pieces n bytes at a phase have.
func pushPieces(phase, n int) int { return (phase + n + blockSize - 1) / blockSize }

// pieceEnd returns where in the data the piece ends that begins at a place in it.
func pieceEnd(phase, at, n int) int {
	return min(n, at+blockSize-(phase+at)%blockSize)
}

// pushSums appends the sums of data's pieces.
func pushSums(dst []uint32, phase int, data []byte) []uint32 {
	for at := 0; at < len(data); {
		end := pieceEnd(phase, at, len(data))
		dst = append(dst, crc32.Checksum(data[at:end], blockPoly))
		at = end
	}
	return dst
}

// append appends the head.
func (f *pushFrame) append(dst []byte) []byte {
	from := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, f.id.client)
	dst = binary.LittleEndian.AppendUint64(dst, f.id.n)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(f.n))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(f.phase))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	for _, sum := range f.sums {
		dst = binary.LittleEndian.AppendUint32(dst, sum)
	}
	binary.LittleEndian.PutUint32(dst[from+pushHead-4:], headCheck(dst[from:]))
	return dst
}

// headCheck returns the checksum that belongs into a head.
func headCheck(head []byte) uint32 {
	sum := crc32.Checksum(head[:pushHead-4], blockPoly)
	return crc32.Update(sum, blockPoly, head[pushHead:])
}

// parse reads the first pushHead bytes of a head: what is left to read of it is known
// then.
func (f *pushFrame) parse(head []byte, limit int) error {
	f.id.client = binary.LittleEndian.Uint64(head)
	f.id.n = binary.LittleEndian.Uint64(head[8:])
	n, phase := binary.LittleEndian.Uint32(head[16:]), binary.LittleEndian.Uint32(head[20:])
	f.check = binary.LittleEndian.Uint32(head[24:])
	if n == 0 || phase >= blockSize {
		return fmt.Errorf("%w: a frame of %d bytes at %d of a block", fs.ErrInvalid, n, phase)
	}
	if int64(n) > int64(limit) {
		return fmt.Errorf("%w: data of %d bytes; %d are the most", ErrTooLarge, n, limit)
	}
	f.n, f.phase = int(n), int(phase)
	return nil
}

// parseSums reads the sums that follow the first pushHead bytes of head.
func (f *pushFrame) parseSums(head []byte) error {
	if headCheck(head) != f.check {
		return fmt.Errorf("%w in the head of pushed data", ErrChecksum)
	}
	f.sums = f.sums[:0]
	for b := head[pushHead:]; len(b) > 0; b = b[4:] {
		f.sums = append(f.sums, binary.LittleEndian.Uint32(b))
	}
	return nil
}

// appendAck appends an acknowledgement.
func appendAck(dst []byte, id dataID, lost int) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, id.client)
	dst = binary.LittleEndian.AppendUint64(dst, id.n)
	return binary.LittleEndian.AppendUint32(dst, uint32(lost))
}

// parseAck reads an acknowledgement of pushAck bytes.
func parseAck(b []byte) (id dataID, lost uint32) {
	id.client = binary.LittleEndian.Uint64(b)
	id.n = binary.LittleEndian.Uint64(b[8:])
	return id, binary.LittleEndian.Uint32(b[16:])
}
