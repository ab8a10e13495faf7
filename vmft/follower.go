package vmft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// A follower is a node while it is not the primary: a spare, a candidate or the backup.
type follower struct {
	n       *Node
	host    *host // the applier's, but while an image is being restored
	ctx     context.Context
	cancel  context.CancelCauseFunc
	work    sync.WaitGroup
	chain   chan struct{} // wakes the claimer
	orphan  chan struct{} // and does so too while it rests between two looks at the chain
	busy    atomic.Int64  // since when the applier is at it, UnixNano; 0: it waits
	beating atomic.Bool   // a sign of life is on its way to the stream
	acks    sync.Pool     // of *[]byte, of acknowledgements that are being written

	mu         sync.Mutex // guards what follows
	core       *backup
	st         *rpc.Stream // from the primary; nil: there is none
	installing bool        // an image is: nothing is claimed
	queue      backlog     // received, not executed
	queued     int64       // bytes of it
	spare      buffers     // of batches that were executed
	full       bool        // it is too much, and nothing is read from the stream
	count      uint64      // of a processor's instructions
	moved      *sync.Cond  // the queue has changed, or all is over
	lost       bool        // the state is not whole: an image was not completed
	ended      bool
	dirty      chan struct{} // wakes the syncer
}

var errLive, errOut = errors.New("live"), errors.New("out")

// follow follows until the node is live, and returns the record by which it is; or until it
// has to begin anew, or ctx ends. It begins as the backup of a record, if that is not zero.
func (n *Node) follow(ctx context.Context, member Record) (Record, bool) {
	f := &follower{n: n, host: n.host, chain: make(chan struct{}, 1), orphan: make(chan struct{}, 1), dirty: make(chan struct{}, 1)}
	f.moved = sync.NewCond(&f.mu)
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	f.core = newRestarted(n.self, n.fresh, n.host.position)
	if member.Epoch != 0 {
		f.core = newMember(n.self, member, n.host.position)
		n.detector.watch(newID(), member.Primary.Addr, f.silent)
	}
	f.core.bugs = n.cfg.planted.core
	if r := n.host.free; r != nil {
		r.become(false)
		f.count, f.lost = r.told, r.fault != nil
	}
	n.setFollower(f)
	f.work.Go(f.claims)
	f.work.Go(f.apply)
	f.work.Go(f.link)
	f.work.Go(f.syncs)
	<-f.ctx.Done()
	f.stop()
	f.work.Wait()
	n.detector.unwatch()
	f.mu.Lock()
	defer f.mu.Unlock()
	n.setFollower(nil)
	return f.core.record, f.core.ready() && ctx.Err() == nil
}

// stop wakes whoever waits.
func (f *follower) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.moved.Broadcast()
	if f.st != nil {
		f.st.Close()
	}
}

// look sees whether it is over. f.mu is held.
func (f *follower) look() {
	switch {
	case f.core.ready():
		f.cancel(errLive)
	case f.core.live: // it still has to execute what it has
		if f.st != nil {
			f.st.Close()
		}
	case f.core.out:
		f.cancel(errOut)
	case !f.core.step().none():
		poke(f.chain)
	}
}

// claims is the goroutine that does with the arbiter what the core wants. A spare looks at
// the chain now and then; what has a member's journal gives the other member time first.
func (f *follower) claims() {
	grace := time.NewTimer(f.n.grace())
	defer grace.Stop()
	for f.ctx.Err() == nil {
		f.mu.Lock()
		step := f.core.step()
		idle := step.none() || f.installing || f.lost && step.claim.Epoch == 0 && f.core.primary.IsZero()
		f.mu.Unlock()
		if idle {
			f.n.unasked()
			select {
			case <-f.chain:
			case <-grace.C:
				f.mu.Lock()
				if f.core.primary.IsZero() { // else it has found one meanwhile
					f.core.lose()
				}
				f.mu.Unlock()
			case <-f.ctx.Done():
			}
			continue
		}
		r, err := f.n.consult(f.ctx, step)
		f.mu.Lock()
		switch {
		case err != nil || f.installing:
		case step.read:
			f.core.saw(r)
		default:
			f.core.claimed(r)
		}
		claim, behind := f.core.claim, f.core.received-f.core.applied
		won := err == nil && f.core.live
		wait := f.core.claim.Epoch == 0 && !f.core.live && !f.core.out
		f.look()
		f.mu.Unlock()
		switch {
		case won:
			f.n.note(r, fmt.Sprintf("its claim was won; %d entries are to be executed", behind))
		case err == nil && step.read && claim.Epoch != 0:
			f.n.note(r, fmt.Sprintf("claims epoch %d", claim.Epoch))
		case err != nil:
			f.n.pause(f.ctx, err)
		case wait:
			f.rest()
		}
	}
}

