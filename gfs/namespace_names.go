package gfs

import "slices"

// A nameID stands for the name of a user or group in entries.
type nameID uint32

// freeName is in the place of a name that nobody uses. No name has a zero byte.
const freeName = "\x00"

// maxNames bounds how many names of users and groups there may be at once.
const maxNames = 1 << 16

// nameTable has the names of the users and groups that own something, each once. An id
// whose name nobody uses any more is given to another; always the lowest is taken, so
// that ids depend on the commands alone.
type nameTable struct {
	names []string
	uses  []uint64 // entries that have it
	ids   map[string]nameID
	low   int  // none below is free
	own   bool // names is not shared with a frozen table
}

// lookup returns the id of a name, if something is owned in its name.
func (t *nameTable) lookup(name string) (nameID, bool) {
	id, ok := t.ids[name]
	return id, ok
}

// room reports whether n more names fit.
func (t *nameTable) room(n int) bool { return len(t.ids)+n <= maxNames }

// take returns the id of a name and counts one use. There must be room.
func (t *nameTable) take(name string) nameID {
	if id, ok := t.ids[name]; ok {
		t.uses[id]++
		return id
	}
	for t.low < len(t.names) && t.uses[t.low] > 0 {
		t.low++
	}
	id := nameID(t.low)
	if !t.own {
		t.names, t.own = slices.Clone(t.names), true
	}
	if t.low == len(t.names) {
		t.names, t.uses = append(t.names, name), append(t.uses, 1)
	} else {
		t.names[id], t.uses[id] = name, 1
	}
	if t.ids == nil {
		t.ids = make(map[string]nameID)
	}
	t.ids[name] = id
	t.low++
	return id
}

// hold counts n more uses of an id that is in use.
func (t *nameTable) hold(id nameID, n uint64) { t.uses[id] += n }

// release takes a use back.
func (t *nameTable) release(id nameID) {
	if t.uses[id]--; t.uses[id] > 0 {
		return
	}
	if !t.own {
		t.names, t.own = slices.Clone(t.names), true
	}
	delete(t.ids, t.names[id])
	t.names[id] = freeName
	t.low = min(t.low, int(id))
}

// freeze returns the names as they are now, by id.
func (t *nameTable) freeze() []string {
	t.own = false
	return t.names[:len(t.names):len(t.names)]
}
