package vmft

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/statuspage"
)

//go:embed statuspage
var statusFiles embed.FS

var statusTemplate = template.Must(statuspage.Parse(statusFiles, "statuspage/page.html", template.FuncMap{
	"number": func(n int) string { return statuspage.Count(int64(n)) },
	"millis": func(d time.Duration) string { return d.Round(10 * time.Microsecond).String() },
	"share":  func(f float64) float64 { return 100 * f },
	"moment": func(t time.Time) string { return t.Format("15:04:05.000") },
	"place":  func(m Member) string { return m.String() },
}))

// A Report is what the status page of a node says, and its JSON: its [Status], with errors
// as text and with what follows from the whole.
type Report struct {
	Status
	Time         time.Time
	Arbiter      string   // why the arbiter could not be asked, the last time; empty: it could
	Err          string   // why the node has ended
	LogBandwidth float64  // bytes a second on the logging channel: the last sample's, or since the start
	FailOvers    int      // changes of the primary in History
	Samples      []Sample // what the node was doing lately, the oldest first
}

// StatusHandler returns a handler that serves the status page: the node's role and epoch,
// positions in the log, the lag of the backup, buffers and held outputs, the bandwidth of
// the logging channel, clones, how these went in the last ten minutes, and the changes in
// the chain of epochs with their times. It is of use at any path that ends in a slash, with
// http.StripPrefix, and serves below it
//
//	.            the page, which keeps itself up to date
//	status.json  a Report
//
// The handler only reads, says what this node knows, and knows no user: whoever can reach
// it sees addresses, but nothing of commands or of the machine's state. It may be used
// after Close, for what the node knew.
func (n *Node) StatusHandler() http.Handler {
	return statuspage.Handler(n.serveStatusPage, n.serveStatusJSON)
}

func (n *Node) report() *Report {
	r := &Report{Status: n.Status(), Time: time.Now(), Samples: n.trend.recent()}
	if r.Status.Arbiter != nil {
		r.Arbiter = r.Status.Arbiter.Error()
	}
	if r.Status.Err != nil {
		r.Err = r.Status.Err.Error()
	}
	// The embedded ones are errors, which JSON cannot write.
	r.Status.Arbiter, r.Status.Err = nil, nil
	if k := len(r.Samples); k > 0 {
		r.LogBandwidth = r.Samples[k-1].LogBandwidth
	} else if up := r.Time.Sub(n.began); up > 0 {
		r.LogBandwidth = rate(r.LogBytes, up)
	}
	last := ""
	for _, change := range r.History {
		addr := change.Record.Primary.Addr
		if last != "" && addr != "" && addr != last {
			r.FailOvers++
		}
		if addr != "" {
			last = addr
		}
	}
	return r
}

// Recent returns the changes with the newest first.
func (r *Report) Recent() []Change {
	all := slices.Clone(r.History)
	slices.Reverse(all)
	return all
}

// Bandwidth is LogBandwidth in whole bytes.
func (r *Report) Bandwidth() int64 { return int64(r.LogBandwidth) }

// reportView is what the page's template is given.
type reportView struct {
	*Report
	Charts []statuspage.Chart
}

func (n *Node) serveStatusPage(w http.ResponseWriter, _ *http.Request) {
	var page bytes.Buffer
	report := n.report()
	if err := statusTemplate.Execute(&page, reportView{report, report.charts()}); err != nil {
		n.cfg.Logger.Error("cannot render the status page", "error", err)
		http.Error(w, "cannot render the page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes()) // whoever asked has gone
}

func (n *Node) serveStatusJSON(w http.ResponseWriter, _ *http.Request) {
	data, err := json.MarshalIndent(n.report(), "", "  ")
	if err != nil {
		n.cfg.Logger.Error("cannot encode the status", "error", err)
		http.Error(w, "cannot encode the status", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n')) // whoever asked has gone
}
