package gfs

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// metadataFormat names the format of commands and images. It changes with either.
const metadataFormat = "gfs/1"

// An image is a sequence of frames:
//
//	length of the body, CRC32C of the body (four bytes each, little end first)
//	body: section (one byte), how many records (uvarint), the records
//
// The sections come in the order of the constants, each in as many frames as it takes;
// keys are compressed against the one before within a frame. What follows from the rest
// is not written: references of chunks, counters of policies, what expires when.
const (
	imageHead = iota + 1
	imageNames
	imageServers
	imagePolicies
	imageChunks
	imageLists
	imageEntries
	imageEnd
)

const (
	// imageFrame is from which size of its body on a frame is written.
	imageFrame = 64 << 10
	// imageFrameMax is how large a body may be: one record more.
	imageFrameMax = imageFrame + leafLargest
)

var imageTable = crc32.MakeTable(crc32.Castagnoli)

// A metadataImage is metadata as it was when it was frozen. What is large it shares
// with the metadata, which copies before it writes.
type metadataImage struct {
	epoch      uint64
	chunkSize  int64
	nextFile   fileID
	nextHandle handle
	names      []string
	servers    []serverRow
	policies   []policyImage // in the order of ids
	chunks     chunkTable
	lists      btree
	entries    btree
}

// A policyImage is a policy in an image.
type policyImage struct {
	id     fileID
	policy policy
}

var _ io.WriterTo = (*metadataImage)(nil)

// freeze returns an image of now. It takes no time to speak of: what it copies is the
// chunkservers and the policies.
func (m *metadata) freeze() *metadataImage {
	f := &metadataImage{
		epoch: m.epoch, chunkSize: m.chunkSize, nextFile: m.nextFile, nextHandle: m.nextHandle,
		names: m.names.freeze(), servers: slices.Clone(m.servers),
		chunks: m.chunks.freeze(), lists: m.lists.tree.freeze(), entries: m.ns.tree.freeze(),
	}
	for id, row := range m.policies { // order-free: sorted next
		f.policies = append(f.policies, policyImage{id, row.policy})
	}
	slices.SortFunc(f.policies, func(a, b policyImage) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return f
}

// WriteTo writes the image. It may run beside changes of the metadata.
func (f *metadataImage) WriteTo(w io.Writer) (int64, error) {
	out := &imageWriter{w: w}
	out.head(f)
	for _, name := range f.names {
		out.begin(imageNames)
		out.body = wire.AppendString(out.body, name)
	}
	for i := range f.servers {
		out.begin(imageServers)
		out.body = f.servers[i].append(out.body)
	}
	for _, p := range f.policies {
		out.begin(imagePolicies)
		out.body = p.policy.append(binary.AppendUvarint(out.body, uint64(p.id)))
	}
	for h, ok := f.chunks.after(0); ok && out.err == nil; h, ok = f.chunks.after(h) {
		row, _ := f.chunks.get(h)
		if out.begin(imageChunks) {
			out.last = 0
		}
		out.body = binary.AppendUvarint(out.body, uint64(h-out.last))
		out.body = append(binary.AppendUvarint(out.body, uint64(row.version)), row.goal)
		out.last = h
	}
	out.tree(imageLists, &f.lists)
	out.tree(imageEntries, &f.entries)
	out.begin(imageEnd)
	out.flush()
	return out.total, out.err
}

func (p *policy) append(dst []byte) []byte {
	dst = binary.AppendVarint(append(dst, p.goal), int64(p.retention))
	return binary.AppendUvarint(binary.AppendUvarint(dst, p.maxFiles), p.maxChunks)
}

func (s *serverRow) append(dst []byte) []byte {
	dst = append(dst, s.uuid[:]...)
	dst = wire.AppendString(wire.AppendString(wire.AppendString(dst, s.addr), s.rack), s.zone)
	return wire.AppendBool(wire.AppendBool(dst, s.draining), s.forgotten)
}

// An imageWriter collects records into frames.
type imageWriter struct {
	w       io.Writer
	frame   []byte
	body    []byte // the records of the frame that is being filled
	section byte
	records int
	last    handle // the one before in the frame
	key     []byte // the one before in the frame
	total   int64
	err     error
}

// begin begins a record, and reports whether it is the first of a frame.
func (out *imageWriter) begin(section byte) bool {
	if section != out.section || len(out.body) >= imageFrame {
		out.flush()
	}
	out.section = section
	out.records++
	return out.records == 1
}

func (out *imageWriter) flush() {
	if out.records == 0 || out.err != nil {
		return
	}
	f := append(out.frame[:0], 0, 0, 0, 0, 0, 0, 0, 0, out.section)
	f = binary.AppendUvarint(f, uint64(out.records))
	f = append(f, out.body...)
	binary.LittleEndian.PutUint32(f, uint32(len(f)-8))
	binary.LittleEndian.PutUint32(f[4:], crc32.Checksum(f[8:], imageTable))
	n, err := out.w.Write(f)
	out.total += int64(n)
	out.frame, out.body, out.records, out.err = f, out.body[:0], 0, err
}

func (out *imageWriter) head(f *metadataImage) {
	out.begin(imageHead)
	out.body = wire.AppendString(out.body, metadataFormat)
	for _, v := range []uint64{
		f.epoch, uint64(f.chunkSize), uint64(f.nextFile), uint64(f.nextHandle), uint64(len(f.names)), uint64(len(f.servers)),
		uint64(len(f.policies)), uint64(f.chunks.count), uint64(f.lists.count), uint64(f.entries.count),
	} {
		out.body = binary.AppendUvarint(out.body, v)
	}
}

// tree writes all entries of a tree.
func (out *imageWriter) tree(section byte, t *btree) {
	var c btcursor
	for ok := c.seek(t, nil); ok && out.err == nil; ok = c.forward() {
		shared := 0
		if !out.begin(section) {
			shared = leafCommon(out.key, c.key)
		}
		out.body = binary.AppendUvarint(out.body, uint64(shared))
		out.body = wire.AppendBytes(out.body, c.key[shared:])
		out.body = wire.AppendBytes(out.body, c.value)
		out.key = append(out.key[:shared], c.key[shared:]...)
	}
}
