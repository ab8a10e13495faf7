package mapreduce

import (
	"bytes"
	"reflect"
	"unsafe"
)

// combiner joins the values of equal keys while a map task emits them: an open
// hash table from encoded keys to values that are combined in place. Nothing in
// it is a pointer unless V has some, so that the collector has nothing to scan.
type combiner[V any] struct {
	combine func(a, b V) V
	values  encoder[V]
	out     func(key []byte, hash uint64, value []byte) error
	limit   int64 // bytes that the table may take before it is flushed

	slots   []combinerSlot // a power of two of them, at most ¾ in use
	entries []combinerEntry[V]
	keys    []byte
	// extra is what values refer to beside their own size, estimated by the
	// length of the encodings of all that was added. Unused if V has no pointers.
	extra    int64
	pointers bool
}

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

const minCombinerSlots = 1 << 12

func newCombiner[V any](combine func(a, b V) V, values encoder[V],
	out func(key []byte, hash uint64, value []byte) error, limit int64) *combiner[V] {
	return &combiner[V]{
		combine:  combine,
		values:   values,
		out:      out,
		limit:    min(limit, maxArena),
		slots:    make([]combinerSlot, minCombinerSlots),
		pointers: hasPointers(reflect.TypeFor[V]()),
	}
}

// add combines v with what the table holds for the key, which it copies.
func (c *combiner[V]) add(key []byte, v V) error {
	hash, short := hashKey(key), shortBits(key[:min(len(key), 8)])
	high := uint32(hash >> 32)
	mask := uint64(len(c.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &c.slots[i]
		if s.entry == 0 {
			return c.insert(s, high, short, key, v)
		}
		if s.hash != high {
			continue
		}
		e := &c.entries[s.entry-1]
		if e.short != short || int(e.length) != len(key) || len(key) > 8 && string(c.key(e)) != string(key) {
			continue
		}
		v, err := c.own(v)
		if err != nil {
			return err
		}
		e.value = c.combine(e.value, v)
		if c.extra > c.limit {
			return c.flush()
		}
		return nil
	}
}

func (c *combiner[V]) key(e *combinerEntry[V]) []byte { return c.keys[e.at:][:e.length] }

func (c *combiner[V]) insert(s *combinerSlot, high uint32, short uint64, key []byte, v V) error {
	if len(key) > MaxRecordBytes {
		return tooLarge(len(key))
	}
	v, err := c.own(v)
	if err != nil {
		return err
	}
	e := combinerEntry[V]{short, uint32(len(c.keys)), uint32(len(key)), v}
	c.keys = append(c.keys, key...)
	c.entries = append(c.entries, e)
	*s = combinerSlot{entry: uint32(len(c.entries)), hash: high}
	if len(c.entries) > len(c.slots)/4*3 {
		c.grow()
	}
	size := int64(len(c.keys)) + int64(len(c.entries))*int64(unsafe.Sizeof(e)) + int64(len(c.slots))*int64(unsafe.Sizeof(*s))
	if size+c.extra > c.limit {
		return c.flush()
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

// grow doubles the slots. Only the upper half of a hash is kept, so the keys are
// hashed again.
func (c *combiner[V]) grow() {
	c.slots = make([]combinerSlot, 2*len(c.slots))
	mask := uint64(len(c.slots) - 1)
	for n := range c.entries {
		hash := hashKey(c.key(&c.entries[n]))
		i := hash & mask
		for c.slots[i].entry != 0 {
			i = (i + 1) & mask
		}
		c.slots[i] = combinerSlot{entry: uint32(n) + 1, hash: uint32(hash >> 32)}
	}
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
