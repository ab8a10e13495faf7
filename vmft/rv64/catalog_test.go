package rv64

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

// sampleCatalog has a directory with two files in its first frame, and two frames of changes.
func sampleCatalog() (b []byte, ends []int) {
	root := &inode{key: mountKey, mode: sIFDIR | 0o755}
	dir := &inode{key: 1<<32 | 1, mode: sIFDIR | 0o700}
	file := &inode{key: 1<<32 | 2, body: 1<<32 | 3, mode: sIFREG | 0o644, size: 5}
	records := root.appendRecord(nil)
	records = appendLink(records, root.key, "dir", dir.key)
	records = dir.appendRecord(records)
	records = appendLink(records, dir.key, "file", file.key)
	records = file.appendRecord(records)
	b = appendFrame(nil, 0, records)
	ends = append(ends, len(b))
	b = appendFrame(b, 1, appendLink(nil, root.key, "again", file.key))
	ends = append(ends, len(b))
	file.body, file.size = 1<<32|4, 9
	b = appendFrame(b, 2, file.appendRecord(appendUnlink(nil, dir.key, "file")))
	return b, append(ends, len(b))
}

// A catalog that is cut off anywhere is what its whole frames say, and one without a whole
// frame is damaged.
func TestCatalogCutOff(t *testing.T) {
	b, ends := sampleCatalog()
	want := map[int][]uint64{1: {1<<32 | 3}, 2: {1<<32 | 3}, 3: {1<<32 | 4}}
	for n := 1; n <= len(b); n++ {
		for _, rest := range [][]byte{nil, make([]byte, 100)} { // a file that ends, or goes on with zeroes
			there := append(slices.Clone(b[:n]), rest...)
			frames := 0 // whose bytes are all there, if only because they are zeroes
			for frames < len(ends) && bytes.HasPrefix(there, b[:ends[frames]]) {
				frames++
			}
			objects, err := CheckCatalog(there)
			if frames == 0 {
				if err == nil {
					t.Errorf("%d bytes, less than a frame, are a catalog", n)
				}
				continue
			}
			if err != nil || !slices.Equal(objects, want[frames]) {
				t.Errorf("of %d bytes, %d frames: %v, %v", n, frames, objects, err)
			}
		}
	}
}

// Records that lead nowhere, or in circles, are found.
func TestCatalogThatIsNoTree(t *testing.T) {
	root := (&inode{key: mountKey, mode: sIFDIR | 0o755}).appendRecord(nil)
	dir := (&inode{key: 7, mode: sIFDIR | 0o755}).appendRecord(nil)
	for what, records := range map[string][]byte{
		"a file that is missing":       appendLink(slices.Clone(root), mountKey, "x", 9),
		"no root":                      dir,
		"a directory in two places":    appendLink(appendLink(slices.Concat(root, dir), mountKey, "a", 7), mountKey, "b", 7),
		"a directory in itself":        appendLink(appendLink(slices.Concat(root, dir), mountKey, "a", 7), 7, "b", 7),
		"the root in a directory":      appendLink(appendLink(slices.Concat(root, dir), mountKey, "a", 7), 7, "b", mountKey),
		"a name without letters":       appendLink(slices.Clone(root), mountKey, "", mountKey),
		"records that are cut off":     root[:len(root)-1],
		"a record of an unknown kind":  append(slices.Clone(root), 99),
		"an inode of a negative size":  (&inode{key: mountKey, mode: sIFDIR, size: -1}).appendRecord(nil),
		"a file where the root should": (&inode{key: mountKey, mode: sIFREG}).appendRecord(nil),
	} {
		if _, err := CheckCatalog(appendFrame(nil, 0, records)); err == nil {
			t.Errorf("%s is not found", what)
		}
	}
}

func FuzzCatalog(f *testing.F) {
	b, ends := sampleCatalog()
	f.Add(b)
	f.Add(b[:ends[0]])
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := readCatalog(b)
		if err != nil {
			return
		}
		n := 0
		c.each(func(uint64, string, *inode) { n++ })
		// Records by themselves, as the checksum keeps the fuzzer out of frames.
		if records := b; len(b) > 0 {
			c := &catalog{inodes: map[uint64]*inode{}, names: map[uint64]map[string]uint64{}}
			if c.read(records) == nil && c.check() == nil {
				c.each(func(uint64, string, *inode) { n++ })
			}
		}
		_ = n
	})
}

func FuzzDiskRequest(f *testing.F) {
	r := DiskRequest{ID: 7, Kind: DiskWrite, Object: 1<<32 | 2, Generation: 1, Offset: 4096, Data: []byte("data")}
	f.Add(r.Append(nil))
	f.Add([]byte{byte(DiskRead), 1, 1, 0, 1, 200, 1})
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	for _, b := range testutil.Lengths(byte(DiskWrite), 1, 1, 0, 1) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseDiskRequest(b)
		if err != nil {
			return
		}
		again, err := ParseDiskRequest(r.Append(nil))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(r) || !bytes.Equal(again.Data, r.Data) {
			t.Errorf("%+v becomes %+v, %v", r, again, err)
		}
	})
}
