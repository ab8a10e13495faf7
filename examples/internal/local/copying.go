package local

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Copying counts what a copy of files has done, and shows it on a terminal. Its methods
// may be used concurrently.
type Copying struct {
	verb  string
	files int
	bytes int64 // to be copied; 0: not known

	progress  *Progress
	doneFiles atomic.Int64
	doneBytes atomic.Int64
	ended     chan struct{}
	shown     sync.WaitGroup
}

// often is how often a line is brought up to date.
const often = 100 * time.Millisecond

// Copy begins to show how a copy gets on, until End is called. The verb says what is done.
func (p *Progress) Copy(verb string, files int, bytes int64) *Copying {
	c := &Copying{verb: verb, files: files, bytes: bytes, progress: p, ended: make(chan struct{})}
	if p.w == nil {
		return c
	}
	c.shown.Go(func() {
		tick := time.NewTicker(often)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprint(p.w, "\r\x1b[K"+c.line(time.Since(p.begin)))
			case <-c.ended:
				fmt.Fprint(p.w, "\r\x1b[K")
				return
			}
		}
	})
	return c
}

// Write counts bytes that have been copied; it is an io.Writer for io.TeeReader.
func (c *Copying) Write(p []byte) (int, error) {
	c.doneBytes.Add(int64(len(p)))
	return len(p), nil
}

// File counts a file that has been copied.
func (c *Copying) File() { c.doneFiles.Add(1) }

// End ends the showing, and returns what was done in a line.
func (c *Copying) End() string {
	close(c.ended)
	c.shown.Wait()
	seconds := max(time.Since(c.progress.begin).Seconds(), 1e-3)
	mb := float64(c.doneBytes.Load()) / megabyte
	return fmt.Sprintf("%s: %d files, %.1f MB in %.1f s, %.0f MB/s", c.verb, c.doneFiles.Load(), mb, seconds, mb/seconds)
}

const barWidth = 24

func (c *Copying) line(took time.Duration) string {
	done, seconds := c.doneBytes.Load(), took.Seconds()
	line := c.verb
	if c.bytes > 0 {
		part := min(float64(done)/float64(c.bytes), 1)
		full := int(part * barWidth)
		line += fmt.Sprintf(" [%s%s] %3.0f %%", strings.Repeat("#", full), strings.Repeat(" ", barWidth-full), 100*part)
	}
	return line + fmt.Sprintf("  files %d/%d  %.0f of %.0f MB  %.0f MB/s  %.1f s",
		c.doneFiles.Load(), c.files, float64(done)/megabyte, float64(c.bytes)/megabyte, float64(done)/megabyte/seconds, seconds)
}
