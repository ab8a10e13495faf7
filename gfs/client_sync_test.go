package gfs

import (
	"testing"
	"testing/synctest"

	"github.com/trilith-go/trilith/internal/testutil"
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
