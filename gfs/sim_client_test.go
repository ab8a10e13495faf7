package gfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

const (
	simSlots = 6  // of a client in each chunk
	simSlot  = 24 // bytes
	simFiles = 2
	simSpan  = 2 // chunks that are written at places; records go behind
)

// A simPlace is a place in a file that one client writes.
type simPlace struct {
	file  string
	index uint64
	off   int64
}

// of reports whether a client writes there.
func (p simPlace) of(who int) bool { return p.off/(simSlots*simSlot) == int64(who) }

// A simChunk is a chunk of a file.
type simChunk struct {
	file  string
	index uint64
}

// A simHistory is what a client has written to one place, the oldest first: its contents
// may be any from the last that is certain on.
type simHistory struct {
	values  [][]byte
	certain int // the last one that must be there, or -1
}

// A simRecord is a record whose append was answered.
type simRecord struct {
	file   string
	index  uint64
	off    int64
	data   []byte
	synced bool

	verifier writeVerifier
}

// simModel is what the clients know must be there.
type simModel struct {
	power   bool
	places  map[simPlace]*simHistory
	order   []simPlace
	records []*simRecord
	copies  []simCopy
	done    int // clients

	blackout func() // all chunkservers lose their power at once
}

// A simCopy is a snapshot of a file, with what might be in it.
type simCopy struct {
	path   string
	places map[simPlace][][]byte
}

// A simUnsynced write was acknowledged, and not made durable.
type simUnsynced struct {
	at       int // the place in its history
	verifier writeVerifier
}

// A simClient writes, appends, reads and makes snapshots, one after the other.
type simClient struct {
	*simHost
	bugs   *simBugs
	model  *simModel
	who    int
	master int
	steps  int
	data   uint64
	known  map[string]map[uint64]*chunkInfo // what it was granted
	cache  *locationCache                   // by which it reads
	again  []simChunk                       // what it reads next
	dirty  map[simPlace]simUnsynced         // acknowledged since the last sync of the chunk
	fresh  []*simRecord
}

func bootSimClient(n *sim.Node[*simMessage], who, steps, master int, model *simModel, bugs *simBugs) *simClient {
	c := &simClient{simHost: newSimHost(n), bugs: bugs, model: model, who: who, steps: steps, master: master,
		known: make(map[string]map[uint64]*chunkInfo), dirty: make(map[simPlace]simUnsynced), cache: newLocationCache(5 * time.Second)}
	c.serve = func(int, any, func(any, error)) {}
	c.create(0)
	return c
}

func simPath(i int) string { return fmt.Sprintf("f%d", i) }

// create makes the files.
func (c *simClient) create(i int) {
	if i == simFiles {
		c.step()
		return
	}
	c.call(c.master, &createReq{path: simPath(i), mode: 0o644}, time.Second, func(_ any, err error) {
		if err != nil {
			c.after(20*time.Millisecond, func() { c.create(i) })
			return
		}
		c.create(i + 1)
	})
}

func (c *simClient) step() {
	if c.steps--; c.steps < 0 {
		c.model.done++
		return
	}
	next := func() { c.after(time.Duration(1+c.n.Uint64N(30))*time.Millisecond, c.step) }
	if len(c.again) > 0 {
		k := c.again[0]
		c.again = c.again[1:]
		c.look(k.file, k.index, next)
		return
	}
	file := simPath(int(c.n.Uint64N(simFiles)))
	if c.model.power && c.n.Uint64N(50) == 0 {
		c.model.blackout()
	}
	switch k := c.n.Uint64N(20); {
	case k < 9:
		c.write(file, next)
	case k < 14:
		c.append(file, next)
	case k < 17:
		c.sync(file, next)
	case k < 19:
		c.look(file, c.n.Uint64N(simSpan), next)
	default:
		c.snapshot(file, next)
	}
}

// tries bounds how often one step is tried: then it is left as it is, undecided.
const simTries = 12

// grant gets the primary of a chunk.
func (c *simClient) grant(file string, index uint64, last bool, known version, done func(*chunkInfo)) {
	if k := c.known[file][index]; k != nil && !last && k.version > known {
		done(k)
		return
	}
	asked := c.cache.ask()
	c.call(c.master, &grantReq{path: file, index: index, last: last, known: known}, 2*time.Second, func(body any, err error) {
		if err != nil {
			c.after(30*time.Millisecond, func() { done(nil) })
			return
		}
		c.cache.granted(simFile(file), body.(*grantResp), asked, c.now())
		k := &body.(*grantResp).chunk
		if c.known[file] == nil {
			c.known[file] = make(map[uint64]*chunkInfo)
		}
		c.known[file][k.index] = k
		done(k)
	})
}

