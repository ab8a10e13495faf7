package vmft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// A session is a stream to the follower, on the side of the primary.
type session struct {
	l      *leader
	id     ID
	member Member
	st     *rpc.Stream
	kick   chan struct{} // there is something to be sent
	ended  chan struct{}
	once   sync.Once
	hello  []byte // the first thing to be sent, if there is one

	sent uint64 // the last position that went out; guarded by l.mu
	last bool   // nothing is to be appended any more: the follower takes over; guarded by l.mu
	beat bool   // a sign of life is due; guarded by l.mu
	told Record // the newest record that went out; guarded by l.mu

	goal  uint64    // a position that was the last of the log; guarded by l.mu
	since time.Time // when it was; guarded by l.mu
	stops uint64    // of the machine until then; guarded by l.mu
}

// wake has the session look for something to send. A nil session does nothing.
func (s *session) wake() {
	if s != nil {
		poke(s.kick)
	}
}

// close ends the session. A nil one does nothing.
func (s *session) close() {
	if s != nil {
		s.once.Do(func() { close(s.ended) })
	}
}

// serve answers a node that wants to follow; it lasts as long as the stream.
func (l *leader) serve(ctx context.Context, req *followReq, st *rpc.Stream) error {
	if req.Session == 0 || req.Member.IsZero() {
		return rpc.Refuse(errFormat)
	}
	upgrade := false
	if req.Fingerprint != l.host.fingerprint() {
		if upgrade = slices.Contains(req.Upgrades, l.host.fingerprint()); !upgrade {
			l.dismiss(req.Member)
			return rpc.Refuse(fmt.Errorf("%w: the primary runs %q, the follower %q", ErrFingerprint, l.host.fingerprint(), req.Fingerprint))
		}
	}
	s := &session{l: l, id: req.Session, member: req.Member, st: st, last: upgrade, kick: make(chan struct{}, 1), ended: make(chan struct{})}
	stop := context.AfterFunc(l.term, s.close)
	defer stop()
	in := &frames{r: st}
	if req.Resume {
		if err := l.resume(s, req); err != nil {
			return rpc.Refuse(err)
		}
	} else if err := l.clone(ctx, s, in, upgrade); err != nil {
		l.n.cfg.Logger.Info("a clone was not completed", "member", req.Member, "error", err)
		return rpc.Refuse(err)
	}
	l.follow(s, in)
	return nil
}

// resume takes a follower up again that has lost its stream.
func (l *leader) resume(s *session, req *followReq) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.core.peer.member != req.Member || !l.core.attach(req.Member, s.id, req.Position) { // what one that was dropped lacks is not kept
		return errBusy
	}
	l.session.close()
	l.session, s.sent = s, req.Position
	l.n.detector.watch(s.id, req.Member.Addr, l.silent)
	s.beat = true
	s.wake()
	accept := acceptance{record: l.core.record, session: s.id, position: req.Position, fingerprint: l.host.fingerprint()}
	s.hello = appendFrame(nil, frameAccept, accept.append(nil))
	return nil
}

// follow feeds a follower and takes its acknowledgements, until the stream ends.
func (l *leader) follow(s *session, in *frames) {
	var fed sync.WaitGroup
	fed.Go(s.feed)
	err := s.receive(in)
	s.close()
	fed.Wait()
	l.mu.Lock()
	current := l.session == s && !l.core.fenced
	if current {
		l.session = nil
	}
	l.mu.Unlock()
	if !current {
		return
	}
	l.n.cfg.Logger.Info("the stream to the follower has ended", "member", s.member, "error", err)
	// Has the process gone with it?
	if l.n.gone(l.term, s.member.Addr) {
		l.silent()
	}
}

// silent says that the follower gives no sign of life.
func (l *leader) silent() {
	l.letGo()
	l.room() // of what is not kept any more
	l.mu.Lock()
	awaits := l.flight.awaits()
	l.mu.Unlock()
	l.nudge(awaits)
}

func (l *leader) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cloning || l.session != nil && l.core.peer.session != l.session.id {
		return // it is another follower than the one that is made or fed now
	}
	l.core.lose()
	if l.core.peer.member.IsZero() && !l.core.waits() {
		l.drop()
	}
	poke(l.chain)
}

// feed sends what the follower does not have.
func (s *session) feed() {
	defer s.st.Close()
	buf := s.hello
	if len(buf) > 0 {
		if _, err := s.st.Write(buf); err != nil {
			return
		}
	}
	for {
		s.l.mu.Lock()
		buf = s.collect(buf[:0])
		s.l.mu.Unlock()
		if len(buf) > 0 {
			if _, err := s.st.Write(buf); err != nil {
				return
			}
			s.l.n.stats.logged.Add(int64(len(buf)))
			if cap(buf) > 4<<20 {
				buf = nil
			}
			continue
		}
		select {
		case <-s.kick:
		case <-s.ended:
			return
		}
	}
}

