package gfs

// setAttr carries out cmdSetAttr: on everything that it is about, or on nothing.
func (m *metadata) setAttr(c *cmdSetAttr) error {
	switch {
	case c.goal > MaxReplication:
		return refuse(outcomeInvalid, c.path, "%d replicas; %d are the most", c.goal, MaxReplication)
	case !validName(c.owner) || !validName(c.group):
		return refuse(outcomeInvalid, c.path, "not the name of a user or group: want at most %d bytes, none of them zero", MaxName)
	case c.mode < -1 || c.mode > modeBits:
		return refuse(outcomeInvalid, c.path, "mode %#o", c.mode)
	}
	var e nsEntry
	key, err := m.find(&c.who, c.path, nil, &e)
	if err != nil {
		return err
	}
	if !m.names.room(2) {
		return refuse(outcomeTooLarge, c.path, "%d users and groups own something, the most that may", maxNames)
	}
	if !c.all || !e.dir {
		return m.setOne(c, key, &e)
	}
	entries := uint64(0)
	m.ns.walk(key, func(k []byte, e *nsEntry) bool {
		entries++
		if err = m.bounded(key, entries); err == nil {
			err = m.maySet(c, k, e)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	// The top comes last: with it, everything is reached as it was.
	for next := appendBelow(nil, key); ; {
		batch, last := m.batchBelow(key, next)
		for _, b := range batch {
			if e.decode(b.value) == nil {
				if err := m.setOne(c, b.key, &e); err != nil {
					return err
				}
			}
		}
		if last {
			break
		}
		next = append(batch[len(batch)-1].key, 0)
	}
	m.ns.get(key, &e)
	return m.setOne(c, key, &e)
}

// batchBelow returns some of the entries below a directory, from a key on, and whether
// they are the last.
func (m *metadata) batchBelow(key, next []byte) (batch []nsMoved, last bool) {
	var c btcursor
	for ok := c.seek(&m.ns.tree, next); ok && keyWithin(c.key, key); ok = c.forward() {
		if len(c.key) == len(key) {
			continue
		}
		if len(batch) == moveBatch {
			return batch, false
		}
		batch = append(batch, nsMoved{append([]byte(nil), c.key...), append([]byte(nil), c.value...)})
	}
	return batch, true
}

// maySet refuses a change of attributes for which the user has no right: what an owner
// may do, and as POSIX has it, only super users give things away.
func (m *metadata) maySet(c *cmdSetAttr, key []byte, e *nsEntry) error {
	who := &c.who
	refused := !m.owns(who, e.owner)
	if refused && (c.goal != 0 || c.modTime != 0) && c.mode < 0 && c.owner == "" && c.group == "" {
		refused = e.dir || !m.permits(who, e.mode, e.owner, e.group, mayWrite)
	}
	if c.owner != "" && c.owner != m.names.names[e.owner] && !who.super {
		refused = true
	}
	if c.group != "" && c.group != m.names.names[e.group] && !who.super && !who.in(c.group) {
		refused = true
	}
	if refused {
		return refuseAt(outcomePermission, key)
	}
	if e.dir && c.goal != 0 && !e.policy && !c.all && len(m.policies) >= maxPolicies {
		return refuse(outcomeTooLarge, keyPath(key), "%d directories have a policy, the most that may", maxPolicies)
	}
	return nil
}

// setOne changes the attributes of one entry.
func (m *metadata) setOne(c *cmdSetAttr, key []byte, e *nsEntry) error {
	if err := m.maySet(c, key, e); err != nil {
		return err
	}
	if c.mode >= 0 {
		e.mode = uint32(c.mode)
	}
	if c.modTime != 0 {
		e.modified = c.modTime
	}
	e.owner = m.newOwner(e.owner, c.owner)
	e.group = m.newOwner(e.group, c.group)
	if c.goal != 0 && !e.dir {
		e.goal = c.goal
		m.eachHandle(e, 0, func(_ uint64, h handle) bool {
			m.raiseGoal(h, c.goal)
			return true
		})
	}
	m.ns.put(key, e)
	if c.goal == 0 || !e.dir {
		return nil
	}
	// Of the directories below, those follow that have a goal of their own.
	p := policy{}
	if e.policy {
		p = m.policies[e.id].policy
	}
	if p.goal == 0 && c.all && keyPath(key) != c.path {
		return nil
	}
	p.goal = c.goal
	return m.applyPolicy(key, e, p)
}

// newOwner gives an entry another owner or group; "" leaves it.
func (m *metadata) newOwner(id nameID, name string) nameID {
	if name == "" || m.names.names[id] == name {
		return id
	}
	m.names.release(id)
	return m.names.take(name)
}
