package gfs

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

const (
	// pushStall is how long a segment of pushed data may take to arrive, and
	// forwardStall how long the next member may take to accept a stretch of it.
	pushStall    = 30 * time.Second
	forwardStall = 5 * time.Second
	// copiedPush is the size up to which data is copied out of the memory in which it
	// arrives, which it may share with other data.
	copiedPush = 64 << 10
)

// A receiver is a chunkserver's end of one stream of pushed data: see push.go.
type receiver struct {
	buffer *pushBuffer
	st     *rpc.Stream
	next   *nextMember // nil: the last member
	head   []byte
	frame  pushFrame
	count  *atomic.Int64 // of the bytes that arrive

	// Of the data that is arriving:
	verified int    // bytes, up to the end of a piece
	sum      uint32 // of what has come of the piece after them
}

// serve receives data until the stream ends.
func (r *receiver) serve(ctx context.Context) error {
	for {
		if err := r.readHead(); err != nil {
			if errors.Is(err, io.EOF) {
				return r.next.finish()
			}
			return err
		}
		p := r.buffer.begin(&r.frame)
		err := r.receive(ctx, p)
		r.buffer.end(p)
		if err != nil {
			return err
		}
	}
}

// readHead reads the head of the next frame. It returns io.EOF if there is none.
func (r *receiver) readHead() error {
	if cap(r.head) < pushHead {
		r.head = make([]byte, pushHead, 1024)
	}
	r.head = r.head[:pushHead]
	if _, err := io.ReadFull(r.st, r.head); err != nil {
		return err
	}
	if err := r.frame.parse(r.head, r.buffer.limit()); err != nil {
		return err
	}
	for left := 4 * pushPieces(r.frame.phase, r.frame.n); left > 0; { // memory follows what arrives
		n, at := min(left, 4096), len(r.head)
		r.head = append(r.head, make([]byte, n)...)
		if err := r.readFull(r.head[at:]); err != nil {
			return err
		}
		left -= n
	}
	return r.frame.parseSums(r.head)
}

