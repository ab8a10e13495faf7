package mapreduce

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
)

// packer compresses the payloads of blocks. Its state takes packerBytes, and is used
// for one block after the other.
type packer struct {
	deflater *flate.Writer
	out      bytes.Buffer
}

// packerBytes is about the memory that a packer takes.
const packerBytes = 1 << 20

// deflate returns a block with the payload, compressed, whose header is to be filled
// in, valid until the next call; nil if that does not make it smaller by an eighth.
func (p *packer) deflate(payload []byte) []byte {
	p.out.Reset()
	var head [blockHeader + binary.MaxVarintLen32]byte
	p.out.Write(binary.AppendUvarint(head[:blockHeader], uint64(len(payload))))
	if p.deflater == nil {
		p.deflater, _ = flate.NewWriter(&p.out, flate.BestSpeed) // a level that there is
	} else {
		p.deflater.Reset(&p.out)
	}
	// Writing to a bytes.Buffer does not fail.
	_, _ = p.deflater.Write(payload)
	_ = p.deflater.Close()
	if p.out.Len() > len(payload)-len(payload)/8 {
		return nil
	}
	return p.out.Bytes()
}

// unpacker returns the payloads of blocks. The zero value is ready for use; it takes
// memory when it has met a packed block.
type unpacker struct {
	src      bytes.Reader
	inflater io.ReadCloser
	buf      []byte
}

// unpackerBytes is about the memory that an unpacker takes, if pairs are small.
const unpackerBytes = blockBytes + 48<<10

// payload returns the payload of a whole block after checking it, valid until the next
// call or the block's end.
func (u *unpacker) payload(block []byte) ([]byte, error) {
	if err := checkBlock(block); err != nil {
		return nil, err
	}
	stored := block[blockHeader:]
	if binary.LittleEndian.Uint32(block)&packedBit == 0 {
		return stored, nil
	}
	size, n := binary.Uvarint(stored)
	if n <= 0 || size == 0 || size > maxBlock {
		return nil, corrupt("a packed block of %d bytes", size)
	}
	u.src.Reset(stored[n:])
	if u.inflater == nil {
		u.inflater = flate.NewReader(&u.src)
	} else if err := u.inflater.(flate.Resetter).Reset(&u.src, nil); err != nil {
		return nil, corrupt("a packed block: %v", err)
	}
	var err error
	if u.buf, err = readGrowing(u.inflater, u.buf[:0], int(size)); err != nil {
		return nil, corrupt("a packed block of %d bytes: %v", size, err)
	}
	var more [1]byte
	if n, err := io.ReadFull(u.inflater, more[:]); n != 0 || err != io.EOF {
		return nil, corrupt("a packed block is longer than its %d bytes: %v", size, err)
	}
	if u.src.Len() != 0 {
		return nil, corrupt("%d bytes are left over behind a packed block", u.src.Len())
	}
	return u.buf, nil
}
