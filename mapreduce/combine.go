package mapreduce

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"reflect"
	"unsafe"
)

// combiner joins the values of equal keys while a map task emits them: an open
// hash table from encoded keys to values that are combined in place. Nothing in
// it is a pointer unless V has some, so that the collector has nothing to scan.
//
// What is added waits until there are a few: then the table is read for all of them
// together, as most of the time goes to waiting for memory.
type combiner[V any] struct {
	combine func(a, b V) V
	values  encoder[V]
	out     func(key, value []byte) error
	mem     *sortMemory

	entries []combinerEntry[V] // a power of two of them, or none; at most ¾ in use
	used    int
	most    int    // that were ever used
	long    []byte // the keys that entries have not all of, one after the other
	flushed bool   // keys that were handed on may be added again
	// extra is what values refer to beside their own size, estimated by the
	// length of the encodings of all that was added; counted is how much of it mem
	// knows of. Unused if V has no pointers.
	extra, counted int64
	pointers       bool

	waiting     [combinerBatch]combinerEntry[V]
	hashes      [combinerBatch]uint64 // of waiting
	waits       int
	waitingLong []byte // as long is, of waiting
	settling    bool   // settle runs
	touched     uint64 // by touch
	short       [shortKey]byte
}

// combinerBatch is how many pairs are looked up together.
const combinerBatch = 64

// combinerEntry is a key and the value it has so far.
type combinerEntry[V any] struct {
	combinerKey
	value V
}

// combinerKey has all of a key of up to shortKey bytes, and of another what tells it
// from most.
type combinerKey struct {
	first uint64 // the first 8 bytes; of a key of up to 8, its shortBits
	last  uint64 // the last 8, or 0
	size  uint32 // of the key, plus one; 0 if the entry is free
	at    uint32 // where a longer key is, in long
}

// shortKey is the length of the longest key that has no byte beside its first and last
// eight.
const shortKey = 16

const (
	minCombinerEntries = 1 << 12
	leastEntries       = 4 // where there is no memory for more
	minCombinerLong    = 64 << 10
)

func newCombiner[V any](combine func(a, b V) V, values encoder[V], out func(key, value []byte) error, mem *sortMemory) *combiner[V] {
	c := &combiner[V]{combine: combine, values: values, out: out, mem: mem, pointers: hasPointers(reflect.TypeFor[V]())}
	c.inherit()
	return c
}

// inherit takes the entries that the last task has left, if they are of the same type and
// not far too many.
func (c *combiner[V]) inherit() {
	entries, ok := c.mem.left.([]combinerEntry[V])
	if !ok || len(entries) > 2*tableSize(c.mem.keys) {
		c.mem.dropTable()
		return
	}
	c.entries = entries
	c.mem.table += c.mem.unused
	c.mem.left, c.mem.unused = nil, 0
}

// tableSize returns the size of a table for so many keys.
func tableSize(keys int) int {
	n := max(keys/3*4, minCombinerEntries)
	return 1 << bits.Len(uint(n-1))
}

// newCombinerKey returns a key and its hash in the table.
func newCombinerKey(key []byte) (k combinerKey, hash uint64) {
	n := len(key)
	k.size = uint32(n) + 1
	if n <= 8 {
		k.first = shortBits(key)
	} else {
		k.first, k.last = binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[n-8:])
	}
	hash = hashShort(k.first, k.last, n)
	if n > shortKey {
		hash ^= hashKey(key[8 : n-8])
	}
	return k, hash
}

// hashShort returns the hash of a key of n bytes, as far as its first and last eight go.
func hashShort(first, last uint64, n int) uint64 {
	return hashMix(first^uint64(n)*hashM1, last^hashM2)
}

// shortBytes appends to dst a key of up to shortKey bytes.
func (k *combinerKey) shortBytes(dst []byte) []byte {
	n := int(k.size) - 1
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	b := dst[at:]
	switch {
	case n > 8:
		binary.LittleEndian.PutUint64(b, k.first)
		binary.LittleEndian.PutUint64(b[n-8:], k.last)
	case n >= 4:
		binary.LittleEndian.PutUint32(b, uint32(k.first))
		binary.LittleEndian.PutUint32(b[n-4:], uint32(k.first>>32))
	case n > 0:
		b[0], b[n>>1], b[n-1] = byte(k.first), byte(k.first>>8), byte(k.first>>16)
	}
	return dst
}

// key returns a key, of which long has what is not in k. It is valid until the next call.
func (c *combiner[V]) key(k *combinerKey, long []byte) []byte {
	if k.size <= shortKey+1 {
		return k.shortBytes(c.short[:0])
	}
	return long[k.at:][:k.size-1]
}

// add combines v with what the table holds for the key, which it copies, when settle is
// called at the latest.
func (c *combiner[V]) add(key []byte, v V) error {
	if len(key) > MaxRecordBytes {
		return tooLarge(len(key))
	}
	if c.pointers {
		var err error
		if v, err = c.own(v); err != nil {
			return err
		}
	}
	w, hash := &c.waiting[c.waits], &c.hashes[c.waits]
	w.value = v
	if n := len(key); n <= 8 { // what newCombinerKey does, without a call
		w.combinerKey = combinerKey{first: shortBits(key), size: uint32(n) + 1}
		*hash = hashShort(w.first, 0, n)
	} else if n <= shortKey {
		w.combinerKey = combinerKey{first: binary.LittleEndian.Uint64(key), last: binary.LittleEndian.Uint64(key[n-8:]), size: uint32(n) + 1}
		*hash = hashShort(w.first, w.last, n)
	} else {
		w.combinerKey, *hash = newCombinerKey(key)
		w.at = uint32(len(c.waitingLong))
		c.waitingLong = append(c.waitingLong, key...)
	}
	c.waits++
	if c.waits == combinerBatch || len(c.waitingLong) > minCombinerLong {
		return c.settle()
	}
	return nil
}

