package gfs

import "bytes"

// snapshot carries out cmdSnapshot (§3.4): what is copied is the entries; the copies
// share the chunks, until one of them is written.
func (m *metadata) snapshot(c *cmdSnapshot) error {
	if err := checkNew(c.to); err != nil {
		return err
	}
	var e nsEntry
	from, err := m.find(&c.who, c.from, nil, &e)
	if err != nil {
		return err
	}
	to := appendKey(nil, c.to)
	switch {
	case len(to) == 0 || m.ns.has(to):
		return refuseAt(outcomeExist, to)
	case e.dir && keyWithin(to, from):
		return refuse(outcomeInvalid, c.to, "it is in %s, of which it is to be a copy", c.from)
	}
	if err := m.reach(&c.who, to, mayWrite); err != nil {
		return err
	}
	s, err := m.readable(&c.who, from)
	if err != nil {
		return err
	}
	if len(to)+s.longest > maxKey {
		return refuse(outcomeTooLarge, c.to, "what is below it would have too long a path")
	}
	if err := m.afford(to, nil, s.entries(), s.chunks); err != nil {
		return err
	}
	if !m.names.room(1) {
		return refuse(outcomeTooLarge, c.to, "%d users and groups own something, the most that may", maxNames)
	}
	m.copyTree(&c.cmdHeader, from, to, &e)
	m.charge(to, int64(s.files), int64(s.dirs), int64(s.chunks))
	return nil
}

// visible calls f with every entry at a key and below it that is not hidden there.
func (m *metadata) visible(key []byte, f func(key []byte, e *nsEntry) bool) {
	var c btcursor
	var e nsEntry
	for ok := c.seek(&m.ns.tree, key); ok && keyWithin(c.key, key); {
		if e.decode(c.value) != nil {
			return
		}
		if e.hidden && len(c.key) > len(key) {
			ok = c.seek(&m.ns.tree, appendPast(nil, c.key))
			continue
		}
		if !f(c.key, &e) {
			return
		}
		ok = c.forward()
	}
}

// readable refuses a tree in which there is something that the user may not read, and
// counts what there is.
func (m *metadata) readable(who *identity, key []byte) (s nsSurvey, err error) {
	m.visible(key, func(k []byte, e *nsEntry) bool {
		want := uint32(mayRead)
		if e.dir {
			want |= mayEnter
			s.dirs++
		} else {
			s.files++
		}
		if !m.permits(who, e.mode, e.owner, e.group, want) {
			err = refuseAt(outcomePermission, k)
			return false
		}
		s.chunks += e.held
		s.longest = max(s.longest, len(k)-len(key))
		err = m.bounded(key, s.entries())
		return err == nil
	})
	return s, err
}

// copyTree copies what is at a key and below it to another, where nothing is.
func (m *metadata) copyTree(h *cmdHeader, from, to []byte, top *nsEntry) {
	m.copyOne(h, to, top)
	if !top.dir {
		return
	}
	below, target := appendBelow(nil, from), appendBelow(nil, to)
	cut := len(target)
	next := below
	var e nsEntry
	for {
		var batch []nsMoved
		var c btcursor
		for ok := c.seek(&m.ns.tree, next); ok && bytes.HasPrefix(c.key, below) && len(batch) < moveBatch; {
			if e.decode(c.value) == nil && e.hidden {
				ok = c.seek(&m.ns.tree, appendPast(nil, c.key))
				continue
			}
			batch = append(batch, nsMoved{bytes.Clone(c.key), bytes.Clone(c.value)})
			ok = c.forward()
		}
		for _, b := range batch {
			if e.decode(b.value) == nil {
				m.copyOne(h, append(target[:cut], b.key[len(below):]...), &e)
			}
		}
		if len(batch) < moveBatch {
			return
		}
		next = append(batch[len(batch)-1].key, 0)
	}
}

// copyOne copies an entry, which it may change.
func (m *metadata) copyOne(h *cmdHeader, to []byte, e *nsEntry) {
	original := e.id
	e.id = m.nextFile
	m.nextFile++
	e.hidden, e.expires, e.policy = false, 0, false
	if h.who.super {
		m.names.hold(e.owner, 1)
	} else {
		e.owner = m.names.take(h.who.user)
	}
	m.names.hold(e.group, 1)
	if e.paged() {
		m.lists.copy(original, e.id)
	}
	m.eachHandle(e, 0, func(_ uint64, k handle) bool {
		m.reference(k, 1, 1)
		m.raiseGoal(k, e.goal)
		return true
	})
	m.ns.put(to, e)
}
