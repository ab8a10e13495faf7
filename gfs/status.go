package gfs

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/trilith-go/trilith/internal/statuspage"
)

//go:embed statuspage
var statusFiles embed.FS

var statusTemplate = template.Must(statuspage.Parse(statusFiles, "statuspage/page.html", template.FuncMap{
	"more":   func(all, shown int) int { return all - shown },
	"minus":  func(a uint64, b int) int64 { return max(0, int64(a)-int64(b)) },
	"number": func(n int) string { return statuspage.Count(int64(n)) },
}))

// statusConfirm bounds how long a page waits for what it says to be safe to tell.
const statusConfirm = 5 * time.Second

// StatusHandler returns a handler that serves the status page: chunkservers with their
// use and rates, how much there is, which chunks lack replicas and what is done about it,
// leases, the log, shadows, rates over time, and what has happened lately. Shadows have
// one too. It is of use at any path that ends in a slash, with http.StripPrefix, and
// serves below it
//
//	.            the page, which keeps itself up to date
//	status.json  a MasterReport
//
// The handler only reads, and knows no user: whoever can reach it sees addresses of
// chunkservers and how many files there are, but no name or content of one. It may be
// used until the Master is closed, and after that for what it knew.
func (m *Master) StatusHandler() http.Handler {
	return statuspage.Handler(m.serveStatusPage, m.serveStatusJSON)
}

// masterView is what the page's template is given.
type masterView struct {
	*MasterReport
	Charts []statuspage.Chart
}

func (m *Master) serveStatusPage(w http.ResponseWriter, r *http.Request) {
	report := m.statusReport(time.Now())
	var page bytes.Buffer
	if err := statusTemplate.Execute(&page, masterView{report, report.charts()}); err != nil {
		m.cfg.Logger.Error("cannot render the status page", "error", err)
		http.Error(w, "cannot render the page", http.StatusInternalServerError)
		return
	}
	m.sendStatus(w, r, report, "text/html; charset=utf-8", page.Bytes())
}

func (m *Master) serveStatusJSON(w http.ResponseWriter, r *http.Request) {
	report := m.statusReport(time.Now())
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		m.cfg.Logger.Error("cannot encode the status", "error", err)
		http.Error(w, "cannot encode the status", http.StatusInternalServerError)
		return
	}
	m.sendStatus(w, r, report, "application/json", append(data, '\n'))
}

// sendStatus sends what was read, when it is safe to tell.
func (m *Master) sendStatus(w http.ResponseWriter, r *http.Request, report *MasterReport, kind string, body []byte) {
	if report.Leading {
		ctx, cancel := context.WithTimeout(r.Context(), statusConfirm)
		defer cancel()
		if _, err := m.log.Confirm(ctx); err != nil {
			http.Error(w, "the master's log does not confirm its state: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body) // whoever asked has gone
}

// charts draws the samples.
func (r *MasterReport) charts() []statuspage.Chart {
	if len(r.Samples) < 2 {
		return nil
	}
	of := func(value func(s *MasterSample) float64) []float64 {
		v := make([]float64, len(r.Samples))
		for i := range r.Samples {
			v[i] = value(&r.Samples[i])
		}
		return v
	}
	seconds := of(func(s *MasterSample) float64 { return s.Time.Sub(r.Samples[0].Time).Seconds() })
	bytesRate := func(v float64) string { return statuspage.Size(int64(v)) + "/s" }
	number := func(v float64) string { return statuspage.Count(int64(v)) }
	return []statuspage.Chart{
		statuspage.NewChart("Data", statuspage.Axes{Seconds: seconds, Label: bytesRate},
			statuspage.Series{Name: "read", Values: of(func(s *MasterSample) float64 { return float64(s.Read) })},
			statuspage.Series{Name: "written", Values: of(func(s *MasterSample) float64 { return float64(s.Written) })}),
		statuspage.NewChart("Repair", statuspage.Axes{Seconds: seconds, Label: number, Top: 1},
			statuspage.Series{Name: "chunks short of replicas", Values: of(func(s *MasterSample) float64 { return float64(s.Short) })},
			statuspage.Series{Name: "to be repaired now", Values: of(func(s *MasterSample) float64 { return float64(s.Queued) })},
			statuspage.Series{Name: "replicas on their way", Values: of(func(s *MasterSample) float64 { return float64(s.Clones) })}),
		statuspage.NewChart("Calls of the master", statuspage.Axes{Seconds: seconds, Label: func(v float64) string { return fmt.Sprintf("%.0f/s", v) }, Top: 1},
			statuspage.Series{Name: "calls", Values: of(func(s *MasterSample) float64 { return s.Calls })}),
	}
}
