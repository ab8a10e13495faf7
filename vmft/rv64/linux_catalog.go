package rv64

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// The catalog is what there is on a shared disk beside the content of files: names, sizes,
// permissions. The machine has all of it in its tables; on the disk it is for the machine
// that is started there next. It is a log in an object of its own: a frame with everything,
// and then one frame for each lot of changes. When it has grown, another takes its place.
//
// A frame is the length of its records, a checksum of number and records, and the records.
// The first one that is not whole is where the log ends: it was being written when all
// machines died.

// Records of a catalog. Files are known by their keys, which are never used again.
const (
	recordInode  = iota + 1 // what a file is
	recordLink              // a name
	recordUnlink            // and its end
)

const (
	catalogMagic = "rv64 catalog 1\n"
	frameHead    = 4 + 8
	maxFrame     = 1 << 30
)

var catalogTable = crc64.MakeTable(crc64.ECMA)

// frameSum is the checksum of the frame with a number.
func frameSum(number uint64, records []byte) uint64 {
	return crc64.Update(crc64.Checksum(binary.LittleEndian.AppendUint64(nil, number), catalogTable), catalogTable, records)
}

// appendFrame appends the frame with a number, from 0, of a catalog.
func appendFrame(b []byte, number uint64, records []byte) []byte {
	if number == 0 {
		records = append([]byte(catalogMagic), records...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(records)))
	b = binary.LittleEndian.AppendUint64(b, frameSum(number, records))
	return append(b, records...)
}

// cutFrame takes the frame with a number off a catalog. It reports false if there is none,
// or not the whole.
func cutFrame(b []byte, number uint64) (records, rest []byte, ok bool) {
	if len(b) < frameHead {
		return nil, nil, false
	}
	n, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint64(b[4:])
	if b = b[frameHead:]; n == 0 || n > maxFrame || uint64(n) > uint64(len(b)) || frameSum(number, b[:n]) != sum {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

func (in *inode) appendRecord(b []byte) []byte {
	b = append(b, recordInode)
	for _, v := range []uint64{in.key, in.body, uint64(in.mode), uint64(in.uid), uint64(in.gid)} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range []int64{in.atime, in.mtime, in.ctime, in.size} {
		b = binary.AppendVarint(b, v)
	}
	return wire.AppendString(b, in.target)
}

func appendLink(b []byte, dir uint64, name string, key uint64) []byte {
	b = binary.AppendUvarint(append(b, recordLink), dir)
	b = wire.AppendString(b, name)
	return binary.AppendUvarint(b, key)
}

func appendUnlink(b []byte, dir uint64, name string) []byte {
	return wire.AppendString(binary.AppendUvarint(append(b, recordUnlink), dir), name)
}

// A catalog is one that was read.
type catalog struct {
	inodes map[uint64]*inode
	names  map[uint64]map[string]uint64 // of directories
}

// mountKey is the key of the directory that is the root of a shared disk.
const mountKey = 1

var errCatalog = errors.New("the catalog of the shared disk is damaged")

// readCatalog reads a catalog as far as it is whole. An empty one is that of a new disk.
func readCatalog(b []byte) (*catalog, error) {
	c := &catalog{inodes: make(map[uint64]*inode), names: make(map[uint64]map[string]uint64)}
	if len(b) == 0 {
		return c, nil
	}
	for number := uint64(0); ; number++ {
		records, rest, ok := cutFrame(b, number)
		if !ok && number == 0 {
			return nil, fmt.Errorf("%w: its first frame, of %d bytes in all, is not whole", errCatalog, len(b))
		}
		if !ok {
			return c, c.check()
		}
		if number == 0 {
			if len(records) < len(catalogMagic) || string(records[:len(catalogMagic)]) != catalogMagic {
				return nil, fmt.Errorf("%w: it is not one, or of another version", errCatalog)
			}
			records = records[len(catalogMagic):]
		}
		if err := c.read(records); err != nil {
			return nil, fmt.Errorf("%w: frame %d: %w", errCatalog, number, err)
		}
		b = rest
	}
}

func (c *catalog) read(records []byte) error {
	d := wire.NewDecoder(records)
	for d.Len() > 0 && d.Err() == nil {
		switch kind := d.Byte(); kind {
		case recordInode:
			in := &inode{key: d.Uvarint(), body: d.Uvarint(), mode: uint32(d.Uvarint()), uid: uint32(d.Uvarint()), gid: uint32(d.Uvarint())}
			in.atime, in.mtime, in.ctime, in.size = d.Varint(), d.Varint(), d.Varint(), d.Varint()
			if in.target = d.String(); in.key == 0 || in.size < 0 || len(in.target) > maxPath {
				d.Fail("inode %d of %d bytes", in.key, in.size)
			}
			c.inodes[in.key] = in
		case recordLink:
			dir, name, key := d.Uvarint(), d.String(), d.Uvarint()
			if name == "" || len(name) > maxName {
				d.Fail("a name of %d bytes", len(name))
			}
			if c.names[dir] == nil {
				c.names[dir] = make(map[string]uint64)
			}
			c.names[dir][name] = key
		case recordUnlink:
			dir, name := d.Uvarint(), d.String()
			delete(c.names[dir], name)
		default:
			d.Fail("a record of kind %d", kind)
		}
	}
	return d.Err()
}

// check reports whether all that is reachable is there, and a tree.
func (c *catalog) check() error {
	seen := map[uint64]bool{mountKey: true}
	for todo := []uint64{mountKey}; len(todo) > 0; todo = todo[1:] {
		dir := c.inodes[todo[0]]
		if dir == nil || !dir.isDir() {
			return fmt.Errorf("%w: there is no directory %d", errCatalog, todo[0])
		}
		// order-free: any fault is one, and which is found first only words the error
		for name, key := range c.names[dir.key] {
			in := c.inodes[key]
			if in == nil {
				return fmt.Errorf("%w: %q is file %d, which there is not", errCatalog, name, key)
			}
			if !in.isDir() {
				continue
			}
			if seen[key] {
				return fmt.Errorf("%w: directory %d is in two places", errCatalog, key)
			}
			seen[key] = true
			todo = append(todo, key)
		}
	}
	return nil
}

// each calls f for everything that can be reached, a directory before what is in it, in an
// order that depends on nothing else.
func (c *catalog) each(f func(dir uint64, name string, in *inode)) {
	for todo := []uint64{mountKey}; len(todo) > 0; todo = todo[1:] {
		names := c.names[todo[0]]
		sorted := make([]string, 0, len(names))
		// order-free: they are sorted
		for name := range names {
			sorted = append(sorted, name)
		}
		slices.Sort(sorted)
		for _, name := range sorted {
			in := c.inodes[names[name]]
			f(todo[0], name, in)
			if in.isDir() {
				todo = append(todo, in.key)
			}
		}
	}
}

// CheckCatalog reads the catalog of a shared disk, and returns the objects that hold the
// contents of the files in it. The error says what is wrong with it.
func CheckCatalog(b []byte) (objects []uint64, err error) {
	c, err := readCatalog(b)
	if err != nil {
		return nil, fmt.Errorf("rv64: %w", err)
	}
	c.each(func(_ uint64, _ string, in *inode) {
		if in.body != 0 {
			objects = append(objects, in.body)
		}
	})
	slices.Sort(objects)
	return slices.Compact(objects), nil
}
