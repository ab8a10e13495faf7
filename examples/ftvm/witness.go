package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/examples/internal/nodes"
)

// A witness is a plain HTTP client of the default guest, with one connection for all: it
// counts, and sees whether a count is lost or done twice, or the connection ends.
type witness struct {
	addr   string
	on     bool // the guest is the default one
	kept   bool // its counter may have been kept by one before
	failed chan error
	over   atomic.Bool
	work   sync.WaitGroup

	acked atomic.Int64 // counts that were answered
	pause atomic.Int64 // the longest since Watch, in nanoseconds
}

// patience is how long an answer may take.
const patience = nodes.Patience

// countEvery is the time between two counts.
const countEvery = 5 * time.Millisecond

func newWitness(addr string, on bool) *witness {
	return &witness{addr: addr, on: on, failed: make(chan error, 1)}
}

func (w *witness) start(ctx context.Context) {
	if !w.on {
		return
	}
	w.work.Go(func() {
		if err := w.count(ctx); err != nil && ctx.Err() == nil {
			w.failed <- err
		}
	})
}

// count counts until it is over.
func (w *witness) count(ctx context.Context) error {
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in := bufio.NewReader(conn)
	for !w.over.Load() {
		began := time.Now()
		if err := conn.SetDeadline(began.Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "POST /count/witness HTTP/1.1\r\nHost: guest\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return fmt.Errorf("the connection has ended: %w", err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("the connection has ended: %w", err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("the connection has ended: %w", err)
		}
		got, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return fmt.Errorf("the program answers %q: %w", text, err)
		}
		if want := w.acked.Load() + 1; got != want && !(w.kept && want == 1) {
			return fmt.Errorf("the counter is at %d, where %d was to follow", got, want)
		}
		w.acked.Store(got)
		if took := int64(time.Since(began)); took > w.pause.Load() {
			w.pause.Store(took)
		}
		select {
		case <-time.After(countEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Watch implements nodes.Witness.
func (w *witness) Watch() { w.pause.Store(0) }

// Settle waits until the program has answered again.
func (w *witness) Settle(ctx context.Context) (string, error) {
	if !w.on {
		return "", nil
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for before := w.acked.Load(); w.acked.Load() == before; {
		select {
		case <-ticker.C:
		case err := <-w.failed:
			return "", err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	return fmt.Sprintf("a client saw a pause of %s, on a connection that went on", nodes.Millis(time.Duration(w.pause.Load()))), nil
}

// end ends the counting.
func (w *witness) end() error {
	w.over.Store(true)
	w.work.Wait()
	select {
	case err := <-w.failed:
		return err
	default:
		return nil
	}
}

// report says what was seen.
func (w *witness) report(out io.Writer, kills int) {
	if !w.on {
		return
	}
	fmt.Fprintf(out, "One connection through %d fail-overs: the counter is at %d, and no count was lost or done twice.\n", kills, w.acked.Load())
}
