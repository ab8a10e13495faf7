package gfs

import "slices"

// A replicaWord is one replica in the table: the number of the incarnation that has
// it, and bits.
type replicaWord uint32

const (
	replicaHealth  replicaWord = 3      // its health, as reported
	replicaOdd     replicaWord = 1 << 2 // its version is in the table's odd
	replicaDoomed  replicaWord = 1 << 3 // it is to be deleted
	replicaSent    replicaWord = 1 << 4 // the order to delete it may have arrived
	replicaDoubted replicaWord = 1 << 5 // a client could not read it

	replicaSlotShift = 8
	maxSlots         = 1<<24 - 1
)

func (w replicaWord) slot() uint32   { return uint32(w >> replicaSlotShift) }
func (w replicaWord) health() health { return health(w & replicaHealth) }

// inlineReplicas is how many replicas an entry has room for.
const inlineReplicas = 3

// A chunkEntry is what is known of the replicas of a chunk. It has no pointers, and
// its size times the number of chunks is most of what a fleet weighs.
type chunkEntry struct {
	version version // of all replicas that are not odd
	who     [inlineReplicas]replicaWord
	length  uint32 // bytes, of the longest replica that was current when reported
	n       uint8  // replicas
	lane    uint8  // of the queue in which it is; 0: none
	flags   uint8
}

const (
	entryCovered uint8 = 1 << iota // the chunk exists and has a current replica
	entryWaits                     // a client waits for it
	entryShort                     // it is covered, and has fewer current replicas than it should have
)

const (
	replicaPageShift = 9
	replicaPageSize  = 1 << replicaPageShift
)

// A replicaPage has the entries of consecutive handles.
type replicaPage struct {
	used    int // entries with replicas
	entries [replicaPageSize]chunkEntry
}

// An oddReplica names a replica whose version is not that of its entry.
type oddReplica struct {
	handle handle
	slot   uint32
}

// A replicaTable has the replicas of all chunks, by handle.
//
// Invariants: an entry without replicas is zero; pages without used entries are not
// kept; more has the replicas of exactly those entries that have more of them than
// there is room for; odd has exactly those replicas that are marked as odd.
type replicaTable struct {
	pages map[uint64]*replicaPage
	order []uint64 // the numbers of the pages, ascending
	more  map[handle][]replicaWord
	odd   map[oddReplica]version

	last   *replicaPage // the page that was last looked up
	lastNo uint64
	chunks int // entries with replicas
	count  int // replicas
}

func newReplicaTable() replicaTable {
	return replicaTable{
		pages: make(map[uint64]*replicaPage),
		more:  make(map[handle][]replicaWord),
		odd:   make(map[oddReplica]version),
	}
}

func replicaPageOf(h handle) uint64 { return uint64(h) >> replicaPageShift }

func (t *replicaTable) page(no uint64) *replicaPage {
	if t.last != nil && t.lastNo == no {
		return t.last
	}
	p := t.pages[no]
	if p != nil {
		t.last, t.lastNo = p, no
	}
	return p
}

// find returns the entry of a chunk, or nil if it has no replicas. The entry is valid
// until its last replica is removed.
func (t *replicaTable) find(h handle) *chunkEntry {
	p := t.page(replicaPageOf(h))
	if p == nil {
		return nil
	}
	if e := &p.entries[h%replicaPageSize]; e.n > 0 {
		return e
	}
	return nil
}

// words returns the replicas of an entry, to be read or changed in place, until one is
// added or removed.
func (t *replicaTable) words(h handle, e *chunkEntry) []replicaWord {
	if e.n <= inlineReplicas {
		return e.who[:e.n]
	}
	return t.more[h]
}

// add adds a replica and returns the entry. There must be none of that slot.
func (t *replicaTable) add(h handle, w replicaWord, v version) *chunkEntry {
	no := replicaPageOf(h)
	p := t.page(no)
	if p == nil {
		p = new(replicaPage)
		t.pages[no] = p
		i, _ := slices.BinarySearch(t.order, no)
		t.order = slices.Insert(t.order, i, no)
		t.last, t.lastNo = p, no
	}
	e := &p.entries[h%replicaPageSize]
	if e.n == 0 {
		e.version = v
		p.used++
		t.chunks++
	}
	if v != e.version {
		w |= replicaOdd
		t.odd[oddReplica{h, w.slot()}] = v
	}
	switch {
	case e.n < inlineReplicas:
		e.who[e.n] = w
	case e.n == inlineReplicas:
		t.more[h] = append(append(make([]replicaWord, 0, inlineReplicas+1), e.who[:]...), w)
	default:
		t.more[h] = append(t.more[h], w)
	}
	e.n++
	t.count++
	return e
}

// maxReplicasKnown bounds the replicas of one chunk that are kept.
const maxReplicasKnown = 255

// removeAt removes the i-th replica. If it was the last one the entry is zero after it.
func (t *replicaTable) removeAt(h handle, e *chunkEntry, i int) {
	words := t.words(h, e)
	if words[i]&replicaOdd != 0 {
		delete(t.odd, oddReplica{h, words[i].slot()})
	}
	words[i] = words[len(words)-1]
	e.n--
	t.count--
	switch {
	case e.n == 0:
		*e = chunkEntry{}
		t.vacated(h)
	case e.n == inlineReplicas:
		copy(e.who[:], words)
		delete(t.more, h)
	case e.n > inlineReplicas:
		t.more[h] = words[:e.n]
	default:
		e.who[e.n] = 0
	}
}

// vacated drops the page of an entry that has become zero if it was the last of it.
func (t *replicaTable) vacated(h handle) {
	no := replicaPageOf(h)
	p := t.page(no)
	p.used--
	t.chunks--
	if p.used > 0 {
		return
	}
	delete(t.pages, no)
	if i, ok := slices.BinarySearch(t.order, no); ok {
		t.order = slices.Delete(t.order, i, i+1)
	}
	t.last = nil
}

func (t *replicaTable) versionOf(h handle, e *chunkEntry, w replicaWord) version {
	if w&replicaOdd == 0 {
		return e.version
	}
	return t.odd[oddReplica{h, w.slot()}]
}

// setVersion notes the version of a replica of the entry.
func (t *replicaTable) setVersion(h handle, e *chunkEntry, w *replicaWord, v version) {
	key := oddReplica{h, w.slot()}
	if v != e.version {
		*w |= replicaOdd
		t.odd[key] = v
	} else if *w&replicaOdd != 0 {
		*w &^= replicaOdd
		delete(t.odd, key)
	}
}

// rebase makes v the version that replicas have without being odd. It costs nothing
// when it is already.
func (t *replicaTable) rebase(h handle, e *chunkEntry, v version) {
	if e.version == v {
		return
	}
	old := e.version
	e.version = v
	words := t.words(h, e)
	for i := range words {
		is := old
		if words[i]&replicaOdd != 0 {
			is = t.odd[oddReplica{h, words[i].slot()}]
		}
		t.setVersion(h, e, &words[i], is)
	}
}

// next returns the number of the first page after no, or the first of all if there is
// none, and reports whether there are pages at all.
func (t *replicaTable) next(no uint64) (uint64, bool) {
	if len(t.order) == 0 {
		return 0, false
	}
	i, found := slices.BinarySearch(t.order, no)
	if found {
		i++
	}
	return t.order[i%len(t.order)], true
}
