package gfs

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/rpc"
)

// TestClientSyncWaitsForAnother: what another Sync has begun is not durable yet.
func TestClientSyncWaitsForAnother(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, 1<<20)
		f := createFile(t, k.dial(ClientConfig{}), "f")
		if _, err := f.WriteAt([]byte("data"), 0); err != nil {
			t.Fatal(err)
		}
		gate := make(chan int)
		for _, s := range k.servers {
			s.writeWait.Store(&gate)
		}
		ended := make(chan error, 2)
		for range 2 {
			go func() { ended <- f.Sync() }()
			synctest.Wait()
		}
		if n := len(ended); n > 0 {
			t.Errorf("%d of two syncs have returned before anything was synced", n)
		}
		close(gate)
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestClientSyncTellsWhatIsLost: what was acknowledged with another verifier than that of
// the sync is lost, and told once; a sync that fails before the end tells it the next time.
func TestClientSyncTellsWhatIsLost(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, 1<<20)
		f := createFile(t, k.dial(ClientConfig{Patience: time.Second}), "f")
		write := func(off int64) {
			t.Helper()
			if _, err := f.WriteAt([]byte("data"), off); err != nil {
				t.Fatal(err)
			}
		}
		turn := func(v writeVerifier) {
			for _, s := range k.servers {
				s.verifier = v
			}
		}
		write(10)
		write(1<<20 + 7)
		turn(1)
		write(100)
		k.failSync = 2 // of the second chunk
		if err := f.Sync(); !errors.Is(err, rpc.ErrTooLarge) || errors.Is(err, ErrLost) {
			t.Fatal("a sync that fails:", err)
		}
		var lost *LostError
		if err := f.Sync(); !errors.As(err, &lost) || !errors.Is(err, ErrLost) {
			t.Fatal("a sync after a loss:", err)
		}
		if want := []Range{{10, 4}, {1<<20 + 7, 4}}; !slices.Equal(lost.Ranges, want) {
			t.Errorf("lost: %v, not %v", lost.Ranges, want)
		}
		if err := f.Sync(); err != nil {
			t.Error("the loss is told again:", err)
		}
	})
}
