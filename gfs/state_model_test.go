package gfs

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// stateModel is what a state should be, as simply as it can be said: a map from paths.
type stateModel struct {
	entries    map[string]*modelEntry
	chunks     map[handle]*chunkRow
	nextFile   fileID
	nextHandle handle
}

type modelEntry struct {
	attributes
	handles map[uint64]handle
	hidden  bool
	expires int64
	policy  *policy // directories that have one
}

func newStateModel() *stateModel {
	return &stateModel{
		entries: map[string]*modelEntry{".": {
			attributes: attributes{path: ".", id: 1, dir: true, mode: 0o777, owner: "root", group: "root"}, policy: &policy{},
		}},
		chunks: make(map[handle]*chunkRow), nextFile: 2, nextHandle: 1,
	}
}

func modelParent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return "."
}

func modelName(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

func modelJoin(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// modelWithin reports whether p is dir or below it.
func modelWithin(p, dir string) bool {
	return dir == "." || p == dir || strings.HasPrefix(p, dir+"/")
}

// modelAbove returns the directories above p, the root first.
func modelAbove(p string) (dirs []string) {
	for p != "." {
		p = modelParent(p)
		dirs = append(dirs, p)
	}
	slices.Reverse(dirs)
	return dirs
}

func modelHiddenName(name string) bool {
	i := strings.LastIndex(name, hiddenMark)
	if i <= 0 {
		return false
	}
	_, err := time.Parse(hiddenStamp, name[i+len(hiddenMark):])
	return err == nil
}

func modelHidden(p string) bool { return slices.ContainsFunc(strings.Split(p, "/"), modelHiddenName) }

func (m *stateModel) permits(who *identity, e *modelEntry, want uint32) bool {
	bits := e.mode
	if e.owner == who.user && who.user != "" {
		bits >>= 6
	} else if slices.Contains(who.groups, e.group) {
		bits >>= 3
	}
	return who.super || bits&want == want
}

func (m *stateModel) reach(who *identity, p string, want uint32) error {
	dirs := modelAbove(p)
	for i, dir := range dirs {
		e := m.entries[dir]
		if e == nil {
			return fs.ErrNotExist
		}
		if !e.dir {
			return ErrNotDir
		}
		need := uint32(1)
		if i == len(dirs)-1 {
			need |= want
		}
		if !m.permits(who, e, need) {
			return fs.ErrPermission
		}
	}
	return nil
}

func (m *stateModel) find(who *identity, p string) (*modelEntry, error) {
	if err := m.reach(who, p, 0); err != nil {
		return nil, err
	}
	e := m.entries[p]
	if e == nil {
		return nil, fs.ErrNotExist
	}
	return e, nil
}

// below returns the paths at p and below it.
func (m *stateModel) below(p string) (list []string) {
	for q := range m.entries {
		if modelWithin(q, p) {
			list = append(list, q)
		}
	}
	// In the order of the namespace.
	slices.SortFunc(list, func(a, b string) int {
		return strings.Compare(string(appendKey(nil, a)), string(appendKey(nil, b)))
	})
	return list
}

// policyIn returns the policy in force in a directory.
func (m *stateModel) policyIn(dir string) (p policy) {
	for _, d := range append(modelAbove(dir), dir) {
		if own := m.entries[d].policy; own != nil {
			if own.goal != 0 {
				p.goal = own.goal
			}
			if own.retention != 0 {
				p.retention = own.retention
			}
		}
	}
	if p.goal == 0 {
		p.goal = DefaultReplication
	}
	if p.retention == 0 {
		p.retention = DefaultRetention
	}
	return p
}

// usage counts what is below a directory.
func (m *stateModel) usage(dir string) (files, dirs, chunks uint64) {
	for _, p := range m.below(dir) {
		switch e := m.entries[p]; {
		case p == dir:
		case e.dir:
			dirs++
		default:
			files++
			chunks += uint64(len(e.handles))
		}
	}
	return files, dirs, chunks
}

func (m *stateModel) afford(p, from string, entries, chunks uint64) error {
	for _, dir := range modelAbove(p) {
		own := m.entries[dir]
		if own == nil || own.policy == nil || from != "" && from != dir && modelWithin(from, dir) {
			continue
		}
		f, d, c := m.usage(dir)
		if own.policy.maxFiles > 0 && f+d+entries > own.policy.maxFiles || own.policy.maxChunks > 0 && c+chunks > own.policy.maxChunks {
			return ErrQuota
		}
	}
	return nil
}

func (m *stateModel) newID() fileID { m.nextFile++; return m.nextFile - 1 }

func (m *stateModel) add(h *cmdHeader, p string, e *modelEntry) fileID {
	e.id, e.owner, e.group, e.modified = m.newID(), h.who.user, m.entries[modelParent(p)].group, h.when
	m.entries[p] = e
	return e.id
}

func (m *stateModel) makeWay(h *cmdHeader, p string, parents bool, mode uint32) error {
	var missing []string
	for _, dir := range modelAbove(p) {
		switch e := m.entries[dir]; {
		case e == nil:
			missing = append(missing, dir)
		case !e.dir:
			return ErrNotDir
		}
	}
	next := append(missing, p)[0]
	if err := m.reach(&h.who, next, 2); err != nil {
		return err
	}
	if len(missing) > 0 && !parents {
		return fs.ErrNotExist
	}
	if err := m.afford(next, "", uint64(len(missing))+1, 0); err != nil {
		return err
	}
	for _, dir := range missing {
		m.add(h, dir, &modelEntry{attributes: attributes{dir: true, mode: mode & 0o777}})
	}
	return nil
}

func (m *stateModel) create(c *cmdCreate) (createResp, error) {
	if modelHidden(c.path) {
		return createResp{}, fs.ErrInvalid
	}
	if e := m.entries[c.path]; e != nil {
		if err := m.reach(&c.who, c.path, 0); err != nil {
			return createResp{}, err
		}
		if e.dir {
			return createResp{}, ErrIsDir
		}
		if c.exclusive {
			return createResp{}, fs.ErrExist
		}
		return createResp{e.id, true}, nil
	}
	if err := m.makeWay(&c.cmdHeader, c.path, c.parents, 0o755); err != nil {
		return createResp{}, err
	}
	e := &modelEntry{attributes: attributes{mode: c.mode & 0o777, goal: c.goal}, handles: map[uint64]handle{}}
	if e.goal == 0 {
		e.goal = m.policyIn(modelParent(c.path)).goal
	}
	return createResp{file: m.add(&c.cmdHeader, c.path, e)}, nil
}

func (m *stateModel) mkdir(c *cmdMkdir) (createResp, error) {
	if modelHidden(c.path) {
		return createResp{}, fs.ErrInvalid
	}
	if e := m.entries[c.path]; e != nil {
		if err := m.reach(&c.who, c.path, 0); err != nil {
			return createResp{}, err
		}
		if !e.dir || !c.parents {
			return createResp{}, fs.ErrExist
		}
		return createResp{e.id, true}, nil
	}
	if err := m.makeWay(&c.cmdHeader, c.path, c.parents, c.mode|0o300); err != nil {
		return createResp{}, err
	}
	return createResp{file: m.add(&c.cmdHeader, c.path, &modelEntry{attributes: attributes{dir: true, mode: c.mode & 0o777}})}, nil
}

// drop takes out what is at p and below it.
func (m *stateModel) drop(p string) {
	for _, q := range m.below(p) {
		m.refer(q, -1, -1)
		delete(m.entries, q)
	}
}

// refer counts the file at a path more, or fewer.
func (m *stateModel) refer(p string, refs, live int) {
	e := m.entries[p]
	for _, h := range e.handles {
		row := m.chunks[h]
		row.refs += uint32(refs)
		if !modelHidden(p) {
			row.live += uint32(live)
		}
		if row.refs == 0 {
			delete(m.chunks, h)
		} else if refs >= 0 && live > 0 && !modelHidden(p) {
			m.raise(h, e.goal)
		}
	}
}

func (m *stateModel) raise(h handle, goal uint8) {
	if row := m.chunks[h]; row.refs > 1 {
		row.goal = max(row.goal, goal)
	} else {
		row.goal = goal
	}
}

// move gives what is at from and below it other paths. Chunks whose hiddenness changes
// are counted live again, or not any more.
func (m *stateModel) move(from, to string) *modelEntry {
	for _, p := range m.below(from) {
		e := m.entries[p]
		q := to + p[len(from):]
		changes := modelHidden(p) != modelHidden(q)
		if changes {
			m.refer(p, 0, -1)
		}
		delete(m.entries, p)
		m.entries[q] = e
		if changes {
			m.refer(q, 0, 1)
		}
	}
	return m.entries[to]
}

func (m *stateModel) remove(at time.Time, c *cmdRemove) (string, error) {
	e, err := m.find(&c.who, c.path)
	if err != nil {
		return "", err
	}
	if c.path == "." {
		return "", fs.ErrInvalid
	}
	if err := m.reach(&c.who, c.path, 2); err != nil {
		return "", err
	}
	hidden := modelHidden(c.path)
	if e.dir && !c.all {
		for _, p := range m.below(c.path) {
			if rest, ok := strings.CutPrefix(p, c.path+"/"); ok && (hidden || !modelHidden(rest)) {
				return "", ErrNotEmpty
			}
		}
	}
	retention := m.policyIn(modelParent(c.path)).retention
	if hidden || retention < 0 {
		m.drop(c.path)
		return "", nil
	}
	when := c.when
	to := c.path + hiddenMark + time.Unix(0, when).UTC().Format(hiddenStamp)
	for m.entries[to] != nil {
		when++
		to = c.path + hiddenMark + time.Unix(0, when).UTC().Format(hiddenStamp)
	}
	m.move(c.path, to)
	e.hidden, e.deleted, e.expires = true, when, at.Add(retention).UnixNano()
	return to, nil
}

func (m *stateModel) relocate(who *identity, from, to string) error {
	if from != to && modelWithin(to, from) {
		return fs.ErrInvalid
	}
	if err := m.reach(who, from, 2); err != nil {
		return err
	}
	if err := m.reach(who, to, 2); err != nil {
		return err
	}
	if m.entries[to] != nil {
		return fs.ErrExist
	}
	chunks := uint64(0)
	for _, p := range m.below(from) {
		chunks += uint64(len(m.entries[p].handles))
	}
	if err := m.afford(to, from, uint64(len(m.below(from))), chunks); err != nil {
		return err
	}
	e := m.move(from, to)
	e.hidden, e.deleted, e.expires = false, 0, 0
	return nil
}

func (m *stateModel) rename(c *cmdRename) error {
	if modelHidden(c.to) {
		return fs.ErrInvalid
	}
	if _, err := m.find(&c.who, c.from); err != nil {
		return err
	}
	if c.from == "." {
		return fs.ErrInvalid
	}
	if c.to == "." {
		return fs.ErrExist
	}
	return m.relocate(&c.who, c.from, c.to)
}

func (m *stateModel) undelete(c *cmdUndelete) (string, error) {
	if c.to != "" && modelHidden(c.to) {
		return "", fs.ErrInvalid
	}
	p := c.path
	if !modelHiddenName(modelName(p)) {
		if err := m.reach(&c.who, p, 2); err != nil {
			return "", err
		}
		latest := ""
		for q, e := range m.entries {
			if e.hidden && strings.HasPrefix(q, p+hiddenMark) && len(q) == len(p)+hiddenTail && q > latest {
				latest = q
			}
		}
		if latest == "" {
			return "", fs.ErrNotExist
		}
		p = latest
	}
	if err := m.reach(&c.who, p, 2); err != nil {
		return "", err
	}
	if m.entries[p] == nil {
		return "", fs.ErrNotExist
	}
	to := c.to
	if to == "" {
		to = p[:len(p)-hiddenTail]
	}
	if to == "." {
		return "", fs.ErrExist
	}
	if modelHidden(to) {
		return "", fs.ErrNotExist
	}
	return to, m.relocate(&c.who, p, to)
}

func (m *stateModel) snapshot(c *cmdSnapshot) error {
	if modelHidden(c.to) {
		return fs.ErrInvalid
	}
	top, err := m.find(&c.who, c.from)
	if err != nil {
		return err
	}
	if m.entries[c.to] != nil {
		return fs.ErrExist
	}
	if top.dir && modelWithin(c.to, c.from) {
		return fs.ErrInvalid
	}
	if err := m.reach(&c.who, c.to, 2); err != nil {
		return err
	}
	var paths []string
	chunks := uint64(0)
	for _, p := range m.below(c.from) {
		if p != c.from && modelHidden(p[len(c.from)+1:]) {
			continue
		}
		e := m.entries[p]
		want := uint32(4)
		if e.dir {
			want = 5
		}
		if !m.permits(&c.who, e, want) {
			return fs.ErrPermission
		}
		paths = append(paths, p)
		chunks += uint64(len(e.handles))
	}
	if err := m.afford(c.to, "", uint64(len(paths)), chunks); err != nil {
		return err
	}
	for _, p := range paths {
		e := *m.entries[p]
		e.handles = maps.Clone(e.handles)
		e.id, e.hidden, e.deleted, e.expires, e.policy = m.newID(), false, 0, 0, nil
		if !c.who.super {
			e.owner = c.who.user
		}
		q := c.to + p[len(c.from):]
		m.entries[q] = &e
		m.refer(q, 1, 1)
	}
	return nil
}
