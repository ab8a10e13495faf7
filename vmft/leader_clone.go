package vmft

import (
	"context"
	"fmt"
	"hash/crc64"
	"io"
	"slices"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// clone makes a follower: it sends an image and takes note of who has it then.
func (l *leader) clone(ctx context.Context, s *session, in *frames, upgrade bool) error {
	l.mu.Lock()
	c := l.core
	if c.waits() || c.sealed || c.fenced || c.claim.Epoch != 0 || !c.peer.member.IsZero() || l.cloning {
		if c.record.Backup.Addr == s.member.Addr && c.record.Backup.Incarnation != s.member.Incarnation {
			c.lose() // the backup was started again, and the one we knew has gone
			poke(l.chain)
		}
		l.mu.Unlock()
		return errBusy
	}
	l.cloning = true
	l.mu.Unlock()
	began := time.Now()
	err := l.sendImage(ctx, s, in, upgrade)
	l.mu.Lock()
	if err != nil || l.session != s {
		if l.session == nil {
			l.kept, l.keptSize = nil, 0
		}
		l.cloning = false
	}
	l.mu.Unlock()
	l.hold(false)
	l.room()
	if err == nil {
		l.n.stats.cloned(time.Since(began))
	}
	return err
}

// seek looks whether the backup is there that is to open a stream.
func (l *leader) seek() {
	l.mu.Lock()
	addr, found := l.core.record.Backup.Addr, l.session != nil
	l.mu.Unlock()
	if !found && l.n.gone(l.term, addr) {
		l.silent()
	}
}

// sendImage freezes the machine and streams the image, at a bounded rate, and attaches the
// follower that it makes.
func (l *leader) sendImage(ctx context.Context, s *session, in *frames, upgrade bool) error {
	if upgrade { // nothing is to come after the image
		l.hold(true)
		drained, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := l.drainTaken(drained); err != nil {
			return err
		}
	}
	image, accept, err := l.freeze(s)
	if err != nil {
		return err
	}
	w := &imageFrames{ctx: ctx, term: l.term, st: s.st, rate: l.n.cfg.CloneRate, began: time.Now()}
	if _, err := s.st.Write(appendFrame(nil, frameAccept, accept.append(nil))); err != nil {
		return err
	}
	if _, err := image.WriteTo(w); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return err
	}
	kind, payload, err := in.next()
	if err != nil {
		return err
	}
	var r Record
	if kind != frameAttach || r.UnmarshalBinary(payload) != nil || r.Primary.IsZero() {
		return errFormat
	}
	if err := l.adopt(s, r, accept.position, w.began); err != nil || !upgrade {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return l.handOver(ctx, func() Member { return s.member })
}

// adopt makes who has become a clone the follower.
func (l *leader) adopt(s *session, r Record, position uint64, began time.Time) error {
	var released crowd
	defer func() { l.deliver(released) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n.note(l.core.record, fmt.Sprintf("a clone was made in %v; the machine stood still for %v", // before it is a member
		time.Since(began).Round(time.Microsecond), time.Duration(l.n.stats.pause.Load()).Round(time.Microsecond)))
	s.member = r.Primary // of the frame: who it is from now on
	if !l.cloning || !l.core.attach(s.member, s.id, position) {
		return errBusy
	}
	l.session, s.sent, l.cloning, l.applied = s, position, false, position
	l.n.detector.watch(s.id, s.member.Addr, l.silent)
	l.admit1()
	released = l.settle()
	s.wake()
	return nil
}

// freeze returns an image of now; what is logged from here on is kept for the follower.
func (l *leader) freeze(s *session) (io.WriterTo, acceptance, error) {
	type frozen struct {
		image  io.WriterTo
		accept acceptance
		err    error
	}
	done := make(chan frozen, 1) // whoever waits may have gone
	l.do(func() {
		began := time.Now()
		var image io.WriterTo
		err := l.flight.rebase()
		if err == nil {
			image, err = l.host.sessions.Freeze()
		}
		l.n.stats.paused(time.Since(began))
		l.mu.Lock()
		defer l.mu.Unlock()
		l.trim(l.host.position)
		done <- frozen{image, acceptance{record: l.core.record, session: s.id, position: l.host.position, at: l.host.at, fingerprint: l.host.fingerprint()}, err}
	})
	select {
	case f := <-done:
		return f.image, f.accept, f.err
	case <-l.term.Done():
		return nil, acceptance{}, context.Cause(l.term)
	}
}

// trim forgets what the follower has. l.mu is held.
func (l *leader) trim(position uint64) {
	l.trimmed = max(l.trimmed, position)
	n := 0
	for n < len(l.kept) && l.kept[n].last <= position {
		b := &l.kept[n]
		l.keptSize -= int64(len(b.data))
		if b.last <= l.executed { // else the applier has it still
			l.spare.put(b.data)
		}
		n++
	}
	if n == len(l.kept) {
		clear(l.kept)
		l.kept = l.kept[:0]
	} else if n > 0 {
		l.kept = slices.Delete(l.kept, 0, n)
	}
}

// imageFrames sends an image as frames.
type imageFrames struct {
	ctx, term context.Context
	st        *rpc.Stream
	rate      int64
	began     time.Time
	buf       []byte
	length    uint64
	sum       uint64
}

const imageChunk = 256 << 10

// Write implements io.Writer.
func (w *imageFrames) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if w.term.Err() != nil {
			return n, context.Cause(w.term)
		}
		part := p[:min(len(p), imageChunk)]
		w.sum = crc64.Update(w.sum, crcTable, part)
		w.length += uint64(len(part))
		w.buf = appendFrame(w.buf[:0], frameImage, part)
		if _, err := w.st.Write(w.buf); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
		if err := w.throttle(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// throttle waits until the image is no further than its rate allows.
func (w *imageFrames) throttle() error {
	if w.rate < 0 {
		return nil
	}
	ahead := time.Duration(float64(w.length)/float64(w.rate)*float64(time.Second)) - time.Since(w.began)
	if ahead < time.Millisecond {
		return nil
	}
	t := time.NewTimer(ahead)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.term.Done():
		return context.Cause(w.term)
	case <-w.ctx.Done():
		return causeOf(w.ctx)
	}
}

func (w *imageFrames) finish() error {
	_, err := w.st.Write(appendFrame(nil, frameWhole, le.AppendUint64(le.AppendUint64(nil, w.length), w.sum)))
	return err
}
