package gfs

// create carries out cmdCreate.
func (m *metadata) create(c *cmdCreate) (r createResp, err error) {
	if err := checkNew(c.path); err != nil {
		return r, err
	}
	if c.goal > MaxReplication {
		return r, refuse(outcomeInvalid, c.path, "%d replicas; %d are the most", c.goal, MaxReplication)
	}
	var buf [256]byte
	var e nsEntry
	key := appendKey(buf[:0], c.path)
	if m.ns.get(key, &e) {
		if err := m.reach(&c.who, key, 0); err != nil {
			return r, err
		}
		switch {
		case e.dir:
			return r, refuseAt(outcomeIsDir, key)
		case c.exclusive:
			return r, refuseAt(outcomeExist, key)
		}
		return createResp{e.id, true}, nil
	}
	group, err := m.makeWay(&c.cmdHeader, key, c.parents, 0o755)
	if err != nil {
		return r, err
	}
	e = nsEntry{mode: c.mode & modeBits, goal: c.goal}
	if e.goal == 0 {
		e.goal = m.policyOf(keyParent(key)).goal
	}
	return createResp{file: m.add(&c.cmdHeader, key, &e, group)}, nil
}

// mkdir carries out cmdMkdir.
func (m *metadata) mkdir(c *cmdMkdir) (r createResp, err error) {
	if err := checkNew(c.path); err != nil {
		return r, err
	}
	var buf [256]byte
	var e nsEntry
	key := appendKey(buf[:0], c.path)
	if m.ns.get(key, &e) {
		if err := m.reach(&c.who, key, 0); err != nil {
			return r, err
		}
		if !e.dir || !c.parents {
			return r, refuseAt(outcomeExist, key)
		}
		return createResp{e.id, true}, nil
	}
	// Whoever makes directories on the way may go on in them.
	group, err := m.makeWay(&c.cmdHeader, key, c.parents, c.mode|0o300)
	if err != nil {
		return r, err
	}
	return createResp{file: m.add(&c.cmdHeader, key, &nsEntry{dir: true, mode: c.mode & modeBits}, group)}, nil
}

// makeWay sees to it that the directory is there that a new key is to be in, that the
// user may write there, and that nothing is in the way of adding the key. It returns
// the group of the directory, which becomes that of the key.
func (m *metadata) makeWay(h *cmdHeader, key []byte, parents bool, mode uint32) (group nameID, err error) {
	above, missing := keyParent(key), 0
	for len(above) > 0 {
		if _, found, _ := m.ns.dir(above); found {
			break
		}
		above, missing = keyParent(above), missing+1
	}
	next := keyStep(key, above) // the first on the way that is not there
	facts, _, isDir := m.ns.dir(above)
	if !isDir {
		return 0, refuseAt(outcomeNotDir, above)
	}
	if err := m.reach(&h.who, next, mayWrite); err != nil {
		return 0, err
	}
	if missing > 0 && !parents {
		return 0, refuseAt(outcomeNotExist, keyParent(key))
	}
	if err := m.afford(next, nil, uint64(missing)+1, 0); err != nil {
		return 0, err
	}
	if !m.names.room(1) {
		return 0, refuse(outcomeTooLarge, keyPath(key), "%d users and groups own something, the most that may", maxNames)
	}
	for ; missing > 0; missing-- {
		m.add(h, next, &nsEntry{dir: true, mode: mode & modeBits}, facts.group)
		next = keyStep(key, next)
	}
	return facts.group, nil
}

// add adds an entry that there is room for.
func (m *metadata) add(h *cmdHeader, key []byte, e *nsEntry, group nameID) fileID {
	e.id = m.nextFile
	m.nextFile++
	e.modified = h.when
	e.owner = m.names.take(h.who.user)
	e.group = group
	m.names.hold(group, 1)
	m.ns.put(key, e)
	if e.dir {
		m.charge(key, 0, 1, 0)
	} else {
		m.charge(key, 1, 0, 0)
	}
	return e.id
}
