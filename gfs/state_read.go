package gfs

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

// stat returns the attributes of a path. Those that only chunkservers know are left:
// size, open and last.
func (m *metadata) stat(who *identity, path string) (attributes, error) {
	var buf [256]byte
	var e nsEntry
	key, err := m.find(who, path, buf[:0], &e)
	if err != nil {
		return attributes{}, err
	}
	return m.attributes(path, keyName(key), &e), nil
}

// maxLookup bounds how many chunks one lookup returns.
const maxLookup = 4096

// lookup returns the file at a path, how many chunks it has, and appends to dst those of
// count from first on that are there, without where they are.
func (m *metadata) lookup(dst []chunkInfo, who *identity, path string, file fileID, first, count uint64) (fileID, uint64, []chunkInfo, error) {
	var buf [256]byte
	var e nsEntry
	key, err := m.find(who, path, buf[:0], &e)
	switch {
	case err != nil:
		return 0, 0, nil, err
	case e.dir:
		return 0, 0, nil, refuseAt(outcomeIsDir, key)
	case file != 0 && e.id != file:
		return 0, 0, nil, refuse(outcomeStale, path, "another file is there now")
	case !m.permits(who, e.mode, e.owner, e.group, mayRead):
		return 0, 0, nil, refuseAt(outcomePermission, key)
	}
	count = min(count, maxLookup)
	if first == 0 && e.length == 1 && count > 0 { // as most files are
		h := e.handles[0]
		return e.id, 1, append(dst, chunkInfo{handle: h, version: m.chunks.version(h)}), nil
	}
	if first < e.length && count > 0 {
		dst = slices.Grow(dst, int(min(count, e.length-first)))
		end := first + min(count, e.length-first)
		m.eachHandle(&e, first, func(index uint64, h handle) bool {
			if index >= end {
				return false
			}
			dst = append(dst, chunkInfo{index: index, handle: h, version: m.chunks.version(h)})
			return true
		})
	}
	return e.id, e.length, dst, nil
}

// writable returns nil if who may write the file at a path.
func (m *metadata) writable(who *identity, path string, file fileID) error {
	var buf [256]byte
	var e nsEntry
	_, err := m.fileFor(who, path, file, buf[:0], &e)
	return err
}

// maxReadDir bounds how many entries one page of a directory has.
const maxReadDir = 4096

// readDir returns entries of a directory in the order of their names, after a name:
// those that are there, or those that were removed. more says whether there are others.
func (m *metadata) readDir(who *identity, path, after string, limit uint64, deleted bool) (list []attributes, more bool, err error) {
	var buf [256]byte
	var e nsEntry
	key, err := m.find(who, path, buf[:0], &e)
	switch {
	case err != nil:
		return nil, false, err
	case !e.dir:
		return nil, false, refuseAt(outcomeNotDir, key)
	case !m.permits(who, e.mode, e.owner, e.group, mayRead):
		return nil, false, refuseAt(outcomePermission, key)
	}
	if limit == 0 || limit > maxReadDir {
		limit = maxReadDir
	}
	below := appendBelow(nil, key)
	from := below
	if after != "" {
		from = append(append(bytes.Clone(below), after...), 1)
	}
	var c btcursor
	for ok := c.seek(&m.ns.tree, from); ok && bytes.HasPrefix(c.key, below); {
		if len(c.key) == 0 { // the root itself
			ok = c.forward()
			continue
		}
		if err := e.decode(c.value); err != nil {
			return nil, false, err
		}
		if name := c.key[len(below):]; e.hidden == deleted && !e.dying {
			if uint64(len(list)) == limit {
				return list, true, nil
			}
			list = append(list, m.attributes(string(name), name, &e))
		}
		if e.dir {
			ok = c.seek(&m.ns.tree, appendPast(nil, c.key))
		} else {
			ok = c.forward()
		}
	}
	return list, false, nil
}

// A usageCount is how far usage has come.
type usageCount struct {
	usageResp
	next []byte // the key to go on from; nil at first
}

// usage counts a part of what is below a directory, not counting itself, or what a file
// has, and reports whether there is more. What was removed counts until it is collected.
func (m *metadata) usage(who *identity, path string, u *usageCount) (more bool, err error) {
	var buf [256]byte
	var e nsEntry
	key, err := m.find(who, path, buf[:0], &e)
	if err != nil {
		return false, err
	}
	if e.policy {
		row := m.policies[e.id]
		if m.counted(row) {
			u.usageResp = usageResp{files: row.files, dirs: row.dirs, chunks: row.chunks, policy: row.policy}
			return false, nil
		}
		u.policy = row.policy
	}
	from, steps := key, 0
	if u.next != nil {
		from = u.next
	}
	var c btcursor
	for ok := c.seek(&m.ns.tree, from); ok && keyWithin(c.key, key); ok = c.forward() {
		if steps++; steps > walkSteps {
			u.next = bytes.Clone(c.key)
			return true, nil
		}
		if err := e.decode(c.value); err != nil {
			return false, err
		}
		u.chunks += e.held
		switch {
		case !e.dir:
			u.files++
		case len(c.key) > len(key):
			u.dirs++
		}
	}
	return false, nil
}

