//lint:bubble
package gfs_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
)

// statusOf asks a handler and returns what it says.
func statusOf(t *testing.T, h http.Handler, target string, status int) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	if w.Code != status {
		t.Fatalf("GET %s: status %d, want %d: %s", target, w.Code, status, w.Body)
	}
	return w.Body.String()
}

// reportOf asks a handler for its report.
func reportOf(t *testing.T, h http.Handler) *gfs.MasterReport {
	t.Helper()
	r := new(gfs.MasterReport)
	if err := json.Unmarshal([]byte(statusOf(t, h, "/status.json", http.StatusOK)), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// brief returns a report without what is too long to be printed.
func brief(r *gfs.MasterReport) gfs.MasterReport {
	short := *r
	short.Samples = nil
	return short
}

// wantStatus checks that a page says all of that.
func wantStatus(t *testing.T, page string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(page, part) {
			t.Errorf("no %q in the page:\n%.4000s", part, page)
		}
	}
}

// The page shows the chunkservers, the one that dies, and the repair that follows; that
// of a shadow shows how far it is behind.
func TestStatusPageShowsARepair(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := gfstest.Start(t, gfstest.Config{
			Chunkservers: 4, Racks: 2, Shadows: 1, Capacity: 1 << 30,
			Master: gfs.MasterConfig{RepairRate: 100_000},
		})
		client := c.Client()
		for _, name := range []string{"a", "b", "c", "d"} {
			if err := client.WriteFile(t.Context(), "dir/"+name, make([]byte, 3<<20), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.Remove(t.Context(), "dir/d"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // until the leases are over
		h := c.Master().StatusHandler()
		r := reportOf(t, h)
		if !r.Leading || r.Shadow || r.SafeMode || !r.Settled || r.Epoch == 0 || r.ServersAlive != 4 || r.ServersKnown != 4 || len(r.Servers) != 4 {
			t.Errorf("the report is %+v", brief(r))
		}
		if r.Files != 4 || r.Directories != 1 || r.Removed != 1 || r.Chunks != 12 || r.Covered != 12 || r.Short != 0 || r.Replicas != 36 || r.Queued != 0 || r.Leases != 0 {
			t.Errorf("the report is %+v", brief(r))
		}
		if s := r.Servers[0]; s.Addr == "" || s.Rack == "" || !s.Alive || s.Capacity != 1<<30 || s.Used == 0 || s.Chunks == 0 || r.Used < 36<<20 {
			t.Errorf("the first server is %+v; %d bytes are used", s, r.Used)
		}
		if r.Log == nil || r.Log.Applied == 0 || r.Log.Safe != r.Log.Applied || r.Log.Segments == 0 {
			t.Errorf("the log is %+v", r.Log)
		}
		if len(r.Shadows) != 1 || r.Shadows[0].Lag < 0 || r.Shadows[0].Lag > 1 || r.Shadows[0].Index == 0 {
			t.Errorf("the shadows are %+v", r.Shadows)
		}
		wantStatus(t, statusOf(t, h, "/", http.StatusOK), "gfs at master:1", "chunk3:1", "rack1", `<progress value="`, "Calls of the master", "<path", "Shadows", "has registered", "leading in epoch")

		killed := slices.IndexFunc(r.Servers, func(s gfs.ServerReport) bool { return s.Addr == "chunk1:1" })
		c.KillChunkserver(1)
		testutil.Eventually(t, time.Minute, func() bool { return reportOf(t, h).Repairs > 0 }, "a repair is under way")
		wantStatus(t, statusOf(t, h, "/", http.StatusOK), `class="tag bad">dead`, `class="tag warn"`, "is given up for dead")
		if r := reportOf(t, h); r.ServersAlive != 3 || r.Short != 9 || r.Queued+r.Repairs != 9 || r.Servers[killed].Alive || r.Servers[killed].Silent < 10 {
			t.Errorf("of a dead chunkserver: %+v", brief(r))
		}
		c.Heal()
		time.Sleep(5 * time.Second)
		r = reportOf(t, h)
		repaired := 0
		for _, s := range r.Samples {
			repaired = max(repaired, min(s.Short, s.Queued+s.Clones))
		}
		if r.Short != 0 || r.Queued != 0 || r.Repairs != 0 || r.Covered != 12 || repaired == 0 {
			t.Errorf("after the repair, whose samples have %d at most: %+v", repaired, brief(r))
		}

		s := reportOf(t, c.Shadow(0).StatusHandler())
		if !s.Shadow || s.Leading || s.Epoch != 0 || s.Lag < 0 || s.Lag > 1 || s.Files != 4 || s.ServersAlive != 3 || s.Log != nil || len(s.Samples) == 0 {
			t.Errorf("the shadow's report is %+v", brief(s))
		}
		page := statusOf(t, c.Shadow(0).StatusHandler(), "/", http.StatusOK)
		wantStatus(t, page, "<dt>shadow</dt>", "behind its master")
	})
}

// A master that has just started says what it waits for, and a closed one what it knew.
func TestStatusPageInSafeMode(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := gfstest.Start(t, gfstest.Config{})
		if err := c.Client().WriteFile(t.Context(), "f", make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			c.KillChunkserver(i)
		}
		c.KillMaster()
		c.StartMaster()
		m := c.Master()
		h := m.StatusHandler()
		testutil.Eventually(t, time.Second, func() bool { return reportOf(t, h).Leading }, "it leads")
		if r := reportOf(t, h); !r.SafeMode || r.Settled || r.Awaited != 3 || r.Chunks != 1 || r.Covered != 0 || len(r.Servers) != 3 || !r.Servers[2].Awaited {
			t.Errorf("the report is %+v", brief(r))
		}
		wantStatus(t, statusOf(t, h, "/", http.StatusOK), "Safe mode", "3 chunkservers are waited for", `<span class="tag warn">awaited`, `<span class="tag bad">1</span>`)
		c.KillMaster()
		wantStatus(t, statusOf(t, h, "/", http.StatusOK), "does not lead at present", "<dt>files</dt><dd>1</dd>")
	})
}

// Whatever racks are called, it is text.
func TestStatusPageEscapes(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const evil = `<script>alert("x")</script>'"><img src=x onerror=alert(1)>`
		c := gfstest.Start(t, gfstest.Config{Chunkservers: 1, Chunkserver: gfs.ChunkserverConfig{Zone: evil}})
		h := c.Master().StatusHandler()
		page := statusOf(t, h, "/", http.StatusOK)
		wantStatus(t, page, "&lt;script&gt;alert(", "&lt;img src=x")
		for _, tag := range []string{"<script>", "<img"} {
			if strings.Contains(page, tag) {
				t.Errorf("the page has %s as it came", tag)
			}
		}
		if r := reportOf(t, h); len(r.Servers) != 1 || r.Servers[0].Zone != evil {
			t.Errorf("the servers are %+v", r.Servers)
		}
		statusOf(t, h, "/statuspage/page.html", http.StatusNotFound)
		wantStatus(t, statusOf(t, http.StripPrefix("/gfs", h), "/gfs/", http.StatusOK), `href="status.css"`)
		wantStatus(t, statusOf(t, h, "/status.css", http.StatusOK), ".tag.bad")
	})
}
