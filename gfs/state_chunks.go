package gfs

// fileFor finds a file to change its chunks: it is the one that is meant, it is not
// removed, and the user may write it.
func (m *metadata) fileFor(who *identity, path string, file fileID, buf []byte, e *nsEntry) (key []byte, err error) {
	key, err = m.find(who, path, buf, e)
	switch {
	case err != nil:
		return nil, err
	case e.dir:
		return nil, refuseAt(outcomeIsDir, key)
	case file != 0 && e.id != file:
		return nil, refuse(outcomeStale, path, "another file is there now")
	case keyHidden(key):
		return nil, refuse(outcomePermission, path, "it was removed: undelete it first")
	case !m.permits(who, e.mode, e.owner, e.group, mayWrite):
		return nil, refuseAt(outcomePermission, key)
	}
	return key, nil
}

// checkFresh refuses a handle that was not reserved, or that names a chunk.
func (m *metadata) checkFresh(path string, h handle) error {
	if _, used := m.chunks.get(h); used || h == 0 || h >= m.nextHandle {
		return refuse(outcomeStale, path, "handle %d was not reserved, or is in use", h)
	}
	return nil
}

// addChunk carries out cmdAddChunk.
func (m *metadata) addChunk(c *cmdAddChunk) (r chunkResult, err error) {
	var buf [256]byte
	var e nsEntry
	key, err := m.fileFor(&c.who, c.path, c.file, buf[:0], &e)
	if err != nil {
		return r, err
	}
	index := c.index
	if c.last {
		index = max(e.length, 1) - 1
	}
	if index >= maxFileChunks {
		return r, refuse(outcomeTooLarge, c.path, "chunk %d", index)
	}
	if h := m.handleAt(&e, index); h != 0 {
		row, _ := m.chunks.get(h)
		return chunkResult{e.id, e.length, index, h, row.version, true}, nil
	}
	if err := m.afford(key, nil, 0, 1); err != nil {
		return r, err
	}
	h := c.handle
	if h == 0 {
		if h, err = m.reserve(1); err != nil {
			return r, err
		}
	} else if err := m.checkFresh(c.path, h); err != nil {
		return r, err
	}
	m.setHandle(&e, index, h)
	e.modified = c.when
	m.ns.put(key, &e)
	m.chunks.set(h, chunkRow{c.version, 1, 1, e.goal})
	m.charge(key, 0, 0, 1)
	return chunkResult{e.id, e.length, index, h, c.version, false}, nil
}

// fork carries out cmdFork.
func (m *metadata) fork(c *cmdFork) (r chunkResult, err error) {
	var buf [256]byte
	var e nsEntry
	key, err := m.fileFor(&c.who, c.path, c.file, buf[:0], &e)
	if err != nil {
		return r, err
	}
	if c.from == 0 || m.handleAt(&e, c.index) != c.from {
		return r, refuse(outcomeStale, c.path, "it has another chunk %d now", c.index)
	}
	if err := m.checkFresh(c.path, c.to); err != nil {
		return r, err
	}
	m.setHandle(&e, c.index, c.to)
	e.modified = c.when
	m.ns.put(key, &e)
	m.reference(c.from, -1, -1)
	m.chunks.set(c.to, chunkRow{c.version, 1, 1, e.goal})
	return chunkResult{e.id, e.length, c.index, c.to, c.version, false}, nil
}

// grant carries out cmdGrant.
func (m *metadata) grant(c *cmdGrant) error {
	row, ok := m.chunks.get(c.handle)
	if !ok || row.version != c.from || c.to <= c.from {
		return refuse(outcomeStale, "", "chunk %d is at version %d, not %d", c.handle, row.version, c.from)
	}
	row.version = c.to
	m.chunks.set(c.handle, row)
	return nil
}

// adopt carries out cmdAdopt.
func (m *metadata) adopt(c *cmdAdopt) (version, error) {
	row, ok := m.chunks.get(c.handle)
	if !ok {
		return 0, refuse(outcomeStale, "", "chunk %d is gone", c.handle)
	}
	if c.version > row.version {
		row.version = c.version
		m.chunks.set(c.handle, row)
	}
	return row.version, nil
}

// reserve carries out cmdReserve.
func (m *metadata) reserve(n uint64) (first handle, err error) {
	if n == 0 || n > maxReserve || m.nextHandle > maxHandle-handle(n) {
		return 0, refuse(outcomeInvalid, "", "%d handles at once; %d are the most", n, maxReserve)
	}
	first = m.nextHandle
	m.nextHandle += handle(n)
	return first, nil
}

// maxServers bounds how many chunkservers are known, and were.
const maxServers = 1 << 16

// server carries out cmdServer.
func (m *metadata) server(c *cmdServer) (serverID, error) {
	if len(c.addr) > MaxPath || len(c.rack) > MaxName || len(c.zone) > MaxName {
		return 0, refuse(outcomeInvalid, "", "address, rack or zone too long")
	}
	for i := range m.servers {
		if s := &m.servers[i]; s.uuid == c.uuid {
			s.addr, s.rack, s.zone, s.forgotten = c.addr, c.rack, c.zone, false
			return s.id, nil
		}
	}
	if len(m.servers) >= maxServers {
		return 0, refuse(outcomeTooLarge, "", "%d chunkservers are known, the most that may", maxServers)
	}
	id := serverID(len(m.servers) + 1)
	m.servers = append(m.servers, serverRow{location: location{id, c.addr, c.rack, c.zone}, uuid: c.uuid})
	return id, nil
}

// setServer carries out cmdDrain and cmdForget.
func (m *metadata) setServer(id serverID, change func(s *serverRow)) error {
	if id == 0 || int(id) > len(m.servers) {
		return refuse(outcomeNotExist, "", "chunkserver %d", id)
	}
	change(&m.servers[id-1])
	return nil
}
