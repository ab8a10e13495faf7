package vmft_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/vmft"
)

// The page is read in a browser: its style and script load under its own policy, and it
// brings itself up to date when the primary dies.
func TestStatusPageInABrowser(t *testing.T) {
	g := newGroup(t, 2, nil)
	defer g.close()
	primary, backup := g.settle()
	stop := g.load(primary, 4, 64)
	defer func() { stop() }()
	h := g.nodes[backup].StatusHandler()
	// There is a curve only when two samples have been taken.
	testutil.Eventually(t, time.Minute, func() bool { return len(vmftReport(t, h).Samples) >= 2 }, "two samples have been taken")
	kill := sync.OnceFunc(func() { g.kill(primary) })
	var pages atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && pages.Add(1) >= 2 { // by then the primary is dead
			kill()
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			testutil.Until(ctx, func() bool { return vmftReport(t, h).Role == vmft.RolePrimary })
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	page := testutil.Browse(t, server.URL+"/", 8*time.Second)
	if n := pages.Load(); n < 2 {
		t.Fatalf("the page was fetched %d times: it does not bring itself up to date", n)
	}
	wantStatus(t, page, "vmft at "+g.addr(backup), `<span class="tag good">primary`, "The primary is alone", "the primary seems to be dead", "1 fail-over",
		"Lag of the backup", "Logging channel", `href="status.json"`, `<p id="offline" hidden="">`)
	if got := strings.Count(page, "<svg "); got != 3 {
		t.Errorf("the browser has drawn %d charts, want 3", got)
	}
	if got := strings.Count(page, "<path "); got < 3 {
		t.Errorf("the browser has drawn %d curves, want 3", got)
	}
}

func vmftReport(t *testing.T, h http.Handler) (r vmft.Report) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/status.json", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Error(err)
	}
	return r
}