// rest waits before the chain is looked at again by one that may not claim; not if that has
// become a backup meanwhile, and lost its primary.
func (f *follower) rest() {
	t := time.NewTimer(f.n.cfg.Timeout)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.orphan:
	case <-f.ctx.Done():
	}
}

// grace returns how long a process that begins waits before it contests anything.
func (n *Node) grace() time.Duration {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Timeout)
	defer cancel()
	r, err := n.cfg.Arbiter.Newest(ctx)
	if err == nil && (r.Epoch == 0 || r.Backup.IsZero() && r.entitles(n.self)) {
		return 0 // there is nobody else
	}
	return 2 * n.cfg.Timeout
}

// lose says that the primary gives no sign of life.
func (f *follower) lose() {
	f.mu.Lock()
	record, news := f.core.record, f.core.joined() && !f.core.suspect && !f.core.sealed
	f.core.lose()
	f.mu.Unlock()
	if news {
		f.n.note(record, "the primary seems to be dead")
		poke(f.orphan)
	}
	poke(f.chain)
}

// silent says that no sign of life is heard. That says nothing where there are no packets,
// while the signs are behind a log that there is no room for.
func (f *follower) silent() {
	f.mu.Lock()
	deaf := f.full && f.n.detector.conn == nil
	f.mu.Unlock()
	if !deaf {
		f.lose()
	}
}

// link is the goroutine that finds a primary, and takes in what it sends.
func (f *follower) link() {
	for f.ctx.Err() == nil {
		f.mu.Lock()
		primary, done := f.core.primary, f.core.sealed || f.core.live || f.core.out
		self, position := f.core.self, f.core.received
		f.mu.Unlock()
		switch {
		case done: // until it is live, out, or a spare once more
		case primary.IsZero():
			f.search(self)
		default:
			f.resume(primary, self, position)
		}
		f.n.sleep(f.ctx, f.n.cfg.Heartbeat)
	}
}

// search asks the peers, one after the other, who would be followed.
func (f *follower) search(self Member) {
	for _, peer := range f.n.cfg.Peers {
		if peer == f.n.addr || f.ctx.Err() != nil {
			continue
		}
		req := &followReq{Member: self, Fingerprint: f.host.fingerprint(), Upgrades: f.host.upgrades, Session: newID()}
		st, in, accept, err := f.ask(peer, req)
		if err != nil {
			f.n.refused(peer, err)
			continue
		}
		f.n.refused(peer, nil)
		if err := f.install(st, in, accept); err != nil {
			f.n.cfg.Logger.Info("a clone was not completed", "primary", peer, "error", err)
			st.Close()
			continue
		}
		f.receive(st, in, accept.session)
		return
	}
}

// ask opens a stream to a primary, and returns what it says.
func (f *follower) ask(addr string, req *followReq) (*rpc.Stream, *frames, acceptance, error) {
	c, err := f.n.client(addr)
	if err != nil {
		return nil, nil, acceptance{}, err
	}
	ctx, cancel := context.WithTimeout(f.ctx, max(f.n.cfg.Timeout, time.Second))
	defer cancel()
	st, err := rpc.OpenStream(ctx, c, methodFollow, req)
	if err != nil {
		return nil, nil, acceptance{}, err
	}
	stop := context.AfterFunc(f.ctx, func() { st.Close() })
	in := &frames{r: st}
	kind, payload, err := in.next()
	if err == nil && kind != frameAccept {
		err = errFormat
	}
	var accept acceptance
	if err == nil {
		accept, err = parseAcceptance(payload)
	}
	if err == nil && (accept.session != req.Session || accept.record.Epoch == 0) {
		err = errFormat
	}
	if err != nil {
		stop()
		st.Close()
		return nil, nil, accept, err
	}
	return st, in, accept, nil
}

// become makes the node a candidate that has an image, unless err says that it has none.
func (f *follower) become(self Member, st *rpc.Stream, accept acceptance, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.installing = false
	if err != nil {
		return err
	}
	f.lost = false
	f.n.self = self
	f.core = newCandidate(self, accept.record.Primary, accept.record, accept.session, accept.position)
	f.core.bugs = f.n.cfg.planted.core
	f.st = st
	f.queue, f.queued = backlog{}, 0
	f.n.detector.watch(accept.session, accept.record.Primary.Addr, f.silent)
	return nil
}

