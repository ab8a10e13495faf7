package gfs

import (
	lru "container/list"
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// Limits of a pushBuffer.
const (
	// DefaultBufferBytes is the budget of a chunkserver's buffer of pushed data.
	DefaultBufferBytes = 128 << 20
	// minBufferBytes is the least that it can do with.
	minBufferBytes = 4 << 20
	// expectedData is how many data may be waited for that have not begun to arrive.
	expectedData = 1 << 16
	// roomWait is how long data that arrives waits for room.
	roomWait = 10 * time.Second
)

// A pushBuffer keeps the data that clients have pushed until it is used or aged out
// (§3.1), within a budget of bytes. What has not been used for longest goes first, but
// nothing that is being used or is arriving: when these fill the budget, what arrives
// waits. It may be used concurrently.
type pushBuffer struct {
	budget int64

	mu     sync.Mutex // guards what follows, and all data but what its owner alone may touch
	data   map[dataID]*pushed
	recent *lru.List     // of *pushed: complete and not in use, the last used first
	held   int64         // bytes of memory
	hopes  int           // data that is waited for and has not begun to arrive
	room   chan struct{} // closed, and made anew, when there may be more
	waits  int           // who waits for that
}

// pushed is data in the buffer, or data that somebody waits for. It begins without
// memory, grows as the data arrives, and is complete at last. Memory is freed when it is
// in the table no more and nobody uses it, who receives it included.
type pushed struct {
	blob
	id     dataID
	slabs  []*slab     // what parts are in,
	pieces []rpc.Piece // or the stream's own memory: one for each of parts
	held   int64       // bytes of memory

	ready   chan struct{} // closed when it is complete
	arrives bool          // a stream is receiving it: it alone touches the blob
	whole   bool          // complete
	out     bool          // not in the table
	pins    int           // users, and those who wait
	elem    *lru.Element  // in recent
}

func newPushBuffer(budget int64) *pushBuffer {
	return &pushBuffer{budget: budget, data: make(map[dataID]*pushed), recent: lru.New(), room: make(chan struct{})}
}

// limit returns how much one data may have.
func (b *pushBuffer) limit() int { return int(min(b.budget/4, maxPush)) }

// begin makes room for data that is about to arrive. If it is there already, or arriving,
// the one that came first stays, and what arrives now is in no table: it is freed when it
// is complete.
func (b *pushBuffer) begin(f *pushFrame) *pushed {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.data[f.id]
	switch {
	case p == nil:
		p = &pushed{id: f.id, ready: make(chan struct{})}
		b.data[f.id] = p
	case p.arrives || p.whole:
		p = &pushed{id: f.id, ready: make(chan struct{}), out: true}
	default:
		b.hopes--
	}
	p.arrives = true
	p.n, p.phase, p.sums = f.n, f.phase, append([]uint32(nil), f.sums...)
	return p
}

// grow adds memory for n bytes of the data, and returns it. It waits for room.
func (b *pushBuffer) grow(ctx context.Context, p *pushed, n int) ([]byte, error) {
	m := newSlab(n)
	if err := b.hold(ctx, p, cap(m.b)); err != nil {
		m.free()
		return nil, err
	}
	p.slabs, p.parts = append(p.slabs, m), append(p.parts, m.b)
	return m.b, nil
}

// keep adds bytes of the data in the memory in which they have arrived. It waits for room.
func (b *pushBuffer) keep(ctx context.Context, p *pushed, piece rpc.Piece) error {
	if last := len(p.pieces) - 1; last >= 0 && p.pieces[last].Join(&piece) {
		p.parts[last] = p.pieces[last].Bytes()
		return nil
	}
	if err := b.hold(ctx, p, piece.Memory()); err != nil {
		piece.Free()
		return err
	}
	p.pieces, p.parts = append(p.pieces, piece), append(p.parts, piece.Bytes())
	return nil
}

// hold counts more memory for data that is arriving. It waits for room.
func (b *pushBuffer) hold(ctx context.Context, p *pushed, n int) error {
	size := int64(n)
	var limit <-chan time.Time
	for {
		b.mu.Lock()
		for b.held+size > b.budget && b.recent.Len() > 0 {
			b.remove(b.recent.Back().Value.(*pushed))
		}
		if b.held+size <= b.budget {
			b.held += size
			p.held += size
			b.mu.Unlock()
			return nil
		}
		room := b.room
		b.waits++
		b.mu.Unlock()
		if limit == nil {
			timer := time.NewTimer(roomWait)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-room:
		case <-limit:
			return fmt.Errorf("%w: the buffer of pushed data is full", ErrUnavailable)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// complete makes data complete that is arriving. It stays in memory until end.
func (b *pushBuffer) complete(p *pushed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.whole = true
	close(p.ready)
}

// end ends the arrival of data. What is not complete will not be.
func (b *pushBuffer) end(p *pushed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.arrives = false
	switch {
	case p.whole || p.out:
		b.settle(p)
	case p.pins > 0: // perhaps it comes another way
		b.free(p)
		b.hopes++
	default:
		b.remove(p)
	}
}

// get waits until data of n bytes is complete, and pins it: unpin must follow. It fails
// with errNoData when it has waited for some time and the data is not even arriving.
func (b *pushBuffer) get(ctx context.Context, id dataID, n int64, wait time.Duration) (*pushed, error) {
	p, err := b.expect(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ready:
	default:
		err = b.await(ctx, p, wait)
	}
	if err == nil && int64(p.n) != n {
		err = fmt.Errorf("%w: data of %d bytes, not %d", fs.ErrInvalid, p.n, n)
	}
	if err != nil {
		b.unpin(p)
		return nil, err
	}
	return p, nil
}

// expect pins data, which may not be there yet.
func (b *pushBuffer) expect(id dataID) (*pushed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.data[id]
	if p == nil {
		if b.hopes >= expectedData {
			return nil, fmt.Errorf("%w: too much is waited for", errNoData)
		}
		p = &pushed{id: id, ready: make(chan struct{})}
		b.data[id] = p
		b.hopes++
	}
	if p.pins++; p.elem != nil {
		b.recent.Remove(p.elem)
		p.elem = nil
	}
	return p, nil
}

func (b *pushBuffer) await(ctx context.Context, p *pushed, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-p.ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		b.mu.Lock()
		arrives := p.arrives || p.whole
		b.mu.Unlock()
		if !arrives {
			return fmt.Errorf("%w: %x:%d", errNoData, p.id.client, p.id.n)
		}
		timer.Reset(wait)
	}
}

// unpin ends the use of data.
func (b *pushBuffer) unpin(p *pushed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.pins--
	b.settle(p)
}

// settle puts data where it belongs when it is neither arriving nor in use. b.mu is held.
func (b *pushBuffer) settle(p *pushed) {
	switch {
	case p.pins > 0 || p.arrives:
	case p.out:
		b.free(p)
	case p.whole:
		p.elem = b.recent.PushFront(p)
		b.stir()
	default:
		b.hopes--
		b.remove(p)
	}
}

// drop forgets data that has been used. Who uses it still, may.
func (b *pushBuffer) drop(p *pushed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(p)
}

// remove takes data out of the table. b.mu is held.
func (b *pushBuffer) remove(p *pushed) {
	if !p.out {
		delete(b.data, p.id)
		p.out = true
	}
	if p.elem != nil {
		b.recent.Remove(p.elem)
		p.elem = nil
	}
	if p.pins == 0 && !p.arrives {
		b.free(p)
	}
}

// free gives the memory of data back. b.mu is held.
func (b *pushBuffer) free(p *pushed) {
	for _, m := range p.slabs {
		m.free()
	}
	for i := range p.pieces {
		p.pieces[i].Free()
	}
	b.held -= p.held
	p.blob, p.slabs, p.pieces, p.held = blob{}, nil, nil, 0
	b.stir()
}

// stir wakes those who wait for room. b.mu is held.
func (b *pushBuffer) stir() {
	if b.waits == 0 {
		return
	}
	b.waits = 0
	close(b.room)
	b.room = make(chan struct{})
}

// stats returns how many bytes of memory are in use, and for how many data.
func (b *pushBuffer) stats() (bytes int64, data int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held, len(b.data)
}
