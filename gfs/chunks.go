package gfs

import "slices"

// A chunkRow is what a master must not forget of a chunk.
type chunkRow struct {
	version version
	refs    uint32 // files that have it: more than one after a snapshot (§3.4)
	live    uint32 // those of them that are not removed
	goal    uint8  // replicas wanted
}

const (
	chunkPageBits = 8  // of a handle: its place in a page
	chunkDirBits  = 10 // the page's place in its directory
	chunkPageSize = 1 << chunkPageBits
	chunkDirSize  = 1 << chunkDirBits

	// maxHandle bounds the handles that are ever issued.
	maxHandle = handle(1) << 40
)

// A chunkTable is an array of all chunks by handle, in pages, as handles are issued
// one after the other: 17 bytes a chunk. Pages without a chunk are freed. It is copied
// on write, as a [btree] is. A chunk is there if it has a reference.
type chunkTable struct {
	dirs  []*chunkDir
	gen   uint64
	own   bool // dirs is not shared with a frozen table
	count int

	watched bool     // changed is kept
	changed []handle // whose rows have changed since it was last taken
}

type chunkDir struct {
	gen   uint64
	used  int // pages
	pages [chunkDirSize]*chunkPage
}

// chunkPage has a column for each field: no byte is lost between them.
type chunkPage struct {
	gen      uint64
	used     int
	versions [chunkPageSize]version
	refs     [chunkPageSize]uint32
	live     [chunkPageSize]uint32
	goals    [chunkPageSize]uint8
}

// freeze returns the table as it is now. It must not be written.
func (t *chunkTable) freeze() chunkTable {
	frozen := *t
	t.gen++
	t.own = false
	return frozen
}

// page returns the page of a handle, or nil.
func (t *chunkTable) page(h handle) *chunkPage {
	d := uint64(h) >> (chunkPageBits + chunkDirBits)
	if d >= uint64(len(t.dirs)) || t.dirs[d] == nil {
		return nil
	}
	return t.dirs[d].pages[uint64(h)>>chunkPageBits%chunkDirSize]
}

// get returns the row of a chunk, if it is there.
func (t *chunkTable) get(h handle) (chunkRow, bool) {
	p := t.page(h)
	i := h % chunkPageSize
	if p == nil || p.refs[i] == 0 {
		return chunkRow{}, false
	}
	return chunkRow{p.versions[i], p.refs[i], p.live[i], p.goals[i]}, true
}

// version returns the version of a chunk that is there: a column is less than a row.
func (t *chunkTable) version(h handle) version {
	if p := t.page(h); p != nil {
		return p.versions[h%chunkPageSize]
	}
	return 0
}

// set writes the row of a chunk; one without references takes it out.
func (t *chunkTable) set(h handle, row chunkRow) {
	if t.watched {
		t.changed = append(t.changed, h)
	}
	if p := t.page(h); row.refs == 0 && (p == nil || p.refs[h%chunkPageSize] == 0) {
		return
	}
	if !t.own {
		t.dirs, t.own = slices.Clone(t.dirs), true
	}
	di, pi, i := int(h>>(chunkPageBits+chunkDirBits)), h>>chunkPageBits%chunkDirSize, h%chunkPageSize
	for len(t.dirs) <= di {
		t.dirs = append(t.dirs, nil)
	}
	d := t.dirs[di]
	switch {
	case d == nil:
		d = &chunkDir{gen: t.gen}
	case d.gen != t.gen:
		c := *d
		c.gen = t.gen
		d = &c
	}
	t.dirs[di] = d
	p := d.pages[pi]
	switch {
	case p == nil:
		p = &chunkPage{gen: t.gen}
		d.used++
	case p.gen != t.gen:
		c := *p
		c.gen = t.gen
		p = &c
	}
	d.pages[pi] = p
	if p.refs[i] == 0 {
		p.used++
		t.count++
	}
	p.versions[i], p.refs[i], p.live[i], p.goals[i] = row.version, row.refs, row.live, row.goal
	if row.refs != 0 {
		return
	}
	p.versions[i], p.live[i], p.goals[i] = 0, 0, 0
	t.count--
	if p.used--; p.used > 0 {
		return
	}
	d.pages[pi] = nil
	if d.used--; d.used == 0 {
		t.dirs[di] = nil
	}
}

// after returns the first chunk whose handle is greater than h.
func (t *chunkTable) after(h handle) (handle, bool) {
	for h++; int(h>>(chunkPageBits+chunkDirBits)) < len(t.dirs); {
		d := t.dirs[h>>(chunkPageBits+chunkDirBits)]
		if d == nil {
			h = (h>>(chunkPageBits+chunkDirBits) + 1) << (chunkPageBits + chunkDirBits)
			continue
		}
		p := d.pages[h>>chunkPageBits%chunkDirSize]
		if p == nil {
			h = (h>>chunkPageBits + 1) << chunkPageBits
			continue
		}
		if p.refs[h%chunkPageSize] != 0 {
			return h, true
		}
		h++
	}
	return 0, false
}