// own returns a copy of v that shares no memory with what the caller of emit may
// change or drop, and accounts for what it refers to.
func (c *combiner[V]) own(v V) (V, error) {
	encoding := bytes.Clone(c.values.encode(v))
	c.extra += int64(len(encoding))
	return c.values.codec.Decode(encoding)
}

// settle takes what waits into the table.
func (c *combiner[V]) settle() error {
	c.settling = true
	c.touch()
	n := c.waits
	c.waits = 0
	for i := range n {
		w := &c.waiting[i]
		if e := c.find(w, c.hashes[i]); e != nil {
			e.value = c.combine(e.value, w.value)
		} else if err := c.insert(w, c.hashes[i]); err != nil {
			return err
		}
	}
	c.waitingLong = c.waitingLong[:0]
	c.settling = false
	if c.extra > c.counted {
		more := max(c.extra-c.counted, minCombinerLong)
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
	if len(c.entries) == 0 {
		return
	}
	mask := uint64(len(c.entries) - 1)
	sum := uint64(0)
	for _, hash := range c.hashes[:c.waits] {
		sum += c.entries[hash&mask].first
	}
	c.touched += sum
}

// find returns the entry that has the key of a pair that has waited, or nil.
func (c *combiner[V]) find(w *combinerEntry[V], hash uint64) *combinerEntry[V] {
	entries := c.entries
	if len(entries) == 0 {
		return nil
	}
	mask := uint64(len(entries) - 1)
	for i := hash; ; i++ {
		e := &entries[i&mask]
		if (e.first^w.first)|(e.last^w.last)|uint64(e.size^w.size) == 0 &&
			(e.size <= shortKey+1 || bytes.Equal(c.key(&e.combinerKey, c.long), c.key(&w.combinerKey, c.waitingLong))) {
			return e
		}
		if e.size == 0 {
			return nil
		}
	}
}

// insert adds a pair with a key that the table does not have.
func (c *combiner[V]) insert(w *combinerEntry[V], hash uint64) error {
	e, long := *w, []byte(nil)
	if e.size > shortKey+1 {
		long = c.key(&w.combinerKey, c.waitingLong)
	}
	if !c.makeRoom(len(long)) {
		if err := c.flush(); err != nil {
			return err
		}
		if !c.makeRoom(len(long)) { // a pair as large as all memory
			c.flushed = true
			return c.out(c.key(&w.combinerKey, c.waitingLong), c.values.encode(w.value))
		}
	}
	if long != nil {
		e.at = uint32(len(c.long))
		c.long = append(c.long, long...)
	}
	c.place(&e, hash)
	c.used++
	return nil
}

// place copies an entry to where it is free.
func (c *combiner[V]) place(e *combinerEntry[V], hash uint64) {
	mask := uint64(len(c.entries) - 1)
	i := hash & mask
	for c.entries[i].size != 0 {
		i = (i + 1) & mask
	}
	c.entries[i] = *e
}

// makeRoom makes room for an entry and n bytes of its key, if there is memory for it.
func (c *combiner[V]) makeRoom(n int) bool {
	if more := len(c.long) + n - cap(c.long); more > 0 {
		more = max(more, cap(c.long)/2, minCombinerLong)
		if cap(c.long)+more > maxArena || !c.mem.takeTable(int64(more)) {
			return false
		}
		c.long = append(make([]byte, 0, cap(c.long)+more), c.long...)
	}
	if c.used < len(c.entries)/4*3 {
		return true
	}
	if len(c.entries) > 0 {
		return c.resize(2 * len(c.entries))
	}
	// As many as the last task needed, if there is memory.
	for n = tableSize(c.mem.keys); n >= leastEntries; n /= 2 {
		if c.resize(n) {
			return true
		}
	}
	return false
}

// resize moves the entries to a table for n, if there is memory for it.
func (c *combiner[V]) resize(n int) bool {
	old := c.entries
	if !c.mem.takeTable(int64(n-len(old)) * int64(unsafe.Sizeof(combinerEntry[V]{}))) {
		return false
	}
	c.entries = make([]combinerEntry[V], n)
	for i := range old {
		if e := &old[i]; e.size != 0 {
			_, hash := newCombinerKey(c.key(&e.combinerKey, c.long))
			c.place(e, hash)
		}
	}
	return true
}

// flush empties the table.
func (c *combiner[V]) flush() error {
	if err := c.handOn(); err != nil {
		return err
	}
	c.flushed = true
	return nil
}

// end hands on all there is, and leaves the table to the next task. Nothing may be added
// after it.
func (c *combiner[V]) end() error {
	if err := c.settle(); err != nil {
		return err
	}
	if err := c.handOn(); err != nil {
		return err
	}
	c.mem.keys = c.most
	c.mem.left, c.mem.unused = c.entries, int64(len(c.entries))*int64(unsafe.Sizeof(combinerEntry[V]{}))
	return nil
}

// handOn hands all entries on, in the order of their hashes, and frees them.
func (c *combiner[V]) handOn() error {
	c.most = max(c.most, c.used)
	for i := range c.entries {
		e := &c.entries[i]
		if e.size == 0 {
			continue
		}
		if err := c.out(c.key(&e.combinerKey, c.long), c.values.encode(e.value)); err != nil {
			return err
		}
		*e = combinerEntry[V]{}
	}
	c.used, c.long, c.extra = 0, c.long[:0], 0
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
