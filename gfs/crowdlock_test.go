package gfs

import (
	"sync"
	"testing"
)

// TestCrowdLock: no read sees a write half done, and no write is lost.
func TestCrowdLock(t *testing.T) {
	l := newCrowdLock()
	var a, b int
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 500 {
				l.Lock()
				a++
				b++
				l.Unlock()
			}
		})
		group.Go(func() {
			for range 5000 {
				r := l.read()
				if a != b {
					t.Errorf("%d and %d", a, b)
				}
				r.RUnlock()
			}
		})
	}
	group.Wait()
	if a != 2000 || b != 2000 {
		t.Errorf("%d and %d writes of 2000", a, b)
	}
}
