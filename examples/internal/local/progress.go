package local

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/trilith-go/trilith/mapreduce"
)

// Progress keeps a line on the terminal up to date. The zero Progress shows
// nothing.
type Progress struct {
	w     io.Writer // nil: nobody is looking
	begin time.Time
}

// NewProgress shows progress on w if that is a terminal.
func NewProgress(w io.Writer) *Progress {
	f, ok := w.(*os.File)
	if !ok {
		return &Progress{begin: time.Now()}
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &Progress{begin: time.Now()}
	}
	return &Progress{w: w, begin: time.Now()}
}

const megabyte = 1e6

// Show writes the line over the last one.
func (p *Progress) Show(s mapreduce.JobStatus) {
	if p.w == nil {
		return
	}
	seconds := time.Since(p.begin).Seconds()
	fmt.Fprintf(p.w, "\r\x1b[Kmaps %d/%d  reduces %d/%d  %.0f of %.0f MB  %.0f MB/s  %.1f s",
		s.Maps.Completed, s.Maps.Total, s.Reduces.Completed, s.Reduces.Total,
		float64(s.InputDone)/megabyte, float64(s.InputBytes)/megabyte, float64(s.InputDone)/megabyte/seconds, seconds)
	if s.State.Ended() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