// resume opens another stream to the same primary, after the last has ended.
func (f *follower) resume(primary, self Member, position uint64) {
	f.mu.Lock()
	f.core.detach()
	f.mu.Unlock()
	if f.n.gone(f.ctx, primary.Addr) {
		f.lose()
		f.n.sleep(f.ctx, f.n.cfg.Heartbeat)
		return
	}
	req := &followReq{Member: self, Fingerprint: f.host.fingerprint(), Session: newID(), Resume: true, Position: position}
	st, in, accept, err := f.ask(primary.Addr, req)
	f.mu.Lock()
	if err == nil && f.core.attach(accept.session) {
		f.st = st
		f.core.told(accept.record)
		f.n.detector.watch(accept.session, primary.Addr, f.silent)
		f.look()
		f.mu.Unlock()
		f.receive(st, in, accept.session)
		return
	}
	if st != nil {
		st.Close()
	}
	refused := err != nil && rpc.OutcomeOf(err) == rpc.NotExecuted && !f.core.joined() && !f.core.sealed && !f.core.live
	f.mu.Unlock()
	if refused {
		f.dismiss()
	}
}

// receive takes in the log, until the stream ends.
func (f *follower) receive(st *rpc.Stream, in *frames, session ID) {
	err := f.take(in, session)
	f.stir()
	st.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.st = nil
	if f.ctx.Err() == nil && !f.core.live {
		f.n.cfg.Logger.Info("the stream from the primary has ended", "primary", f.core.primary, "error", err)
	}
}

func (f *follower) take(in *frames, session ID) error {
	acks := true
	// On a slow channel signs of life are behind the log. What comes of that is one too: a
	// primary that hangs logs nothing.
	in.news = func() { f.n.detector.heard(session) }
	for {
		if acks && !in.ready() { // one acknowledgement for all that has come together
			if err := f.acknowledge(false); err != nil {
				return err
			}
			f.stir()
			acks = false
		}
		kind, payload, err := in.next()
		if err != nil {
			return err
		}
		switch kind {
		case frameBatch:
			if len(payload) < 8 {
				return errFormat
			}
			acks = true
			err = f.accept(session, le.Uint64(payload), payload[8:])
		case frameBeat:
			if len(payload) != 8 {
				return errFormat
			}
			f.n.detector.heard(session)
			f.mu.Lock()
			f.core.heard()
			f.core.receive(session, f.core.received, le.Uint64(payload))
			f.mu.Unlock()
			acks = true
		case frameRecord:
			var r Record
			if err = r.UnmarshalBinary(payload); err == nil {
				f.mu.Lock()
				f.core.told(r)
				f.look()
				f.mu.Unlock()
				f.n.note(r, "")
			}
		default:
			err = fmt.Errorf("%w: a frame of kind %d from the primary", errFormat, kind)
		}
		if err != nil {
			return err
		}
	}
}

// accept puts a batch into the buffer, and waits while that is full.
func (f *follower) accept(session ID, round uint64, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := parseBatch(append(f.spare.get(len(data)), data...))
	if err != nil {
		return err
	}
	for f.queued > 0 && f.queued+int64(len(data)) > f.n.cfg.BufferBytes && !f.ended {
		f.full = true
		f.moved.Broadcast() // the applier may not have been told yet
		f.moved.Wait()
	}
	if f.full {
		f.full = false
		f.n.detector.heard(session)
	}
	if b.first != f.core.received+1 {
		return fmt.Errorf("%w: entry %d follows %d", errFormat, b.first, f.core.received)
	}
	// What is not received, as by one that claims, must not be in the journal either: another
	// entry will have its place.
	if !f.core.receive(session, b.last, round) {
		return errSession
	}
	if f.n.store != nil {
		if err := f.n.store.append(&b); err != nil {
			f.n.failed(fmt.Errorf("%w: %w", ErrFailed, err))
			return err
		}
	}
	b.each(func(e entry) {
		if e.kind == kindOff { // now, for it may be executed long after the primary has gone
			f.core.powerOff()
		}
	})
	f.queue.push(b)
	f.queued += int64(len(b.data))
	if f.n.store != nil {
		poke(f.dirty)
	}
	return nil
}

// stir wakes the applier: once what has come is acknowledged, for the primary waits for that
// and not for the execution.
func (f *follower) stir() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved.Broadcast()
}

// acknowledge tells the primary what is here, if that is news or always.
func (f *follower) acknowledge(always bool) error {
	f.mu.Lock()
	position, round, news := f.core.ack()
	a := acknowledgement{position, round, f.core.applied}
	st := f.st
	if st == nil || !news && (!always || f.core.sign() == 0) {
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	b, _ := f.acks.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	defer f.acks.Put(b)
	var payload [24]byte
	*b = appendFrame((*b)[:0], frameAck, a.append(payload[:0]))
	_, err := st.Write(*b)
	return err
}
