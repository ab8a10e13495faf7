package rpc

import "sync"

// A busyMutex is a mutex for critical sections that are short and entered often.
//
// A sync.Mutex that is taken makes the goroutine wait in a queue, without trying
// for a moment first, if other goroutines wait for this processor, and so
// always under load. With hundreds of them it is its turn after a millisecond; the
// mutex takes that for starvation and from then on is handed from one waiting
// goroutine to the next, each of which has to be scheduled first. Trying for less
// than what one such switch takes keeps that from happening.
type busyMutex struct{ sync.Mutex }

// Lock locks m.
func (m *busyMutex) Lock() {
	const tries = 100
	for range tries {
		if m.TryLock() {
			return
		}
	}
	m.Mutex.Lock()
}