// push sends data to every member.
func (c *simClient) push(k *chunkInfo, data []byte) dataID {
	c.data++
	id := dataID{uint64(c.n.ID())<<32 | c.next, c.data}
	for _, l := range k.where {
		c.n.Send(simNode(l), &simMessage{id: 0, body: &simPush{id, data}})
	}
	return id
}

func (c *simClient) write(file string, next func()) {
	place := simPlace{file, c.n.Uint64N(simSpan), int64(c.who*simSlots+int(c.n.Uint64N(simSlots))) * simSlot}
	h := c.model.places[place]
	if h == nil {
		h = &simHistory{certain: -1}
		c.model.places[place] = h
		c.model.order = append(c.model.order, place)
	}
	value := make([]byte, simSlot)
	binary.LittleEndian.PutUint64(value, uint64(len(h.values)+1))
	copy(value[8:], fmt.Sprintf("%d:%s:%d:%d", c.who, file, place.index, place.off))
	h.values = append(h.values, value)
	at := len(h.values) - 1
	var try func(n int, known version)
	try = func(n int, known version) {
		if n == simTries {
			c.n.Count("undecided", 1)
			next()
			return
		}
		c.grant(file, place.index, false, known, func(k *chunkInfo) {
			if k == nil {
				try(n+1, known)
				return
			}
			req := &writeReq{handle: k.handle, version: k.version, data: c.push(k, value), off: place.off, n: simSlot}
			c.after(2*time.Millisecond, func() {
				c.call(simNode(k.where[0]), req, 2*time.Second, func(body any, err error) {
					if err != nil {
						if !errors.Is(err, errNoData) && !errors.Is(err, errPrimaryBusy) {
							known = k.version
						}
						try(n+1, known)
						return
					}
					c.n.Count("written", 1)
					c.wrote(file, k, body)
					if c.model.power {
						c.dirty[place] = simUnsynced{at, body.(*appendResp).verifier}
					} else {
						h.certain = at
					}
					next()
				})
			})
		})
	}
	try(0, 0)
}

func (c *simClient) append(file string, next func()) {
	data := make([]byte, 16+c.n.Uint64N(180))
	for i := range data {
		data[i] = byte(c.n.Uint64N(255) + 1)
	}
	var try func(n int, known version, index uint64, last bool)
	try = func(n int, known version, index uint64, last bool) {
		if n == simTries {
			c.n.Count("undecided", 1)
			next()
			return
		}
		c.grant(file, index, last, known, func(k *chunkInfo) {
			if k == nil {
				try(n+1, known, index, last)
				return
			}
			if k.index < simSpan {
				try(n, 0, simSpan, false)
				return
			}
			req := &appendReq{handle: k.handle, version: k.version, data: c.push(k, data), n: int64(len(data))}
			c.after(2*time.Millisecond, func() {
				c.call(simNode(k.where[0]), req, 2*time.Second, func(body any, err error) {
					switch {
					case errors.Is(err, errChunkFull):
						c.n.Count("padded", 1)
						try(n, 0, k.index+1, false)
					case err != nil:
						if !errors.Is(err, errNoData) && !errors.Is(err, errPrimaryBusy) {
							known = k.version
						}
						try(n+1, known, k.index, false)
					default:
						c.n.Count("appended", 1)
						c.wrote(file, k, body)
						r := &simRecord{file: file, index: k.index, off: body.(*appendResp).off, data: data, synced: !c.model.power,
							verifier: body.(*appendResp).verifier}
						c.model.records = append(c.model.records, r)
						c.fresh = append(c.fresh, r)
						next()
					}
				})
			})
		})
	}
	try(0, 0, 0, true)
}

// sync makes what was acknowledged in one chunk safe from power failures.
func (c *simClient) sync(file string, next func()) {
	index := c.n.Uint64N(simSpan + 2)
	c.grant(file, index, false, 0, func(k *chunkInfo) {
		if k == nil {
			next()
			return
		}
		var places []simPlace
		var values []simUnsynced
		for _, p := range c.model.order {
			if u, ok := c.dirty[p]; ok && p.file == file && p.index == index {
				places, values = append(places, p), append(values, u)
			}
		}
		fresh := c.fresh
		c.call(simNode(k.where[0]), &replicaReq{k.handle, k.version}, 2*time.Second, func(body any, err error) {
			if err != nil {
				delete(c.known[file], index)
				next()
				return
			}
			c.n.Count("synced", 1)
			c.wrote(file, k, body)
			verifier := body.(*appendResp).verifier
			for i, p := range places {
				if values[i].verifier != verifier {
					c.n.Count("lost", 1)
					continue
				}
				c.model.places[p].certain = max(c.model.places[p].certain, values[i].at)
			}
			for _, r := range fresh {
				if r.file == file && r.index == index && r.verifier == verifier {
					r.synced = true
				}
			}
			next()
		})
	})
}

