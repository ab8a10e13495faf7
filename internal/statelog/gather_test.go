package statelog

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// TestThoseWhoComeTogetherShareASync: the first of them does not get one to itself, which
// all the others would have to wait for. With one processor the order in which they come
// is left to chance in one round of sixty at most, when the scheduler looks at its other
// queue first.
func TestThoseWhoComeTogetherShareASync(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	testutil.Bubble(t, func(t *testing.T) {
		const callers, rounds = 100, 20
		l := mustOpen(t, Config{Dir: "log", FS: vfs.NewMemory(1)})
		synctest.Wait()
		before := l.Status().Journal.Syncs
		var work sync.WaitGroup
		for range rounds {
			for range callers {
				work.Go(func() {
					if _, _, err := l.Propose(context.Background(), make([]byte, 10)); err != nil {
						t.Error(err)
					}
				})
			}
			work.Wait()
			synctest.Wait()
		}
		if syncs := l.Status().Journal.Syncs - before; syncs > rounds*3/2 {
			t.Errorf("%d rounds of %d commands took %d syncs", rounds, callers, syncs)
		}
		mustClose(t, l)
	})
}
