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

	slots []combinerSlot // a power of two of them, at most ¾ in use
	ends  []uint32       // ends of the keys of the entries, in keys
	vals  []V
	keys  []byte
	// extra is what values refer to beside their own size, estimated by the
	// length of the encodings of all that was added. Unused if V has no pointers.
	extra    int64
	pointers bool
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
	hash := hashKey(key)
	high := uint32(hash >> 32)
	mask := uint64(len(c.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &c.slots[i]
		if s.entry == 0 {
			return c.insert(s, high, key, v)
		}
		if s.hash == high && string(c.key(s.entry-1)) == string(key) {
			v, err := c.own(v)
			if err != nil {
				return err
			}
			value := &c.vals[s.entry-1]
			*value = c.combine(*value, v)
			if c.extra > c.limit {
				return c.flush()
			}
			return nil
		}
	}
}

// key returns the key of entry i.
func (c *combiner[V]) key(i uint32) []byte {
	start := uint32(0)
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.keys[start:c.ends[i]]
}

func (c *combiner[V]) insert(s *combinerSlot, high uint32, key []byte, v V) error {
	if len(key) > MaxRecordBytes {
		return tooLarge(len(key))
	}
	v, err := c.own(v)
	if err != nil {
		return err
	}
	c.keys = append(c.keys, key...)
	c.ends = append(c.ends, uint32(len(c.keys)))
	c.vals = append(c.vals, v)
	*s = combinerSlot{entry: uint32(len(c.ends)), hash: high}
	if len(c.ends) > len(c.slots)/4*3 {
		c.grow()
	}
	size := int64(len(c.keys)) + int64(len(c.ends))*int64(4+unsafe.Sizeof(v)) + int64(len(c.slots))*int64(unsafe.Sizeof(*s))
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
	for e := range uint32(len(c.ends)) {
		hash := hashKey(c.key(e))
		i := hash & mask
		for c.slots[i].entry != 0 {
			i = (i + 1) & mask
		}
		c.slots[i] = combinerSlot{entry: e + 1, hash: uint32(hash >> 32)}
	}
}

// flush hands all entries on, in the order in which their keys came, and empties
// the table.
func (c *combiner[V]) flush() error {
	for e := range uint32(len(c.ends)) {
		key := c.key(e)
		if err := c.out(key, hashKey(key), c.values.encode(c.vals[e])); err != nil {
			return err
		}
	}
	clear(c.slots)
	clear(c.vals)
	c.ends, c.vals, c.keys, c.extra = c.ends[:0], c.vals[:0], c.keys[:0], 0
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