// simFile is the name of a file in the cache.
func simFile(path string) fileID { return fileID(path[1]) }

// wrote notes what was acknowledged by a primary, which may have gone on without a member.
func (c *simClient) wrote(file string, k *chunkInfo, body any) {
	v := body.(*appendResp).version
	if c.bugs.oldVersion {
		v = k.version
	}
	if body.(*appendResp).version > k.version { // somebody may not have it
		c.n.Count("without a member", 1)
		for range 3 {
			c.again = append(c.again, simChunk{file, k.index})
		}
	}
	c.cache.wrote(simFile(file), k.index, k.handle, v)
}

// look reads a chunk from some replica, which may be one that it knows of from before.
func (c *simClient) look(file string, index uint64, next func()) {
	if k, _ := c.cache.get(simFile(file), index, c.now()); k != nil {
		c.readFrom(file, k, next)
		return
	}
	asked := c.cache.ask()
	c.call(c.master, &lookupReq{path: file}, time.Second, func(body any, err error) {
		if err == nil {
			c.cache.put(simFile(file), 0, body.(*lookupResp), asked, c.now())
			if k, _ := c.cache.get(simFile(file), index, c.now()); k != nil {
				c.readFrom(file, k, next)
				return
			}
		}
		next()
	})
}

// readFrom reads from a replica of a chunk. There must be what was written, and as new as
// the client knows from its own writes.
func (c *simClient) readFrom(file string, k *chunkInfo, next func()) {
	if k.handle == 0 || len(k.where) == 0 {
		c.cache.drop(simFile(file), k)
		next()
		return
	}
	least := make(map[simPlace]int)
	for p, h := range c.model.places { // order-free
		if p.file == file && p.index == k.index && p.of(c.who) {
			least[p] = h.certain
		}
	}
	l := k.where[c.n.Uint64N(uint64(len(k.where)))]
	c.call(simNode(l), &readReq{handle: k.handle, version: k.version, n: simChunkSize}, time.Second, func(body any, err error) {
		if err != nil {
			c.cache.drop(simFile(file), k)
			next()
			return
		}
		c.n.Count("read", 1)
		data := body.(*readResp).Data
		if err := c.model.garbage(file, k.index, data); err != nil {
			c.n.Failf("read from %s: %v", l.addr, err)
		}
		for p, from := range least { // order-free
			got := simAt(data, p.off, simSlot)
			if values := c.model.places[p].values; from >= 0 && !simOneOf(got, values[from:]) {
				c.n.Failf("read from %s: %+v has %q; it has been told that there is %q", l.addr, p, got, values[from])
			}
		}
		next()
	})
}

// garbage reports whatever nobody has written, in a chunk that is written at places.
func (m *simModel) garbage(file string, index uint64, data []byte) error {
	for _, p := range m.order {
		if p.file != file || p.index != index {
			continue
		}
		got := simAt(data, p.off, simSlot)
		if !bytes.Equal(got, make([]byte, simSlot)) && !simOneOf(got, m.places[p].values) {
			return fmt.Errorf("%s, chunk %d at %d: %q was never written", file, index, p.off, got)
		}
	}
	return nil
}

func simAt(data []byte, off int64, n int) []byte {
	got := make([]byte, n)
	if off < int64(len(data)) {
		copy(got, data[off:])
	}
	return got
}

func simOneOf(got []byte, values [][]byte) bool {
	for _, v := range values {
		if bytes.Equal(got, v) {
			return true
		}
	}
	return false
}

// snapshot copies a file. Whatever its places may contain from now until it is answered
// may be in the copy, and nothing that is written later.
func (c *simClient) snapshot(file string, next func()) {
	path := fmt.Sprintf("s%d.%d", c.who, c.steps)
	from := make(map[simPlace]int)
	for _, p := range c.model.order {
		if p.file == file {
			from[p] = max(c.model.places[p].certain, 0)
		}
	}
	c.call(c.master, &pairReq{from: file, to: path}, 8*time.Second, func(_ any, err error) {
		if err != nil && !errors.Is(err, fs.ErrExist) {
			next()
			return
		}
		s := simCopy{path: path, places: make(map[simPlace][][]byte)}
		for _, p := range c.model.order {
			if p.file == file {
				s.places[p] = c.model.places[p].values[from[p]:]
			}
		}
		c.model.copies = append(c.model.copies, s)
		next()
	})
}
