package gfs

import "bytes"

// A namespace is the table from full paths to files and directories (§2.6.1, §4.1).
// There is no structure for a directory: it is an entry that others come after.
//
// Invariants: the root is there and is a directory, and so is what every other entry is
// in. dirs agrees with the tree.
type namespace struct {
	tree btree
	// dirs has directories again, for the way down to a path, which is asked for
	// permission at each step: as many as there is room for, the others are looked up
	// in the tree.
	dirs map[string]*nsDir
}

// maxDirs bounds namespace.dirs.
const maxDirs = 1 << 16

// dirFacts is what the way through a directory depends on.
type dirFacts struct {
	id     fileID
	mode   uint32
	owner  nameID
	group  nameID
	policy bool
	dying  bool
}

// An nsDir is a directory in namespace.dirs. Its path takes one search, and those above
// it none.
type nsDir struct {
	dirFacts
	above *nsDir // the one it is in: itself for the root, nil if there was no room
}

func (e *nsEntry) facts() dirFacts {
	return dirFacts{e.id, e.mode, e.owner, e.group, e.policy, e.dying}
}

// newNamespace returns an empty one. seed is that of the tree's index.
func newNamespace(seed [2]uint64) namespace {
	ns := namespace{tree: newBtree(), dirs: make(map[string]*nsDir)}
	ns.tree.reindex(seed)
	return ns
}

// get reads the entry of a key into e, if there is one.
func (ns *namespace) get(key []byte, e *nsEntry) bool {
	value, ok := ns.tree.get(key)
	return ok && e.decode(value) == nil
}

// has reports whether there is an entry.
func (ns *namespace) has(key []byte) bool {
	_, ok := ns.tree.get(key)
	return ok
}

// put writes an entry.
func (ns *namespace) put(key []byte, e *nsEntry) {
	var buf [128]byte
	ns.tree.put(key, e.append(buf[:0]))
	if e.dir {
		ns.index(key, e)
	}
}

func (ns *namespace) index(key []byte, e *nsEntry) {
	if d := ns.dirs[string(key)]; d != nil {
		d.dirFacts = e.facts()
		return
	}
	if len(ns.dirs) >= maxDirs {
		return
	}
	d := &nsDir{dirFacts: e.facts()}
	if d.above = d; len(key) > 0 {
		d.above = ns.dirs[string(keyParent(key))]
	}
	ns.dirs[string(key)] = d
}

// delete takes an entry out.
func (ns *namespace) delete(key []byte, dir bool) {
	ns.tree.delete(key)
	if dir {
		delete(ns.dirs, string(key))
	}
}

// dir returns the facts of a directory. found is false if there is nothing, or dir if
// it is a file.
func (ns *namespace) dir(key []byte) (facts dirFacts, found, dir bool) {
	if d := ns.dirs[string(key)]; d != nil {
		return d.dirFacts, true, true
	}
	var e nsEntry
	if !ns.get(key, &e) {
		return dirFacts{}, false, false
	}
	return e.facts(), true, e.dir
}

// empty reports whether there is nothing below a directory, or nothing but what was
// removed.
func (ns *namespace) empty(key []byte, hidden bool) bool {
	var c btcursor
	below := appendBelow(nil, key)
	for ok := c.seek(&ns.tree, below); ok; {
		if len(key) == 0 && len(c.key) == 0 { // the root itself
			ok = c.forward()
			continue
		}
		if !bytes.HasPrefix(c.key, below) {
			return true
		}
		if _, _, is := hiddenName(c.key[len(below):]); !is || !hidden {
			return false
		}
		ok = c.seek(&ns.tree, appendPast(nil, c.key))
	}
	return true
}

// An nsSurvey is what there is at a key and below it.
type nsSurvey struct {
	files, dirs, chunks uint64
	longest             int // key, in bytes beyond the first
}

func (s *nsSurvey) entries() uint64 { return s.files + s.dirs }

// walk calls f with every entry at a key and below it, in order, until f returns false.
// The key and the entry are good until f returns. f must not write.
func (ns *namespace) walk(key []byte, f func(key []byte, e *nsEntry) bool) {
	var c btcursor
	var e nsEntry
	for ok := c.seek(&ns.tree, key); ok; ok = c.forward() {
		if !keyWithin(c.key, key) {
			// Names that go on with a byte below the separator's do not exist, so that
			// what is below comes right after.
			return
		}
		if e.decode(c.value) != nil || !f(c.key, &e) {
			return
		}
	}
}

