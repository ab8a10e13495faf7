package gfs

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A crowdLock is a lock for many readers and one writer, where reads are so short and so
// many that processors would wait for one another to count the readers: it is one lock
// for each processor, more or less, of which a reader takes any and the writer all.
type crowdLock struct {
	parts []crowdPart
	near  sync.Pool     // of *crowdPart: what this processor used last
	next  atomic.Uint32 // which to use first
}

// A crowdPart has a line of the cache, and the one fetched with it, to itself.
type crowdPart struct {
	sync.RWMutex
	_ [128]byte
}

// maxCrowd bounds the parts, which the writer takes one after the other.
const maxCrowd = 16

func newCrowdLock() *crowdLock {
	return &crowdLock{parts: make([]crowdPart, min(runtime.GOMAXPROCS(0), maxCrowd))}
}

// read begins a read, which RUnlock of what it returns ends. Reads must not nest.
func (l *crowdLock) read() *crowdPart {
	p, _ := l.near.Get().(*crowdPart)
	if p == nil {
		p = &l.parts[int(l.next.Add(1))%len(l.parts)]
	}
	l.near.Put(p)
	p.RLock()
	return p
}

// Lock begins a write.
func (l *crowdLock) Lock() {
	for i := range l.parts {
		l.parts[i].Lock()
	}
}

// Unlock ends a write.
func (l *crowdLock) Unlock() {
	for i := range l.parts {
		l.parts[i].Unlock()
	}
}
