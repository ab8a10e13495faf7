package gfs

import (
	"encoding/binary"
	"math"
	"time"
)

const (
	// collectLimit is how many files and directories one command drops, unless it says
	// otherwise, and how many that are due are counted.
	collectLimit = 1000
	// maxCollect bounds what a command may say.
	maxCollect = 1 << 20
)

// appendExpiry appends the key of metadata.expiry: in the order of time.
func appendExpiry(dst []byte, expires int64, key []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(expires)^1<<63)
	return append(dst, key...)
}

// expiryOf takes a key of metadata.expiry apart.
func expiryOf(k []byte) (expires int64, key []byte) {
	return int64(binary.BigEndian.Uint64(k) ^ 1<<63), k[8:]
}

// remove carries out cmdRemove.
func (m *metadata) remove(at time.Time, c *cmdRemove) (hidden string, err error) {
	var buf [256]byte
	var e nsEntry
	key, err := m.find(&c.who, c.path, buf[:0], &e)
	if err != nil {
		return "", err
	}
	if len(key) == 0 {
		return "", refuse(outcomeInvalid, c.path, "the root cannot be removed")
	}
	if err := m.reach(&c.who, key, mayWrite); err != nil {
		return "", err
	}
	was := keyHidden(key)
	if e.dir && !c.all && !m.ns.empty(key, !was) {
		return "", refuseAt(outcomeNotEmpty, key)
	}
	retention := m.policyOf(keyParent(key)).retention
	if was || retention < 0 {
		return "", m.removeForGood(at, c.when, key, &e)
	}
	to, err := m.hide(c.when, key, &e, func(e *nsEntry) {
		e.hidden, e.expires = true, addTime(at, retention)
	})
	return keyPath(to), err
}

// hide moves what is at a key to a hidden name beside it.
func (m *metadata) hide(when int64, key []byte, e *nsEntry, change func(e *nsEntry)) (to []byte, err error) {
	longest := 0
	if e.dir {
		s, err := m.tree(key)
		if err != nil {
			return nil, err
		}
		longest = s.longest
	}
	if len(key)+hiddenTail+longest > maxKey {
		return nil, refuse(outcomeTooLarge, keyPath(key), "what is below it has too long a path to be kept; remove it first")
	}
	for ; ; when++ {
		to = appendHidden(append([]byte(nil), key...), when)
		if !m.ns.has(to) {
			break
		}
	}
	m.move(key, to, change)
	return to, nil
}

// addTime returns a time as entries have it.
func addTime(at time.Time, d time.Duration) int64 {
	now := at.UnixNano()
	if int64(d) > math.MaxInt64-max(now, 0) {
		return math.MaxInt64
	}
	return now + int64(d)
}

// removeForGood drops what is at a key and below it. If that is much, it is only marked,
// out of everybody's sight, and collected as time permits.
func (m *metadata) removeForGood(at time.Time, when int64, key []byte, e *nsEntry) error {
	if m.drop(key, collectLimit, true) {
		return nil
	}
	doom := func(e *nsEntry) { e.hidden, e.dying, e.expires = true, true, at.UnixNano() }
	if !e.hidden {
		_, err := m.hide(when, key, e, doom)
		return err
	}
	m.expiry.delete(appendExpiry(nil, e.expires, key))
	doom(e)
	m.expiry.put(appendExpiry(nil, e.expires, key), nil)
	m.ns.put(key, e)
	return nil
}

// drop removes what is at a key and below it, from the end, as far as limit entries, and
// reports whether that was all. With whole, it is all or nothing.
func (m *metadata) drop(key []byte, limit int, whole bool) bool {
	if whole {
		n := 0
		m.ns.walk(key, func([]byte, *nsEntry) bool { n++; return n <= limit })
		if n > limit {
			return false
		}
	}
	_, done := m.dropSome(key, limit)
	return done
}

func (m *metadata) dropSome(key []byte, limit int) (dropped int, done bool) {
	past := appendPast(nil, key)
	var e nsEntry
	for dropped < limit {
		last, value, ok := m.ns.tree.before(nil, past)
		if !ok || !keyWithin(last, key) || e.decode(value) != nil {
			return dropped, true
		}
		m.dropOne(last, &e)
		dropped++
		if len(last) == len(key) {
			return dropped, true
		}
	}
	return dropped, false
}

// dropOne removes a file, or a directory with nothing in it.
func (m *metadata) dropOne(key []byte, e *nsEntry) {
	live := int32(-1)
	if keyHidden(key) {
		live = 0
	}
	m.eachHandle(e, 0, func(_ uint64, h handle) bool {
		m.reference(h, -1, live)
		return true
	})
	if e.paged() {
		m.lists.drop(e.id)
	}
	if e.hidden {
		m.expiry.delete(appendExpiry(nil, e.expires, key))
	}
	if e.policy {
		delete(m.policies, e.id)
	}
	m.names.release(e.owner)
	m.names.release(e.group)
	m.ns.delete(key, e.dir)
	if e.dir {
		m.charge(key, 0, -1, 0)
	} else {
		m.charge(key, -1, 0, -int64(e.held))
	}
}

// collect carries out cmdCollect.
func (m *metadata) collect(at time.Time, c *cmdCollect) (r collectResult, err error) {
	limit := int(min(c.limit, maxCollect))
	if limit == 0 {
		limit = collectLimit
	}
	now := at.UnixNano()
	for limit > 0 {
		var cur btcursor
		if !cur.seek(&m.expiry, nil) {
			break
		}
		expires, key := expiryOf(append([]byte(nil), cur.key...))
		if expires > now {
			break
		}
		n, done := m.dropSome(key, limit)
		limit -= n
		r.dropped += uint64(n)
		if !done {
			m.doom(key)
			break
		}
		m.expiry.delete(appendExpiry(nil, expires, key))
	}
	var cur btcursor
	for ok := cur.seek(&m.expiry, nil); ok && r.due < collectLimit; ok = cur.forward() {
		if expires, _ := expiryOf(cur.key); expires > now {
			break
		}
		r.due++
	}
	return r, nil
}

// doom marks a directory of which a part has been dropped: nobody may have it back.
func (m *metadata) doom(key []byte) {
	var e nsEntry
	if m.ns.get(key, &e) && !e.dying {
		e.dying = true
		m.ns.put(key, &e)
	}
}