// collect appends the frames that are to be sent. l.mu is held.
func (s *session) collect(buf []byte) []byte {
	c := s.l.core
	if c.record != s.told {
		s.told = c.record
		r, _ := c.record.AppendBinary(nil) // never fails
		buf = appendFrame(buf, frameRecord, r)
	}
	kept := s.l.kept
	n, _ := slices.BinarySearchFunc(kept, s.sent+1, func(b batch, first uint64) int {
		return int(int64(b.first - first))
	})
	if n == len(kept) && c.asked == c.sent && !s.beat {
		return buf
	}
	var round [8]byte
	le.PutUint64(round[:], c.send())
	for _, b := range kept[n:] {
		if len(buf) > 1<<20 {
			poke(s.kick)
			break
		}
		buf = appendFrame(buf, frameBatch, round[:], b.data)
		s.sent = b.last
	}
	if n == len(kept) {
		buf = appendFrame(buf, frameBeat, round[:])
	}
	s.beat = false
	return buf
}

// receive takes the frames of the follower.
func (s *session) receive(in *frames) error {
	l := s.l
	for {
		kind, payload, err := in.next()
		if err != nil {
			return err
		}
		switch kind {
		case frameAck:
			a, err := parseAcknowledgement(payload)
			if err != nil {
				return err
			}
			if err := l.acknowledged(s, a); err != nil {
				return err
			}
		case frameBeat:
			l.n.detector.heard(s.id)
		case frameHash:
			if err := l.theirs(s, payload); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: a frame of kind %d from a follower", errFormat, kind)
		}
	}
}

var errSession = errors.New("the session has ended")

// acknowledged takes note of what the follower has.
func (l *leader) acknowledged(s *session, a acknowledgement) error {
	l.mu.Lock()
	if l.session != s || !l.core.ack(s.id, a.position, a.round) {
		l.mu.Unlock()
		return errSession
	}
	l.applied = max(l.applied, a.applied)
	l.trim(a.position)
	l.admit1()
	released := l.settle()
	stopped, awaits := l.stopped, l.flight.awaits()
	l.mu.Unlock()
	l.deliver(released)
	if stopped {
		l.room()
	}
	l.nudge(awaits)
	return nil
}

// admit1 makes the backup of a candidate that has nearly everything. l.mu is held.
func (l *leader) admit1() {
	if l.session != nil && !l.session.last && !l.core.waits() && l.session.nearly() && l.core.admit(l.session.id) {
		poke(l.chain)
	}
}

// admitBelow is how many bytes a candidate may lack in any case when outputs begin to wait for it.
const admitBelow = 1 << 20

// nearly reports whether a candidate lacks little of the log: few bytes or, where more than
// those are always on their way, what it takes in within half a timeout. One that will not
// lack less, for the machine stands still again and again until it has taken more in, is as
// near as it can be. l.mu is held.
func (s *session) nearly() bool {
	l := s.l
	if l.keptSize < admitBelow {
		return true
	}
	if l.core.peer.acked < s.goal {
		return false
	}
	stops := l.n.stats.stops.Load()
	near := !s.since.IsZero() && (stops > s.stops || time.Since(s.since) < l.n.cfg.Timeout/2)
	s.goal, s.since, s.stops = l.core.appended, time.Now(), stops
	return near
}

// frames reads frames from a stream.
type frames struct {
	r    io.Reader
	news func() // if not nil, called when something has come
	buf  []byte
	from int // where the next one begins
}

// next returns the next frame; it is valid until the call after.
func (f *frames) next() (kind byte, payload []byte, err error) {
	for {
		kind, payload, rest, need, err := cutFrame(f.buf[f.from:])
		if err != nil {
			return 0, nil, err
		}
		if kind != 0 {
			f.from = len(f.buf) - len(rest)
			return kind, payload, nil
		}
		if err := f.fill(need); err != nil {
			return 0, nil, err
		}
	}
}

// ready reports whether a whole frame has been read already.
func (f *frames) ready() bool {
	kind, _, _, _, err := cutFrame(f.buf[f.from:])
	return kind != 0 || err != nil
}

// fill reads more, into a buffer that holds need bytes from the next frame's begin on.
func (f *frames) fill(need int) error {
	left := len(f.buf) - f.from
	if size := max(need, 64<<10); cap(f.buf) < size || f.from > 0 && cap(f.buf)-len(f.buf) < need-left {
		buf := f.buf[:0]
		if cap(f.buf) < size {
			buf = make([]byte, 0, size)
		}
		buf = buf[:left]
		copy(buf, f.buf[f.from:])
		f.buf, f.from = buf, 0
	} else if left == 0 {
		f.buf, f.from = f.buf[:0], 0
	}
	if len(f.buf) == cap(f.buf) {
		copy(f.buf, f.buf[f.from:])
		f.buf, f.from = f.buf[:left], 0
	}
	n, err := f.r.Read(f.buf[len(f.buf):cap(f.buf)])
	f.buf = f.buf[:len(f.buf)+n]
	if n > 0 {
		if f.news != nil {
			f.news()
		}
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
