package mapreduce

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// The page is read in a browser: its style and script load under its own policy,
// and it brings itself up to date.
func TestStatusPageInABrowser(t *testing.T) {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	jobs, err := NewRegistry(places)
	if err != nil {
		t.Fatal(err)
	}
	files := newMemoryFiles()
	input := testInput(20)
	c, err := StartCoordinator(t.Context(), CoordinatorConfig{
		Transport: network.Host("c"), Addr: "c:1", Jobs: jobs, FileSystem: files, Input: ReadOnly(input), Build: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client, err := NewClient(ClientConfig{Transport: network.Host("client"), Coordinators: []string{c.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// There are no workers yet: the job stays as it is.
	id, err := client.Submit(t.Context(), places.Name, testSpec(input, 4, 2))
	if err != nil {
		t.Fatal(err)
	}
	var worker *Worker
	defer func() {
		if worker != nil {
			_ = worker.Close()
		}
	}()
	work := sync.OnceFunc(func() {
		var err error
		worker, err = StartWorker(t.Context(), WorkerConfig{
			Transport: network.Host("w"), Addr: "w:1", Coordinators: []string{c.Addr()}, Jobs: jobs, FileSystem: files, Input: ReadOnly(input),
			Dir: t.TempDir(), Build: "test",
		})
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := client.Wait(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
	// When the page is asked for again, the job is done.
	var pages atomic.Int64
	h := c.StatusHandler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			if pages.Add(1) >= 2 {
				work()
			}
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	first := get(t, h, "/", http.StatusOK)
	wantAll(t, first, `class="tag running"`, "There are no workers")
	dom := testutil.Browse(t, server.URL+"/", 4*time.Second)
	if n := pages.Load(); n < 2 {
		t.Errorf("the page was fetched %d times: it does not bring itself up to date", n)
	}
	wantAll(t, dom, "Job 1: places", "4 map tasks", `class="tag succeeded"`, "w:1", "No job is running", `<p id="offline" hidden="">`)
	if got := strings.Count(dom, "<rect "); got != 6 {
		t.Errorf("the browser has drawn %d cells, want 6", got)
	}
}