// readFull reads what must come.
func (r *receiver) readFull(p []byte) error {
	_, err := io.ReadFull(r.st, p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// receive reads the data of a frame, verifies it and passes it on.
func (r *receiver) receive(ctx context.Context, p *pushed) error {
	r.next.begin(p.id, r.head)
	r.verified, r.sum = 0, 0
	for at, due := 0, 0; at < p.n; {
		if at >= due {
			if err := r.st.SetReadDeadline(time.Now().Add(pushStall)); err != nil {
				return err
			}
			due += segmentSize
		}
		arrived, err := r.more(ctx, p, at)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		from := r.verified
		if err := r.verify(p, at, arrived); err != nil {
			return err
		}
		at += len(arrived)
		r.count.Add(int64(len(arrived)))
		if at == p.n {
			r.buffer.complete(p)
		}
		_ = p.each(from, r.verified, func(b []byte) error { // which never fails
			r.next.forward(b)
			return nil
		})
	}
	if err := r.st.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if r.next == nil {
		_, err := r.st.Write(appendAck(nil, p.id, 0))
		return err
	}
	return r.next.sent()
}

// more takes what comes next of the data, from a place on, into the buffer.
func (r *receiver) more(ctx context.Context, p *pushed, at int) ([]byte, error) {
	if p.n <= copiedPush {
		memory, err := r.buffer.grow(ctx, p, p.n)
		if err == nil {
			err = r.readFull(memory)
		}
		return memory, err
	}
	piece, err := r.st.ReadPiece(p.n - at)
	if err != nil {
		return nil, err
	}
	arrived := piece.Bytes()
	return arrived, r.buffer.keep(ctx, p, piece)
}

// verify holds what has arrived of the data, at a place, against the sums.
func (r *receiver) verify(p *pushed, at int, arrived []byte) error {
	for len(arrived) > 0 {
		end := pieceEnd(p.phase, r.verified, p.n)
		n := min(len(arrived), end-at)
		r.sum = crc32.Update(r.sum, blockPoly, arrived[:n])
		at, arrived = at+n, arrived[n:]
		if at < end {
			break
		}
		piece := (p.phase + r.verified) / blockSize
		if r.sum != p.sums[piece] {
			return fmt.Errorf("%w in piece %d of pushed data", ErrChecksum, piece)
		}
		r.verified, r.sum = end, 0
	}
	return nil
}

// A nextMember is the next member of a chain, as the one before sees it. A nil one is
// none: the chain ends here. Once it is lost, what is passed on to it is acknowledged as
// lost to all that come from there on.
type nextMember struct {
	behind int         // members from it on
	st     *rpc.Stream // nil: it was never reached
	up     *rpc.Stream // where acknowledgements go
	stall  *time.Timer // closes st
	logf   func(err error)
	head   []byte        // of a frame: it leaves with the first of the data
	ended  chan struct{} // closed when no more acknowledgements come

	mu      sync.Mutex // guards what follows, and the order of acknowledgements
	lost    bool
	owing   []dataID // passed on, not acknowledged, in order
	partial bool     // the last of them is still being passed on
}

// openNext opens the stream to the next member.
func openNext(ctx context.Context, up *rpc.Stream, client *rpc.Client, rest []location, logf func(error)) *nextMember {
	n := &nextMember{behind: len(rest), up: up, logf: logf, ended: make(chan struct{})}
	st, err := rpc.OpenStream(ctx, client, methodPush, &pushReq{rest: rest[1:]})
	if err != nil {
		logf(err)
		n.lost = true
		close(n.ended)
		return n
	}
	n.st = st
	n.stall = time.AfterFunc(time.Hour, func() { st.Close() })
	n.stall.Stop()
	go n.listen()
	return n
}

// begin passes the head of a frame on, which stays as it is until sent is called.
func (n *nextMember) begin(id dataID, head []byte) {
	if n == nil {
		return
	}
	n.mu.Lock()
	n.owing, n.partial = append(n.owing, id), true
	n.mu.Unlock()
	n.head = head
}

// forward passes bytes on.
func (n *nextMember) forward(p []byte) {
	if n == nil || len(p) == 0 || n.isLost() {
		return
	}
	n.stall.Reset(forwardStall)
	_, err := n.st.WriteAfter(n.head, p)
	n.stall.Stop()
	n.head = nil
	if err != nil {
		n.lose(err)
	}
}

func (n *nextMember) isLost() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost
}

// lose gives the next member up. What it owes is acknowledged in its place.
func (n *nextMember) lose(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lost {
		return
	}
	n.lost = true
	if err != io.EOF {
		n.logf(err)
	}
	n.st.Close()
	for len(n.owing) > 1 || len(n.owing) == 1 && !n.partial {
		if n.give(n.behind) != nil {
			return // it will be seen by who reads from there
		}
	}
}

// sent notes that all of the data that came last has been passed on.
func (n *nextMember) sent() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.partial = false
	if n.lost && len(n.owing) > 0 {
		return n.give(n.behind)
	}
	return nil
}

// give acknowledges the data that is owed for longest. n.mu is held.
func (n *nextMember) give(lost int) error {
	id := n.owing[0]
	n.owing = n.owing[1:]
	_, err := n.up.Write(appendAck(nil, id, lost))
	return err
}

// listen passes acknowledgements on until the next member ends the stream.
func (n *nextMember) listen() {
	defer close(n.ended)
	var ack [pushAck]byte
	for {
		if _, err := io.ReadFull(n.st, ack[:]); err != nil {
			n.lose(err)
			return
		}
		if err := n.acknowledged(parseAck(ack[:])); err != nil {
			n.lose(err)
			return
		}
	}
}

// acknowledged passes one acknowledgement on.
func (n *nextMember) acknowledged(id dataID, lost uint32) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.owing) == 0 || n.owing[0] != id {
		return fmt.Errorf("%w: acknowledgement of data that was not sent", rpc.ErrProtocol)
	}
	return n.give(int(min(lost, uint32(n.behind))))
}

// finish ends the stream to the next member after everything that was sent, and waits
// until it has been acknowledged.
func (n *nextMember) finish() error {
	if n == nil || n.st == nil {
		return nil
	}
	if err := n.st.CloseWrite(); err != nil {
		return err
	}
	n.stall.Reset(pushStall)
	<-n.ended
	return nil
}

// close gives the next member up, whatever is under way.
func (n *nextMember) close() {
	if n == nil || n.st == nil {
		return
	}
	n.stall.Stop()
	n.st.Close()
	<-n.ended
}
