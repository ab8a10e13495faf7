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
)

//go:embed statuspage
var statusFiles embed.FS

var statusTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"size":  formatSize,
	"span":  formatSpan,
	"group": formatCount,
	"count": func(n uint64) string { return formatCount(int64(n)) },
	"clock": func(t time.Time) string { return t.Format("15:04:05") },
	"more":  func(all, shown int) int { return all - shown },
	"list": func(shown []string, all int) string {
		text := strings.Join(shown, ", ")
		if all > len(shown) {
			text += fmt.Sprintf(" and %d more", all-len(shown))
		}
		return text
	},
}).ParseFS(statusFiles, "statuspage/page.html"))

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
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.servePage)
	mux.HandleFunc("GET /status.json", c.serveJSON)
	for _, name := range []string{"status.css", "status.js"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, statusFiles, "statuspage/"+name)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
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

// formatSize returns a number of bytes as people read it.
func formatSize(n int64) string {
	const step = 1000
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= step && unit < len("kMGTPE")-1 {
		value /= step
		unit++
	}
	return fmt.Sprintf("%.3g %cB", min(value, step-1), "kMGTPE"[unit])
}

// formatCount returns a number with its digits in groups of three.
func formatCount(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if left := len(digits) - i; i > 0 && left%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// formatSpan returns a number of seconds as people read it.
func formatSpan(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
