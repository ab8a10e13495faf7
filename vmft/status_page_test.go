//lint:bubble
package vmft_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/vmft"
)

func statusOf(t *testing.T, h http.Handler, path string, code int) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if w.Code != code {
		t.Fatalf("GET %s: status %d, want %d: %s", path, w.Code, code, w.Body)
	}
	return w.Body.String()
}

func wantStatus(t *testing.T, page string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

// The page and its JSON follow a fail-over, and say what is waited for.
func TestStatusPage(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, func(i int, cfg *vmft.Config) { cfg.Machine.(*counter).version = "<script>v</script>" })
		defer g.close()
		primary, backup := g.settle()
		if o := <-g.propose(primary, "a"); o.err != nil {
			t.Fatal(o.err)
		}
		time.Sleep(100 * time.Millisecond)
		wantStatus(t, statusOf(t, g.nodes[primary].StatusHandler(), "/", http.StatusOK),
			`<span class="tag good">primary`, "vmft at "+g.addr(primary), g.addr(backup), "outputs held", "logging channel", "0 fail-overs")
		h := g.nodes[backup].StatusHandler()
		wantStatus(t, statusOf(t, h, "/", http.StatusOK), `<span class="tag good">backup`)
		g.arbiter.cut(backup, true)
		g.kill(primary)
		time.Sleep(time.Second)
		wantStatus(t, statusOf(t, h, "/", http.StatusOK), "The arbiter cannot be asked, and is waited for: "+errFar.Error())
		g.arbiter.cut(backup, false)
		g.live(backup)
		wantStatus(t, statusOf(t, h, "/", http.StatusOK), `<span class="tag good">primary`, "The primary is alone", "1 fail-over<")
		var r vmft.Report
		if err := json.Unmarshal([]byte(statusOf(t, h, "/status.json", http.StatusOK)), &r); err != nil {
			t.Fatal(err)
		}
		self := g.nodes[backup].Status().Self
		wantStatus(t, statusOf(t, h, "/status.json", http.StatusOK), `"Incarnation": "`+self.Incarnation.String()+`"`) // no number of 64 bits
		if r.Self != self || r.Newest.Primary != self || !r.Newest.Backup.IsZero() {
			t.Errorf("the report is of %v in %v", r.Self, r.Newest)
		}
		if r.Role != vmft.RolePrimary || r.FailOvers != 1 || r.Applied < 2 || r.Arbiter != "" || len(r.History) < 2 || r.History[0].At.IsZero() {
			t.Errorf("the report is %+v", r)
		}
		statusOf(t, h, "/statuspage/page.html", http.StatusNotFound)
		wantStatus(t, statusOf(t, http.StripPrefix("/vmft", h), "/vmft/", http.StatusOK), `href="status.css"`)
		g.tune = func(_ int, cfg *vmft.Config) { cfg.Machine.(*counter).version = "<img>" }
		g.restart(primary)
		time.Sleep(time.Second)
		page := statusOf(t, g.nodes[primary].StatusHandler(), "/", http.StatusOK)
		wantStatus(t, page, `<span class="tag warn">spare`, "Not followed", "&lt;img&gt;")
		if strings.Contains(page, "<img>") || strings.Contains(page, "<script>v") {
			t.Error("a fingerprint is on the page as it came")
		}
	})
}
