package mapreduce

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/trilith-go/trilith/internal/statuspage"
)

//go:embed statuspage
var statusFiles embed.FS

var statusTemplate = template.Must(statuspage.Parse(statusFiles, "statuspage/page.html", template.FuncMap{
	"more": func(all, shown int) int { return all - shown },
	"list": func(shown []string, all int) string {
		text := strings.Join(shown, ", ")
		if all > len(shown) {
			text += fmt.Sprintf(" and %d more", all-len(shown))
		}
		return text
	},
}))

// confirmWithin bounds how long a page waits for what it says to be safe to tell.
const confirmWithin = 5 * time.Second

// StatusHandler returns a handler that serves the status page: jobs, the states of
// their tasks, bytes and rates over time, stragglers, failures with their errors,
// workers, and the jobs that have ended. It is of use at any path that ends in a
// slash, with http.StripPrefix, and serves below it
//
//	.                    the page, which keeps itself up to date
//	?job=N               the same with the details of job N
//	status.json          a ClusterReport
//	status.json?job=N    a JobReport with its Details
//
// The size of each is bounded, whatever the number of tasks. Without ?job, the page
// shows the details of the oldest job that runs, or of the latest that has ended.
// The handler only reads, and knows no user: whoever can reach it sees names of
// jobs and files, and the texts of errors. It may be used until the Coordinator is
// closed, and after that for what it remembers of jobs that have ended.
func (c *Coordinator) StatusHandler() http.Handler {
	return statuspage.Handler(c.servePage, c.serveJSON)
}

// statusView is what the page's template is given.
type statusView struct {
	Cluster *ClusterReport
	Job     *jobView // nil if there is none
}

func (c *Coordinator) servePage(w http.ResponseWriter, r *http.Request) {
	id, err := jobOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now()
	v := statusView{Cluster: c.clusterReport(now)}
	wanted := id
	switch {
	case id != 0:
	case len(v.Cluster.Jobs) > 0:
		id = v.Cluster.Jobs[0].ID
	case len(v.Cluster.History) > 0:
		id = v.Cluster.History[0].ID
	}
	job := c.ledger.jobReport(now, id)
	if job == nil && wanted != 0 {
		http.Error(w, unknownJob(id), http.StatusNotFound)
		return
	}
	if job != nil {
		v.Job = newJobView(job)
	}
	var page bytes.Buffer
	if err := statusTemplate.Execute(&page, v); err != nil {
		c.cfg.Logger.Error("cannot render the status page", "error", err)
		http.Error(w, "cannot render the page", http.StatusInternalServerError)
		return
	}
	c.answer(w, r, v.Cluster.Leading, "text/html; charset=utf-8", page.Bytes())
}

func (c *Coordinator) serveJSON(w http.ResponseWriter, r *http.Request) {
	id, err := jobOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now()
	cluster := c.clusterReport(now)
	var report any = cluster
	if id != 0 {
		job := c.ledger.jobReport(now, id)
		if job == nil {
			http.Error(w, unknownJob(id), http.StatusNotFound)
			return
		}
		report = job
	}
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		c.cfg.Logger.Error("cannot encode the status", "error", err)
		http.Error(w, "cannot encode the status", http.StatusInternalServerError)
		return
	}
	c.answer(w, r, cluster.Leading, "application/json", append(data, '\n'))
}

// clusterReport returns how everything is doing.
func (c *Coordinator) clusterReport(now time.Time) *ClusterReport {
	r := c.ledger.report(now)
	r.Coordinator = c.Addr()
	return r
}

// answer sends what was read, when it is safe to tell.
func (c *Coordinator) answer(w http.ResponseWriter, r *http.Request, leading bool, kind string, body []byte) {
	if leading {
		ctx, cancel := context.WithTimeout(r.Context(), confirmWithin)
		defer cancel()
		if err := c.confirm(ctx); err != nil {
			http.Error(w, "the coordinator's log does not confirm its state: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body) // whoever asked has gone
}

// jobOf returns the job that a request asks for, or 0.
func jobOf(r *http.Request) (JobID, error) {
	text := r.URL.Query().Get("job")
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, errors.New("job is not the number of one")
	}
	return JobID(id), nil
}

func unknownJob(id JobID) string {
	return fmt.Sprintf("job %d is not known: it never was, or it ended long ago", id)
}