// A fileChunk is a chunk of a file, as walkChunks meets it.
type fileChunk struct {
	path    string
	hidden  bool // the file was removed
	goal    uint8
	index   uint64
	handle  handle
	version version
}

// A chunkWalk is a page of what walkChunks meets.
type chunkWalk struct {
	files  uint64 // that were begun
	chunks []fileChunk
	next   string // after which to go on; "" at the end
}

// walkSteps bounds how many entries one page of a walk looks at.
const walkSteps = 1 << 16

// walkChunks goes through the chunks of all files at a path and below it, removed ones
// too, in pages of about limit chunks. after is the next of the page before, or "".
func (m *metadata) walkChunks(who *identity, path, after string, limit int) (w chunkWalk, err error) {
	var e nsEntry
	key, err := m.find(who, path, nil, &e)
	if err != nil {
		return w, err
	}
	if limit <= 0 || limit > maxLookup {
		limit = maxLookup
	}
	from, first := key, uint64(0)
	if after != "" {
		// Eight bytes of index, and the key of the file to go on with, or after.
		if len(after) < 8 {
			return w, refuse(outcomeInvalid, path, "not a place to go on from: %q", after)
		}
		first, from = binary.BigEndian.Uint64([]byte(after)), []byte(after[8:])
	}
	mark := func(k []byte, index uint64) string {
		return string(binary.BigEndian.AppendUint64(nil, index)) + string(k)
	}
	var c btcursor
	steps := 0
	for ok := c.seek(&m.ns.tree, from); ok && keyWithin(c.key, key); ok = c.forward() {
		if len(w.chunks) >= limit || steps >= walkSteps {
			w.next = mark(c.key, 0)
			return w, nil
		}
		steps++
		if err := e.decode(c.value); err != nil {
			return w, err
		}
		if e.dir {
			first = 0
			continue
		}
		if string(c.key) != string(from) {
			first = 0
		}
		if first == 0 {
			w.files++
		}
		p, hidden, full := keyPath(c.key), keyHidden(c.key), false
		m.eachHandle(&e, first, func(index uint64, h handle) bool {
			if full = len(w.chunks) >= limit; full {
				w.next = mark(c.key, index)
				return false
			}
			row, _ := m.chunks.get(h)
			w.chunks = append(w.chunks, fileChunk{p, hidden, e.goal, index, h, row.version})
			return true
		})
		if full {
			return w, nil
		}
	}
	return w, nil
}

// A chunkPlace is what a grant has to know of a place in a file.
type chunkPlace struct {
	file   fileID
	chunks uint64 // of the whole file
	goal   uint8  // of a new chunk
	index  uint64
	handle handle // 0: there is no chunk
	row    chunkRow
}

// chunkAt returns the chunk of a file at an index, or the last one.
func (m *metadata) chunkAt(who *identity, path string, file fileID, index uint64, last bool) (r chunkPlace, err error) {
	var buf [256]byte
	var e nsEntry
	if _, err := m.fileFor(who, path, file, buf[:0], &e); err != nil {
		return r, err
	}
	if last {
		index = max(e.length, 1) - 1
	}
	if index >= maxFileChunks {
		return r, refuse(outcomeTooLarge, path, "chunk %d", index)
	}
	r = chunkPlace{file: e.id, chunks: e.length, goal: e.goal, index: index, handle: m.handleAt(&e, index)}
	r.row, _ = m.chunks.get(r.handle)
	return r, nil
}

// effectivePolicy returns the policy in force in a directory, with its own quotas.
func (m *metadata) effectivePolicy(who *identity, path string) (policy, error) {
	var e nsEntry
	key, err := m.find(who, path, nil, &e)
	if err != nil {
		return policy{}, err
	}
	if !e.dir {
		return policy{}, refuseAt(outcomeNotDir, key)
	}
	p := m.policyOf(key)
	if e.policy {
		own := m.policies[e.id]
		p.maxFiles, p.maxChunks = own.maxFiles, own.maxChunks
	}
	return p, nil
}

// due reports whether something is to be collected.
func (m *metadata) due(at time.Time) bool {
	var c btcursor
	if !c.seek(&m.expiry, nil) {
		return false
	}
	expires, _ := expiryOf(c.key)
	return expires <= at.UnixNano()
}

// stateCounts says how much there is in the whole cluster.
type stateCounts struct {
	files, dirs uint64 // without the root
	removed     uint64 // files and directories that can be undeleted
	chunks      uint64 // each once
	servers     uint64
}

func (m *metadata) counts() stateCounts {
	return stateCounts{m.root.files, m.root.dirs, uint64(m.expiry.count), uint64(m.chunks.count), uint64(len(m.servers))}
}
