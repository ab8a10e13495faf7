package vmft

import (
	"fmt"
	"time"
)

// apply is the goroutine that executes the log.
func (f *follower) apply() {
	var scratch []byte
	for {
		f.mu.Lock()
		for f.queue.empty() && !f.ended {
			f.moved.Wait()
		}
		if f.ended && !f.core.live || f.queue.empty() {
			f.mu.Unlock()
			return
		}
		b := f.queue.next()
		f.mu.Unlock()
		f.busy.Store(time.Now().UnixNano())
		fetched, given := false, true
		b.each(func(e entry) {
			if e.kind == kindFetched && f.host.free != nil {
				fetched, given = true, given && f.fetch(e)
			}
			if !given {
				return
			}
			scratch = f.host.apply(e, scratch[:0])
			if e.kind == kindCheck {
				f.check()
			}
		})
		f.busy.Store(0)
		if !given || f.astray() {
			return
		}
		f.mu.Lock()
		f.core.apply(b.last)
		f.queued -= int64(len(b.data))
		f.spare.put(b.data)
		f.moved.Broadcast()
		if f.core.live {
			f.look()
		}
		f.mu.Unlock()
		if fetched { // somebody waits for that
			_ = f.acknowledge(true) // the receiver sees that the stream is broken
		}
		if f.n.store != nil && f.n.store.logged.Load() >= f.n.cfg.CheckpointBytes {
			f.n.store.logged.Store(0)
			f.n.checkpoint(f.ctx, f.n.store, f.host, b.sequence, &f.work)
		}
	}
}

// check hashes the state and tells the primary. It runs on the applier.
func (f *follower) check() {
	position := f.host.position
	sum, err := f.host.hash(f.ctx, &f.work)
	if err != nil {
		f.n.cfg.Logger.Warn("the state could not be hashed", "error", err)
	}
	f.work.Go(func() {
		var frame []byte // empty: there is none
		if err == nil {
			if h, ok := <-sum; ok {
				frame = le.AppendUint64(le.AppendUint64(nil, position), h)
			}
		}
		f.mu.Lock()
		st := f.st
		f.mu.Unlock()
		if st != nil {
			_, _ = st.Write(appendFrame(nil, frameHash, frame)) // or the next one counts
		}
	})
}

// syncs is the goroutine that makes the journal safe, and acknowledges what is.
func (f *follower) syncs() {
	for {
		select {
		case <-f.dirty:
		case <-f.ctx.Done():
			return
		}
		store := f.n.store
		if store == nil {
			continue
		}
		for last := uint64(0); ; {
			f.mu.Lock()
			installing := f.installing
			f.mu.Unlock()
			if installing {
				break
			}
			position, err := store.sync()
			if err != nil {
				f.n.failed(fmt.Errorf("%w: %w", ErrFailed, err))
				return
			}
			if position == last {
				break
			}
			last = position
			f.mu.Lock()
			f.core.sync(position)
			f.mu.Unlock()
			_ = f.acknowledge(false) // the receiver sees that the stream is broken
		}
	}
}
