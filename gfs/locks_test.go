package gfs

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// count is how many paths are locked, or wished for.
func (l *pathLocks) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.paths)
}

func TestLockOrder(t *testing.T) {
	for _, c := range []struct{ wishes, want []lockWish }{
		{
			[]lockWish{{"b/c", true}, {"a/x/y", false}, {"a/x", true}},
			[]lockWish{{".", false}, {"a", false}, {"b", false}, {"a/x", true}, {"b/c", true}, {"a/x/y", false}},
		},
		{[]lockWish{{"a/x/y", true}}, []lockWish{{".", false}, {"a", false}, {"a/x", false}, {"a/x/y", true}}},
		{[]lockWish{{".", true}}, []lockWish{{".", true}}},
	} {
		if got := lockOrder(nil, c.wishes); !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.wishes, got, c.want)
		}
	}
}

// §4.1: creating files in a directory does not exclude creating others there, but a
// snapshot of the directory does.
func TestLocksOfADirectoryExcludeThoseBelow(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		l := newPathLocks()
		must := func(wishes ...lockWish) *heldLocks {
			t.Helper()
			h, err := l.acquire(t.Context(), wishes...)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		one := must(lockWish{"home/user/a", true})
		two := must(lockWish{"home/user/b", true}) // at once
		var snapshot, three atomic.Bool
		go func() {
			h := must(lockWish{"home/user", true}, lockWish{"save/user", true})
			snapshot.Store(true)
			time.Sleep(time.Second)
			h.release()
		}()
		synctest.Wait()
		go func() {
			h := must(lockWish{"home/user/c", true}) // comes after the snapshot, waits for it
			three.Store(true)
			h.release()
		}()
		synctest.Wait()
		if one.release(); snapshot.Load() {
			t.Error("a snapshot beside a create below")
		}
		two.release()
		synctest.Wait()
		if !snapshot.Load() || three.Load() {
			t.Errorf("the snapshot has its locks: %v; a create beside it: %v", snapshot.Load(), three.Load())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !three.Load() || l.count() != 0 {
			t.Errorf("the create went on: %v; locks left: %d", three.Load(), l.count())
		}
	})
}

func TestLocksGiveUp(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		l := newPathLocks()
		h, _ := l.acquire(t.Context(), lockWish{"a", false})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { // behind the writer that gives up
			time.Sleep(500 * time.Millisecond)
			h, err := l.acquire(t.Context(), lockWish{"a", false})
			if err != nil {
				t.Error(err)
				return
			}
			h.release()
		}()
		if _, err := l.acquire(ctx, lockWish{"b", true}, lockWish{"a", true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if h.release(); l.count() != 0 {
			t.Errorf("%d locks are left", l.count())
		}
	})
}

// Nobody waits in a circle, no two hold what excludes them, and nothing is left.
func TestLocksUnderLoad(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		paths := []string{".", "a", "a/b", "a/b/c", "a/d", "e", "e/f"}
		l := newPathLocks()
		writers := make([]atomic.Int32, len(paths))
		readers := make([]atomic.Int32, len(paths))
		var wg sync.WaitGroup
		for seed := range uint64(50) {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 1))
				for range 50 {
					i, j := rng.IntN(len(paths)), rng.IntN(len(paths))
					wi, wj := rng.IntN(2) == 0, rng.IntN(2) == 0
					h, err := l.acquire(t.Context(), lockWish{paths[i], wi}, lockWish{paths[j], wj})
					if err != nil {
						t.Error(err)
						return
					}
					if i == j {
						wi = wi || wj
						enter(t, &writers[i], &readers[i], wi)
					} else {
						enter(t, &writers[i], &readers[i], wi)
						enter(t, &writers[j], &readers[j], wj)
					}
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
					leave(&writers[i], &readers[i], wi)
					if i != j {
						leave(&writers[j], &readers[j], wj)
					}
					h.release()
				}
			})
		}
		wg.Wait()
		if l.count() != 0 {
			t.Errorf("%d locks are left", l.count())
		}
	})
}

func enter(t *testing.T, writers, readers *atomic.Int32, write bool) {
	if write {
		if writers.Add(1) != 1 || readers.Load() != 0 {
			t.Error("a writer beside another holder")
		}
	} else if readers.Add(1); writers.Load() != 0 {
		t.Error("a reader beside a writer")
	}
}

func leave(writers, readers *atomic.Int32, write bool) {
	if write {
		writers.Add(-1)
	} else {
		readers.Add(-1)
	}
}
