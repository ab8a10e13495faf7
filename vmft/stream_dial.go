package vmft

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const (
	methodLive = "vmft.Live"

	// livePeriod is how often a client that has streams asks whether their node is live. What
	// the rpc client makes of silence breaks the streams of one that was stopped.
	livePeriod = 100 * time.Millisecond

	attachPause    = 5 * time.Millisecond // between two attempts, at first
	attachPauseMax = 100 * time.Millisecond
	attachLasts    = time.Second // an attachment that was of use
)

func newStreamID() (id streamID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// A streamDialer attaches the streams of a client to the node that is live.
type streamDialer struct {
	rpc    *rpc.Client
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	streams  int
	watching bool
}

func newStreamDialer(c *rpc.Client) *streamDialer {
	d := &streamDialer{rpc: c}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

func (d *streamDialer) close() {
	d.cancel()
	d.work.Wait()
}

// An attachment is what a node has welcomed.
type attachment struct {
	st      *rpc.Stream
	in      *bufio.Reader
	said    talkAckment // by the hello
	welcome talkFrameIn
}

// attach attaches a stream, and tries until ctx ends.
func (d *streamDialer) attach(ctx context.Context, h *streamHello) (*attachment, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.ctx, func() { cancel(ErrClosed) })()
	for pause := attachPause; ; pause = min(2*pause, attachPauseMax) {
		a, err := d.hello(ctx, h)
		if err == nil || errors.Is(err, ErrStreamRefused) || errors.Is(err, ErrStreamLost) {
			return a, err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("%w: %w", causeOf(ctx), err)
		}
	}
}

// hello asks the node that the rpc client has found, and whatever that points to.
func (d *streamDialer) hello(ctx context.Context, h *streamHello) (*attachment, error) {
	st, err := rpc.OpenStream(ctx, d.rpc, methodStream, h)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { st.Close() })
	a := &attachment{st: st, in: bufio.NewReaderSize(st, talkBatch), said: h.ack}
	a.welcome, _, err = readTalk(a.in, nil)
	if !stop() && err == nil {
		err = causeOf(ctx)
	}
	switch {
	case err != nil:
	case a.welcome.kind != talkWelcome:
		err = errFormat
	case a.welcome.status == welcomeRefused:
		err = ErrStreamRefused
	case a.welcome.status == welcomeGone:
		err = ErrStreamLost
	}
	if err != nil {
		st.Close()
		return nil, err
	}
	return a, nil
}

// count takes note of a stream that begins, or ends.
func (d *streamDialer) count(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.streams += n; d.streams > 0 && !d.watching {
		d.watching = true
		d.work.Go(d.watch)
	}
}

// watch has something wait for an answer now and then, as long as there are streams: without
// that, nobody would miss a node that was stopped.
func (d *streamDialer) watch() {
	ticker := time.NewTicker(livePeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-d.ctx.Done():
			return
		}
		d.mu.Lock()
		if d.streams == 0 {
			d.watching = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		ctx, cancel := context.WithTimeout(d.ctx, time.Second)
		_, _ = rpc.Call[rpc.Empty](ctx, d.rpc, methodLive, &rpc.Empty{}) // what counts is that it was asked
		cancel()
	}
}
