package gfs

// metadata is all that a master must not forget (§2.6): the namespace, which chunks the
// files have, the versions of the chunks, the chunkservers that it knows. It is changed
// by the commands of the log alone, and depends on nothing else.
//
// Invariants, besides those of its parts, which check tests:
//   - the references of a chunk are the files that have it, the live ones those that are
//     neither removed nor in a directory that is; no file has a chunk that is not there;
//     the goal of a chunk is at least that of each live file that has it;
//   - the counters of a policy are what is below its directory;
//   - every entry whose own name is a hidden one is in expiry, and nothing else is;
//   - files whose handles do not fit into their entry have them in lists, and nothing
//     else has; names are used as often as entries say;
//   - ids and handles are below the next ones to be issued.
type metadata struct {
	epoch      uint64
	chunkSize  int64 // bytes; 0 before the first epoch
	nextFile   fileID
	nextHandle handle

	ns       namespace
	names    nameTable
	lists    chunkList
	expiry   btree // ⟨when, by the log's time; key⟩ of what was removed → nothing
	chunks   chunkTable
	policies map[fileID]*policyRow
	root     *policyRow // that of the root
	servers  []serverRow

	maxTree uint64 // is maxTree, but in tests
	scratch coder  // of apply
}

// A serverRow is a chunkserver that has registered once.
type serverRow struct {
	location
	uuid      [16]byte
	draining  bool
	forgotten bool // it is gone for good
}

const (
	rootID   = fileID(1)
	rootMode = 0o777
	rootName = "root" // of the user and the group whose the root is at first
)

// newMetadata returns that of a new cluster: a root in which everybody may do as they
// like. Nothing that can be seen depends on the seed, which is of a [btindex].
func newMetadata(seed [2]uint64) *metadata {
	m := &metadata{
		nextFile: rootID + 1, nextHandle: 1,
		ns: newNamespace(seed), lists: chunkList{newBtree()}, expiry: newBtree(),
		policies: make(map[fileID]*policyRow), maxTree: maxTree,
	}
	m.root = &policyRow{}
	m.policies[rootID] = m.root
	m.ns.put(nil, &nsEntry{
		id: rootID, dir: true, policy: true, mode: rootMode, owner: m.names.take(rootName), group: m.names.take(rootName),
	})
	return m
}

// attributes returns what is known of an entry.
func (m *metadata) attributes(path string, name []byte, e *nsEntry) attributes {
	a := attributes{
		path: path, id: e.id, dir: e.dir, mode: e.mode, owner: m.names.names[e.owner], group: m.names.names[e.group],
		modified: e.modified, goal: e.goal, chunks: e.length,
	}
	if !e.dir && e.length > 0 {
		a.last = chunkInfo{index: e.length - 1, handle: m.handleAt(e, e.length-1)}
		row, _ := m.chunks.get(a.last.handle)
		a.last.version = row.version
	}
	if e.policy {
		a.goal = m.policies[e.id].goal
	}
	if e.hidden {
		_, a.deleted, _ = hiddenName(name)
	}
	return a
}

// handleAt returns the handle of a file's chunk; 0 if there is none.
func (m *metadata) handleAt(e *nsEntry, index uint64) handle {
	switch {
	case index >= e.length:
		return 0
	case e.paged():
		return m.lists.get(e.id, index)
	}
	return e.handles[index]
}

// eachHandle calls f with the chunks of a file from an index on, without holes, until f
// returns false. f must not write the file.
func (m *metadata) eachHandle(e *nsEntry, from uint64, f func(index uint64, h handle) bool) {
	if e.paged() {
		m.lists.each(e.id, from, f)
		return
	}
	for i := from; i < e.length; i++ {
		if h := e.handles[i]; h != 0 && !f(i, h) {
			return
		}
	}
}

// setHandle gives a file a chunk.
func (m *metadata) setHandle(e *nsEntry, index uint64, h handle) {
	if m.handleAt(e, index) == 0 {
		e.held++
	}
	if index < inlineChunks && !e.paged() {
		e.handles[index] = h
		e.length = max(e.length, index+1)
		return
	}
	if !e.paged() { // they leave the entry
		for i, old := range e.handles[:e.length] {
			if old != 0 {
				m.lists.set(e.id, uint64(i), old)
			}
		}
		e.handles = [inlineChunks]handle{}
	}
	e.length = max(e.length, index+1)
	m.lists.set(e.id, index, h)
}

// reference counts a file more, or fewer, of a chunk that is there.
func (m *metadata) reference(h handle, refs, live int32) {
	row, _ := m.chunks.get(h)
	row.refs += uint32(refs)
	row.live += uint32(live)
	m.chunks.set(h, row)
}

// raiseGoal makes the goal of a chunk that of a file that has it: as several may have
// it, it does not fall before the chunk is one file's alone.
func (m *metadata) raiseGoal(h handle, goal uint8) {
	row, _ := m.chunks.get(h)
	if row.refs > 1 {
		goal = max(goal, row.goal)
	}
	if row.goal != goal {
		row.goal = goal
		m.chunks.set(h, row)
	}
}
