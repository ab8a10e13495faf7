package mapreduce

import (
	"bytes"
	"reflect"
	"unsafe"
)

// combiner joins the values of equal keys while a map task emits them: an open
// hash table from encoded keys to values that are combined in place. Nothing in
// it is a pointer unless V has some, so that the collector has nothing to scan.
//
// What is added waits until there are a few, or the record has ended: then the table is
// read for all of them together, as most of the time goes to waiting for memory.
type combiner[V any] struct {
	combine func(a, b V) V
	values  encoder[V]
	out     func(key []byte, hash uint64, value []byte) error
	mem     *sortMemory

	slots   []combinerSlot // a power of two of them, at most ¾ in use
	entries []combinerEntry[V]
	keys    []byte
	// extra is what values refer to beside their own size, estimated by the
	// length of the encodings of all that was added; counted is how much of it mem
	// knows of. Unused if V has no pointers.
	extra, counted int64
	pointers       bool

	waiting     [combinerBatch]combinerEntry[V]
	hashes      [combinerBatch]uint64 // of waiting
	waits       int
	waitingKeys []byte
	touched     uint64 // by touch
}

// combinerBatch is how many pairs are looked up together.
const combinerBatch = 32

// combinerEntry is a key and the value it has so far. Most keys are told from each
// other without a look at keys.
type combinerEntry[V any] struct {
	short  uint64 // of a key of up to 8 bytes, shortBits; of a longer one, those of its first 8
	at     uint32 // where the key begins, in keys
	length uint32 // of the key
	value  V
}

// combinerSlot refers to an entry. The part of the hash beside it spares a look
// at most of the keys that only share the slot.
type combinerSlot struct {
	entry uint32 // its index plus one; zero if the slot is free
	hash  uint32 // the upper half of the key's hash
}

const (
	minCombinerSlots = 1 << 12
	minCombinerKeys  = 64 << 10
	slotBytes        = int64(unsafe.Sizeof(combinerSlot{}))
)

func newCombiner[V any](combine func(a, b V) V, values encoder[V],
	out func(key []byte, hash uint64, value []byte) error, mem *sortMemory) *combiner[V] {
	mem.takeTable(minCombinerSlots * slotBytes) // which the share has room for
	return &combiner[V]{
		combine:  combine,
		values:   values,
		out:      out,
		mem:      mem,
		slots:    make([]combinerSlot, minCombinerSlots),
		pointers: hasPointers(reflect.TypeFor[V]()),
	}
}

// add combines v with what the table holds for the key, which it copies, when settle is
// called at the latest.
func (c *combiner[V]) add(key []byte, v V) error {
	if len(key) > MaxRecordBytes {
		return tooLarge(len(key))
	}
	v, err := c.own(v)
	if err != nil {
		return err
	}
	n := c.waits
	c.hashes[n] = hashKey(key)
	c.waiting[n] = combinerEntry[V]{shortBits(key[:min(len(key), 8)]), uint32(len(c.waitingKeys)), uint32(len(key)), v}
	c.waitingKeys = append(c.waitingKeys, key...)
	if c.waits++; c.waits == combinerBatch || len(c.waitingKeys) > minCombinerKeys {
		return c.settle()
	}
	return nil
}

// own returns a copy of v that shares no memory with what the caller of emit may
// change or drop, and accounts for what it refers to.
func (c *combiner[V]) own(v V) (V, error) {
	if !c.pointers {
		return v, nil
	}
	encoding := bytes.Clone(c.values.encode(v))
	c.extra += int64(len(encoding))
	return c.values.codec.Decode(encoding)
}

// settle takes what waits into the table.
func (c *combiner[V]) settle() error {
	c.touch()
	n := c.waits
	c.waits = 0
	for i := range n {
		w := &c.waiting[i]
		if err := c.take(c.waitingKeys[w.at:][:w.length], c.hashes[i], w.short, w.value); err != nil {
			return err
		}
	}
	c.waitingKeys = c.waitingKeys[:0]
	if c.extra > c.counted {
		more := max(c.extra-c.counted, minCombinerKeys)
		if !c.mem.takeTable(more) {
			return c.flush()
		}
		c.counted += more
	}
	return nil
}

