package mapreduce

import (
	"fmt"
	"strings"
	"sync"
)

// Logf adds to the log of the attempt, a line or several, formatted as by
// [fmt.Sprintf]. The worker's Logger gets them too, at level Debug; RunSequential
// throws them away.
//
// The coordinator is told of the end of the log, up to 4 KiB, with each sign of life
// and when the attempt ends, so that the status page shows it within a second, and
// also if the attempt takes its worker with it. Of a job it keeps the logs that were
// written to last, 64 of them, and those of the failures that it keeps.
func (t *Task) Logf(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		t.log.add([]byte(strings.TrimSuffix(line, "\n")))
	}
}

// taskLog is the end of what an attempt has logged. The zero value is empty.
type taskLog struct {
	debug func(line []byte) // also gets each line; nil if nobody wants it

	mu   sync.Mutex // guards what follows
	last tail
	news bool // since the coordinator was told
}

func (l *taskLog) add(line []byte) {
	if l.debug != nil {
		l.debug(line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last.add(line)
	l.news = true
}

// tell returns the log if there is something new in it, or "".
func (l *taskLog) tell() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.news {
		return ""
	}
	l.news = false
	return l.last.String()
}

// retell makes tell return the log again: the coordinator has perhaps not got it.
func (l *taskLog) retell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.news = true
}

const (
	// maxLogsKept bounds the logs of a job that are kept: those written to last.
	maxLogsKept = 64
	// maxLogBytes bounds what is taken of a log: a tail with its mark.
	maxLogBytes = 2 * tailBytes
)

// logged takes in the log of an attempt as it is now.
func (h *history) logged(r LogReport, job JobID) {
	j := h.jobs[job]
	if j == nil || r.Text == "" {
		return
	}
	for i := range j.logs {
		if j.logs[i].Attempt == r.Attempt {
			j.logs = append(j.logs[:i], j.logs[i+1:]...)
			break
		}
	}
	r.Text = r.Text[:min(len(r.Text), maxLogBytes)]
	j.logs = appendBounded(j.logs, r, maxLogsKept)
}

// log returns the log of an attempt, as far as it is kept.
func (h *jobHistory) log(attempt string) string {
	for i := range h.logs {
		if h.logs[i].Attempt == attempt {
			return h.logs[i].Text
		}
	}
	return ""
}
