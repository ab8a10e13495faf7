package gfs_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
)

// The page is read in a browser: its style and script load under its own policy, and it
// brings itself up to date when a chunkserver dies.
func TestStatusPageInABrowser(t *testing.T) {
	c := gfstest.Start(t, gfstest.Config{
		Chunkservers: 4, Racks: 2, Shadows: 1, Capacity: 1 << 30,
		Master: gfs.MasterConfig{ServerTimeout: 2 * time.Second},
	})
	for i := range 8 {
		if err := c.Client().WriteFile(t.Context(), fmt.Sprint("dir/", i), make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := c.Master().StatusHandler()
	// There is a curve only when two samples have been taken.
	testutil.Eventually(t, time.Minute, func() bool { return len(reportOf(t, h).Samples) >= 2 }, "two samples have been taken")
	// When the page is asked for again, a chunkserver is dead, and the chunks that it had,
	// which are all under leases, are short of replicas.
	kill := sync.OnceFunc(func() { c.KillChunkserver(1) })
	var pages atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && pages.Add(1) >= 2 {
			kill()
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			testutil.Until(ctx, func() bool {
				s := reportOf(t, h)
				return s.ServersAlive == 3 && s.Short > 0 && !s.Surveying
			})
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	page := testutil.Browse(t, server.URL+"/", 8*time.Second)
	if n := pages.Load(); n < 2 {
		t.Fatalf("the page was fetched %d times: it does not bring itself up to date", n)
	}
	wantStatus(t, page, "gfs at master:1", "short of replicas", `<span class="tag warn">`, `class="tag bad">dead`, `class="tag good">alive`, "rack1", "leases", "epoch",
		"to be deleted", "repairs under way", "Calls of the master", "Shadows", "is given up for dead", `href="status.json"`, `<p id="offline" hidden="">`)
	if got := strings.Count(page, "<svg "); got != 3 {
		t.Errorf("the browser has drawn %d charts, want 3", got)
	}
	if got := strings.Count(page, "<path "); got < 6 {
		t.Errorf("the browser has drawn %d curves, want 6", got)
	}
}
