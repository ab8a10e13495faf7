package gfs

import (
	"encoding/binary"

	"github.com/trilith-go/trilith/internal/wire"
)

const (
	// listPage is how many indices of a file one page of handles covers.
	listPage = 64
	// maxFileChunks is how many chunks a file may have.
	maxFileChunks = 1 << 32
)

// A chunkList has the handles of files that have too many for their entries, in pages:
// a tree from ⟨file, page⟩ to the handles of the page, up to the last that is not a
// hole. A page of holes is not there. So a chunk more costs the same whatever the
// length of the file, and holes cost nothing.
type chunkList struct{ tree btree }

// listKey is the key of a page. Keys are in the order of files, then of pages.
func listKey(dst []byte, file fileID, page uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(file))
	return binary.BigEndian.AppendUint32(dst, uint32(page))
}

func decodeListKey(key []byte) (file fileID, page uint64, ok bool) {
	if len(key) != 12 {
		return 0, 0, false
	}
	return fileID(binary.BigEndian.Uint64(key)), uint64(binary.BigEndian.Uint32(key[8:])), true
}

// A handlePage is a page of handles, taken apart.
type handlePage [listPage]handle

// decode reads a page as append writes it, and refuses everything else.
func (p *handlePage) decode(src []byte) error {
	*p = handlePage{}
	d := wire.NewDecoder(src)
	n := d.Byte()
	if n == 0 || n > listPage {
		d.Fail("a page of %d handles", n)
		return d.Err()
	}
	decodeHandles(&d, p[:n])
	if d.Err() == nil && p[n-1] == 0 {
		d.Fail("a hole at the end")
	}
	return d.Finish()
}

// append appends the page; nothing if it has only holes.
func (p *handlePage) append(dst []byte) []byte {
	n := listPage
	for n > 0 && p[n-1] == 0 {
		n--
	}
	if n == 0 {
		return dst
	}
	return appendHandles(append(dst, byte(n)), p[:n])
}

// get returns the handle at an index; 0 if there is a hole.
func (l *chunkList) get(file fileID, index uint64) handle {
	var key [12]byte
	var page handlePage
	value, ok := l.tree.get(listKey(key[:0], file, index/listPage))
	if !ok || page.decode(value) != nil {
		return 0
	}
	return page[index%listPage]
}

// set writes the handle at an index.
func (l *chunkList) set(file fileID, index uint64, h handle) {
	var keyBuf [12]byte
	var buf [listPage * 9]byte
	var page handlePage
	key := listKey(keyBuf[:0], file, index/listPage)
	if value, ok := l.tree.get(key); ok && page.decode(value) != nil {
		return // what is in the tree was put there by append
	}
	page[index%listPage] = h
	l.putPage(key, page.append(buf[:0]))
}

func (l *chunkList) putPage(key, value []byte) {
	if len(value) == 0 {
		l.tree.delete(key)
		return
	}
	l.tree.put(key, value)
}

// each calls f with the chunks of a file from an index on, without holes, until f
// returns false.
func (l *chunkList) each(file fileID, from uint64, f func(index uint64, h handle) bool) {
	var keyBuf [12]byte
	var page handlePage
	var c btcursor
	for ok := c.seek(&l.tree, listKey(keyBuf[:0], file, from/listPage)); ok; ok = c.forward() {
		owner, number, _ := decodeListKey(c.key)
		if owner != file || page.decode(c.value) != nil {
			return
		}
		for i, h := range page {
			if index := number*listPage + uint64(i); h != 0 && index >= from && !f(index, h) {
				return
			}
		}
	}
}

// copy gives one file the handles of another.
func (l *chunkList) copy(from, to fileID) {
	l.pages(from, func(page uint64, value []byte) {
		var key [12]byte
		l.tree.put(listKey(key[:0], to, page), value)
	})
}

// drop forgets the handles of a file.
func (l *chunkList) drop(file fileID) {
	l.pages(file, func(page uint64, _ []byte) {
		var key [12]byte
		l.tree.delete(listKey(key[:0], file, page))
	})
}

// pages calls f with the pages of a file; f may change the tree.
func (l *chunkList) pages(file fileID, f func(page uint64, value []byte)) {
	type part struct {
		page  uint64
		value []byte
	}
	var keyBuf [12]byte
	for next := uint64(0); ; {
		var some []part
		var c btcursor
		for ok := c.seek(&l.tree, listKey(keyBuf[:0], file, next)); ok && len(some) < 256; ok = c.forward() {
			owner, page, _ := decodeListKey(c.key)
			if owner != file {
				break
			}
			some = append(some, part{page, append([]byte(nil), c.value...)})
		}
		for _, p := range some {
			f(p.page, p.value)
		}
		if len(some) == 0 {
			return
		}
		if next = some[len(some)-1].page + 1; next >= maxFileChunks/listPage {
			return
		}
	}
}
