package rpc

import (
	"math/bits"
	"sync"
)

// Buffers are recycled by size class, powers of two from 512 B to 1 MiB. A
// sync.Pool holds pointers, so a buffer travels as *buffer and costs no
// allocation to put back.
type buffer struct{ b []byte }

const (
	minClass = 9  // 512 B
	maxClass = 20 // 1 MiB
)

var bufferPools [maxClass - minClass + 1]sync.Pool

// classSize returns the capacity of getBuffer(n).
func classSize(n int) int {
	if class := max(bits.Len(uint(max(n, 1)-1)), minClass); class <= maxClass {
		return 1 << class
	}
	return n
}

// getBuffer returns an empty buffer of capacity n at least.
func getBuffer(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return &buffer{make([]byte, 0, n)}
	}
	if b, ok := bufferPools[class-minClass].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 0, 1<<class)}
}

// free gives the buffer back. A buffer that has grown goes to the pool of the
// class that it has grown into.
func (b *buffer) free() {
	if b == nil {
		return
	}
	class := bits.Len(uint(cap(b.b))) - 1
	if class < minClass || class > maxClass {
		return
	}
	b.b = b.b[:0]
	bufferPools[class-minClass].Put(b)
}

// freeBytes gives back memory that came out of a buffer.
func freeBytes(b []byte) {
	if cap(b) > 0 {
		(&buffer{b}).free()
	}
}