// touch reads what the table has for the keys that wait, so that the processor waits
// for all of them together.
func (c *combiner[V]) touch() {
	mask := uint64(len(c.slots) - 1)
	var at [combinerBatch]uint32
	for i, hash := range c.hashes[:c.waits] {
		at[i] = c.slots[hash&mask].entry
	}
	sum := uint64(0)
	for _, entry := range at[:c.waits] {
		if entry != 0 {
			sum += c.entries[entry-1].short
		}
	}
	c.touched += sum
}

// take combines v with what the table holds for the key.
func (c *combiner[V]) take(key []byte, hash, short uint64, v V) error {
	high := uint32(hash >> 32)
	mask := uint64(len(c.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &c.slots[i]
		if s.entry == 0 {
			return c.insert(key, hash, short, v)
		}
		if s.hash != high {
			continue
		}
		e := &c.entries[s.entry-1]
		if e.short == short && int(e.length) == len(key) && (len(key) <= 8 || string(c.key(e)) == string(key)) {
			e.value = c.combine(e.value, v)
			return nil
		}
	}
}

func (c *combiner[V]) key(e *combinerEntry[V]) []byte { return c.keys[e.at:][:e.length] }

// insert adds a key that the table does not have.
func (c *combiner[V]) insert(key []byte, hash, short uint64, v V) error {
	if !c.makeRoom(len(key)) {
		if err := c.flush(); err != nil {
			return err
		}
		if !c.makeRoom(len(key)) { // a key as large as all memory
			return c.out(key, hash, c.values.encode(v))
		}
	}
	c.entries = append(c.entries, combinerEntry[V]{short, uint32(len(c.keys)), uint32(len(key)), v})
	c.keys = append(c.keys, key...)
	c.link(hash, uint32(len(c.entries)))
	return nil
}

// link enters an entry into the slots.
func (c *combiner[V]) link(hash uint64, entry uint32) {
	mask := uint64(len(c.slots) - 1)
	i := hash & mask
	for c.slots[i].entry != 0 {
		i = (i + 1) & mask
	}
	c.slots[i] = combinerSlot{entry: entry, hash: uint32(hash >> 32)}
}

// makeRoom makes room for an entry and a key of n bytes, if there is memory for it.
func (c *combiner[V]) makeRoom(n int) bool {
	if len(c.entries) == cap(c.entries) {
		more := max(cap(c.entries)/2, minCombinerSlots/4)
		if !c.mem.takeTable(int64(more) * int64(unsafe.Sizeof(combinerEntry[V]{}))) {
			return false
		}
		c.entries = append(make([]combinerEntry[V], 0, cap(c.entries)+more), c.entries...)
	}
	if more := len(c.keys) + n - cap(c.keys); more > 0 {
		more = max(more, cap(c.keys)/2, minCombinerKeys)
		if cap(c.keys)+more > maxArena || !c.mem.takeTable(int64(more)) {
			return false
		}
		c.keys = append(make([]byte, 0, cap(c.keys)+more), c.keys...)
	}
	if len(c.entries) < len(c.slots)/4*3 {
		return true
	}
	if !c.mem.takeTable(int64(len(c.slots)) * slotBytes) {
		return false
	}
	// Only the upper half of a hash is kept, so the keys are hashed again.
	c.slots = make([]combinerSlot, 2*len(c.slots))
	for n := range c.entries {
		c.link(hashKey(c.key(&c.entries[n])), uint32(n)+1)
	}
	return true
}

// flush hands all entries on, in the order in which their keys came, and empties
// the table.
func (c *combiner[V]) flush() error {
	for n := range c.entries {
		e := &c.entries[n]
		key := c.key(e)
		if err := c.out(key, hashKey(key), c.values.encode(e.value)); err != nil {
			return err
		}
	}
	clear(c.slots)
	clear(c.entries)
	c.entries, c.keys, c.extra = c.entries[:0], c.keys[:0], 0
	return nil
}

// hasPointers reports whether values of the type may refer to other memory.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return false
	case reflect.Array:
		return hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	return true
}
