package gfs

import (
	"io/fs"
	"slices"
	"time"
)

func (m *stateModel) maySet(c *cmdSetAttr, e *modelEntry) bool {
	who := &c.who
	owner := who.super || who.user != "" && who.user == e.owner
	minor := c.mode < 0 && c.owner == "" && c.group == "" && (c.goal != 0 || c.modTime != 0)
	switch {
	case !owner && !(minor && !e.dir && m.permits(who, e, 2)):
		return false
	case c.owner != "" && c.owner != e.owner && !who.super:
		return false
	case c.group != "" && c.group != e.group && !who.super && !slices.Contains(who.groups, c.group):
		return false
	}
	return true
}

func (m *stateModel) setAttr(c *cmdSetAttr) error {
	top, err := m.find(&c.who, c.path)
	if err != nil {
		return err
	}
	paths := []string{c.path}
	if c.all && top.dir {
		paths = m.below(c.path)
	}
	for _, p := range paths {
		if !m.maySet(c, m.entries[p]) {
			return fs.ErrPermission
		}
	}
	for _, p := range paths {
		e := m.entries[p]
		if c.mode >= 0 {
			e.mode = uint32(c.mode)
		}
		if c.modTime != 0 {
			e.modified = c.modTime
		}
		if c.owner != "" {
			e.owner = c.owner
		}
		if c.group != "" {
			e.group = c.group
		}
		switch {
		case c.goal == 0:
		case !e.dir:
			e.goal = c.goal
			for _, h := range e.handles {
				m.raise(h, c.goal)
			}
		case p == c.path || e.policy != nil && e.policy.goal != 0:
			own := policy{}
			if e.policy != nil {
				own = *e.policy
			}
			own.goal = c.goal
			e.policy = &own
		}
	}
	return nil
}

func (m *stateModel) setPolicy(c *cmdSetPolicy) error {
	e, err := m.find(&c.who, c.path)
	if err != nil {
		return err
	}
	if !e.dir {
		return ErrNotDir
	}
	if !c.who.super && c.who.user != e.owner {
		return fs.ErrPermission
	}
	old := policy{}
	if e.policy != nil {
		old = *e.policy
	}
	if !c.who.super && (old.maxFiles != c.policy.maxFiles || old.maxChunks != c.policy.maxChunks) {
		return fs.ErrPermission
	}
	e.policy = nil
	if p := c.policy; p != (policy{}) || c.path == "." {
		e.policy = &p
	}
	return nil
}

func (m *stateModel) fileFor(who *identity, p string, file fileID) (*modelEntry, error) {
	e, err := m.find(who, p)
	switch {
	case err != nil:
		return nil, err
	case e.dir:
		return nil, ErrIsDir
	case file != 0 && e.id != file:
		return nil, ErrStale
	case modelHidden(p) || !m.permits(who, e, 2):
		return nil, fs.ErrPermission
	}
	return e, nil
}

func (m *stateModel) fresh(h handle) bool { return h != 0 && h < m.nextHandle && m.chunks[h] == nil }

func (m *stateModel) addChunk(c *cmdAddChunk) (r chunkResult, err error) {
	e, err := m.fileFor(&c.who, c.path, c.file)
	if err != nil {
		return r, err
	}
	index := c.index
	if c.last {
		index = max(e.chunks, 1) - 1
	}
	if h := e.handles[index]; h != 0 {
		return chunkResult{e.id, e.chunks, index, h, m.chunks[h].version, true}, nil
	}
	if err := m.afford(c.path, "", 0, 1); err != nil {
		return r, err
	}
	h := c.handle
	if h == 0 {
		h = m.nextHandle
		m.nextHandle++
	} else if !m.fresh(h) {
		return r, ErrStale
	}
	e.handles[index] = h
	e.chunks = max(e.chunks, index+1)
	e.modified = c.when
	m.chunks[h] = &chunkRow{c.version, 1, 1, e.goal}
	return chunkResult{e.id, e.chunks, index, h, c.version, false}, nil
}

func (m *stateModel) fork(c *cmdFork) (r chunkResult, err error) {
	e, err := m.fileFor(&c.who, c.path, c.file)
	if err != nil {
		return r, err
	}
	if c.from == 0 || e.handles[c.index] != c.from || !m.fresh(c.to) {
		return r, ErrStale
	}
	old := m.chunks[c.from]
	old.refs--
	old.live--
	if old.refs == 0 {
		delete(m.chunks, c.from)
	}
	e.handles[c.index] = c.to
	e.modified = c.when
	m.chunks[c.to] = &chunkRow{c.version, 1, 1, e.goal}
	return chunkResult{e.id, e.chunks, c.index, c.to, c.version, false}, nil
}

func (m *stateModel) grant(c *cmdGrant) error {
	row := m.chunks[c.handle]
	if row == nil || row.version != c.from || c.to <= c.from {
		return ErrStale
	}
	row.version = c.to
	return nil
}

// collect drops all that is due: the limit is more than there is.
func (m *stateModel) collect(at time.Time) (dropped uint64) {
	for {
		due := ""
		for p, e := range m.entries {
			if e.hidden && e.expires <= at.UnixNano() && (due == "" || p < due) {
				due = p
			}
		}
		if due == "" {
			return dropped
		}
		dropped += uint64(len(m.below(due)))
		m.drop(due)
	}
}