// maxTree bounds how many files and directories one command moves, copies or changes. As
// the namespace is a table of full paths, it takes time for each of them, a few
// microseconds, during which nothing else is changed or read.
const maxTree = 1 << 20

// tree is survey that refuses more than one command may take on.
func (m *metadata) tree(key []byte) (s nsSurvey, err error) {
	s = m.ns.survey(key, m.maxTree)
	return s, m.bounded(key, s.entries())
}

// bounded refuses what is more than one command may take on.
func (m *metadata) bounded(key []byte, entries uint64) error {
	if entries <= m.maxTree {
		return nil
	}
	return refuse(outcomeTooLarge, keyPath(key),
		"there are more than %d files and directories in it, the most that change at once; take its parts one by one", m.maxTree)
}

// survey counts what there is at a key and below it, to no more than one beyond a limit.
func (ns *namespace) survey(key []byte, limit uint64) (s nsSurvey) {
	ns.walk(key, func(k []byte, e *nsEntry) bool {
		if e.dir {
			s.dirs++
		} else {
			s.files++
		}
		s.chunks += e.held
		s.longest = max(s.longest, len(k)-len(key))
		return s.entries() <= limit
	})
	return s
}

// reach finds out whether who may go down to a key: through all the directories that it
// is in, which must be there and be directories. want is what is needed of the last.
func (m *metadata) reach(who *identity, key []byte, want uint32) error {
	if m.open(who, key, want) {
		return nil
	}
	for i := 0; i < len(key); {
		dir := key[:max(i-1, 0)]
		next := bytes.IndexByte(key[i:], 0)
		need := uint32(mayEnter)
		if next < 0 {
			next, need = len(key)-i, need|want
		}
		i += next + 1
		facts, found, isDir := m.ns.dir(dir)
		switch {
		case !found || facts.dying:
			return refuseAt(outcomeNotExist, dir)
		case !isDir:
			return refuseAt(outcomeNotDir, dir)
		case !m.permits(who, facts.mode, facts.owner, facts.group, need):
			return refuseAt(outcomePermission, dir)
		}
	}
	return nil
}

// open reports whether reach finds nothing wrong, if namespace.dirs can tell.
func (m *metadata) open(who *identity, key []byte, want uint32) bool {
	if len(key) == 0 {
		return true
	}
	need := mayEnter | want
	for d := m.ns.dirs[string(keyParent(key))]; d != nil && !d.dying; d = d.above {
		if !m.permits(who, d.mode, d.owner, d.group, need) {
			return false
		}
		if d.above == d {
			return true
		}
		need = mayEnter
	}
	return false
}

// find reads the entry of a path into e and appends its key to buf, if who may go
// there.
func (m *metadata) find(who *identity, path string, buf []byte, e *nsEntry) (key []byte, err error) {
	key, long, err := parseKey(buf, path)
	if err != nil {
		return nil, err
	}
	// A super user may go anywhere: what is in a directory is enough to know of it. What
	// is being collected is found on the way.
	if who.super && m.ns.get(key, e) && !(long && keyHidden(key)) {
		return key, nil
	}
	if err := m.reach(who, key, 0); err != nil {
		return nil, err
	}
	if !m.ns.get(key, e) || e.dying {
		return nil, refuseAt(outcomeNotExist, key)
	}
	return key, nil
}

// policyOf returns the policy in force in a directory.
func (m *metadata) policyOf(dir []byte) policy {
	var p policy
	for {
		if facts, _, _ := m.ns.dir(dir); facts.policy {
			row := m.policies[facts.id]
			if p.goal == 0 {
				p.goal = row.policy.goal
			}
			if p.retention == 0 {
				p.retention = row.policy.retention
			}
		}
		if len(dir) == 0 {
			break
		}
		dir = keyParent(dir)
	}
	if p.goal == 0 {
		p.goal = DefaultReplication
	}
	if p.retention == 0 {
		p.retention = DefaultRetention
	}
	return p
}
