package gfs

import "bytes"

// nsMoved is a part of what a directory contains, on its way to another path.
type nsMoved struct {
	key   []byte // beyond that of the top
	value []byte
}

// moveBatch is how many entries are on their way at once.
const moveBatch = 1024

// move gives an entry, and everything below it, another key: nothing is there, and all
// keys fit. change may change the top entry, which is given as it was.
func (m *metadata) move(from, to []byte, change func(top *nsEntry)) {
	wasHidden, isHidden := keyHidden(from), keyHidden(to)
	var top nsEntry
	m.ns.get(from, &top)
	from, to = bytes.Clone(from), bytes.Clone(to)
	m.moveOne(from, to, &top, wasHidden, isHidden, change)
	if !top.dir {
		return
	}
	below, target := appendBelow(nil, from), appendBelow(nil, to)
	cut := len(target)
	var e nsEntry
	for {
		batch := m.take(below)
		for _, b := range batch {
			if e.decode(b.value) != nil {
				continue // what is in the tree was put there by append
			}
			old, inner := append(below[:len(below):len(below)], b.key...), keyHidden(b.key)
			m.moveOne(old, append(target[:cut], b.key...), &e, wasHidden || inner, isHidden || inner, nil)
		}
		if len(batch) < moveBatch {
			return
		}
	}
}

// take returns the first entries whose keys begin with something, a batch of them.
func (m *metadata) take(below []byte) (batch []nsMoved) {
	var c btcursor
	for ok := c.seek(&m.ns.tree, below); ok && bytes.HasPrefix(c.key, below) && len(batch) < moveBatch; ok = c.forward() {
		batch = append(batch, nsMoved{bytes.Clone(c.key[len(below):]), bytes.Clone(c.value)})
	}
	return batch
}

// moveOne moves one entry.
func (m *metadata) moveOne(from, to []byte, e *nsEntry, wasHidden, isHidden bool, change func(e *nsEntry)) {
	m.ns.delete(from, e.dir)
	if e.hidden {
		m.expiry.delete(appendExpiry(nil, e.expires, from))
	}
	if wasHidden != isHidden && !e.dir {
		live := int32(1)
		if isHidden {
			live = -1
		}
		m.eachHandle(e, 0, func(_ uint64, h handle) bool {
			m.reference(h, 0, live)
			if live > 0 {
				m.raiseGoal(h, e.goal)
			}
			return true
		})
	}
	if change != nil {
		change(e)
	}
	if e.hidden {
		m.expiry.put(appendExpiry(nil, e.expires, to), nil)
	}
	m.ns.put(to, e)
}

// relocate moves what is at a key to another if that is possible: neither is the root,
// and the user may change both directories.
func (m *metadata) relocate(who *identity, from, to []byte, e *nsEntry, change func(e *nsEntry)) error {
	if keyWithin(to, from) && len(to) > len(from) {
		return refuse(outcomeInvalid, keyPath(to), "it is in %s, which cannot be moved there", keyPath(from))
	}
	if err := m.reach(who, from, mayWrite); err != nil {
		return err
	}
	if err := m.reach(who, to, mayWrite); err != nil {
		return err
	}
	if m.ns.has(to) {
		return refuseAt(outcomeExist, to)
	}
	s := nsSurvey{files: 1, chunks: e.held}
	if e.dir {
		var err error
		if s, err = m.tree(from); err != nil {
			return err
		}
	}
	if len(to)+s.longest > maxKey {
		return refuse(outcomeTooLarge, keyPath(to), "what is below it would have too long a path")
	}
	if err := m.afford(to, from, s.entries(), s.chunks); err != nil {
		return err
	}
	files, dirs, chunks := int64(s.files), int64(s.dirs), int64(s.chunks)
	m.charge(from, -files, -dirs, -chunks)
	m.move(from, to, change)
	m.charge(to, files, dirs, chunks)
	return nil
}

// unhide is the change to what is not hidden any more.
func unhide(e *nsEntry) { e.hidden, e.expires = false, 0 }

// rename carries out cmdRename.
func (m *metadata) rename(c *cmdRename) error {
	if err := checkNew(c.to); err != nil {
		return err
	}
	var fromBuf, toBuf [256]byte
	var e nsEntry
	from, err := m.find(&c.who, c.from, fromBuf[:0], &e)
	if err != nil {
		return err
	}
	to := appendKey(toBuf[:0], c.to)
	if len(from) == 0 {
		return refuse(outcomeInvalid, c.from, "the root stays where it is")
	}
	if len(to) == 0 {
		return refuseAt(outcomeExist, to)
	}
	return m.relocate(&c.who, from, to, &e, unhide)
}

// undelete carries out cmdUndelete.
func (m *metadata) undelete(c *cmdUndelete) (path string, err error) {
	if err := checkKey(c.path); err != nil {
		return "", err
	}
	if c.to != "" {
		if err := checkNew(c.to); err != nil {
			return "", err
		}
	}
	var e nsEntry
	key := appendKey(nil, c.path)
	if _, _, ok := hiddenName(keyName(key)); !ok {
		if err := m.reach(&c.who, key, mayWrite); err != nil {
			return "", err
		}
		latest, ok := m.latestHidden(key)
		if !ok {
			return "", refuse(outcomeNotExist, c.path, "nothing of that name was removed, or it has been collected")
		}
		key = latest
	}
	if err := m.reach(&c.who, key, mayWrite); err != nil {
		return "", err
	}
	if !m.ns.get(key, &e) || e.dying {
		return "", refuseAt(outcomeNotExist, key)
	}
	original, _, _ := hiddenName(keyName(key))
	to := appendChild(nil, keyParent(key), string(original))
	if c.to != "" {
		to = appendKey(nil, c.to)
	}
	if len(to) == 0 {
		return "", refuseAt(outcomeExist, to)
	}
	if keyHidden(to) {
		return "", refuse(outcomeNotExist, keyPath(keyParent(to)), "the directory was removed too; say where to")
	}
	return keyPath(to), m.relocate(&c.who, key, to, &e, unhide)
}

// latestHidden returns the key of what was removed last from a key.
func (m *metadata) latestHidden(key []byte) (latest []byte, ok bool) {
	prefix := append(bytes.Clone(key), hiddenMark...)
	bound := append(bytes.Clone(prefix), 0xff)
	for {
		found, value, ok := m.ns.tree.before(nil, bound)
		if !ok || !bytes.HasPrefix(found, prefix) {
			return nil, false
		}
		if i := bytes.IndexByte(found[len(prefix):], 0); i >= 0 {
			bound = append(found[:len(prefix)+i:len(prefix)+i], 0) // the directory that it is in
			continue
		}
		var e nsEntry
		if original, _, ok := hiddenName(keyName(found)); ok && bytes.Equal(original, keyName(key)) &&
			e.decode(value) == nil && !e.dying {
			return found, true
		}
		bound = found
	}
}
