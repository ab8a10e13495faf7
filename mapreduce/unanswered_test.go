//lint:bubble
package mapreduce

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
)

// A worker that reaches no coordinator says so, and why: once, when the reason changes, and
// every now and then; not when it is registered.
func TestWorkerSaysThatItWaits(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newTestCluster(t, 0, testInput(1), (&slowCount{}).job())
		defer c.close()
		c.killCoordinator(transport.CrashReset)
		var mu sync.Mutex
		var log bytes.Buffer // guarded by mu
		w, err := StartWorker(t.Context(), WorkerConfig{
			Transport: c.network.Host("worker"), Addr: "worker:1", Coordinators: []string{"coordinator:1"}, Jobs: c.jobs,
			FileSystem: c.files, Slots: 1, Dir: "/scratch", disk: vfs.NewMemory(1), Build: "test",
			Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: &log, Mutex: &mu}),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		said := 0
		after := func(d time.Duration, more int, what string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if n := strings.Count(log.String(), "waiting for the coordinator at coordinator:1: error="); n != said+more {
				t.Errorf("%s: said %d times that it waits, want %d\n%s", what, n-said, more, log.String())
			}
			said += more
		}
		after(unansweredGrace/2, 0, "at the start")
		after(10*time.Second, 1, "when nobody is there")
		after(unansweredAgain, 1, "when still nobody is there")
		c.network.Host("coordinator").Restart()
		c.startCoordinator()
		after(2*unansweredAgain, 0, "when it is registered")
		c.killCoordinator(transport.CrashReset)
		after(10*time.Second, 1, "when nobody is there any more")
	})
}
