package vmft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// A Node runs a machine as the primary, follows a primary as its backup, or waits as a
// spare, as the chain of epochs has it. It is the Log that gfs and mapreduce declare.
type Node struct {
	cfg      Config
	addr     string // where others reach it
	server   *rpc.Server
	guard    *rpc.Guard
	detector *detector
	ctx      context.Context
	cancel   context.CancelCauseFunc
	work     sync.WaitGroup
	closing  sync.Once
	ended    chan struct{} // closed when all has been given up; closed is set then
	closed   error
	stats    stats
	trend    trend

	// The goroutine that runs the node's lives owns these; follower and leader use them in
	// turn.
	host  *host
	store *store // nil: no journal
	self  Member
	fresh bool // it has never had any state
	began time.Time

	leading atomic.Pointer[leader]

	mu       sync.Mutex // guards what follows
	follower *follower
	moved    chan struct{} // closed, and replaced, when the role changes
	told     uint64        // the last epoch that Lead has told
	newest   Record        // of the chain, as far as this node knows
	history  []Change
	err      error // why it has ended
	arbiter  error // why the arbiter could not be asked, the last time
	clients  map[string]*rpc.Client
	refusals map[string]string // by peers, of following them
	diverge  uint64            // the position of the last divergence

	divergedAt uint64 // and the instruction count of a processor
}

const (
	methodFollow = "vmft.Follow"
	methodCall   = "vmft.Call"
	methodQuery  = "vmft.Query"
)

// Start starts a node. It returns when the node has recovered what its journal has, if it
// has one, and listens; ctx bounds that alone. Errors are an *Error that matches ErrConfig,
// ErrFingerprint, or whatever the disk or the transport said.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, moved: make(chan struct{}), clients: make(map[string]*rpc.Client), refusals: make(map[string]string), fresh: true, began: time.Now(), ended: make(chan struct{})}
	if err := n.start(ctx); err != nil {
		if n.store != nil {
			err = errors.Join(err, n.store.close())
		}
		return nil, &Error{Op: "start", Addr: cfg.Addr, Err: err}
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	free := n.cfg.free()
	sessions, err := rpc.NewSessionMachine(n.cfg.Machine, n.cfg.Sessions)
	if err != nil {
		return err
	}
	if len(n.cfg.Machine.Fingerprint()) > maxText {
		return invalid("Machine", "has too long a fingerprint")
	}
	n.host = &host{machine: n.cfg.Machine, sessions: sessions, upgrades: n.cfg.Upgrades, free: free}
	if n.cfg.Dir != "" {
		if n.store, n.fresh, err = openStore(n.cfg, n.host); err != nil {
			return err
		}
	}
	n.guard = rpc.NewGuard(calls{n})
	n.server, err = rpc.NewServer(rpc.ServerConfig{
		Cluster: n.cfg.Cluster, Secret: n.cfg.Secret, Limits: n.cfg.Limits, Sessions: n.guard, Logger: n.cfg.Logger,
	})
	if err != nil {
		return err
	}
	rpc.HandleStream(n.server, methodFollow, n.serveFollow)
	rpc.Handle(n.server, methodCall, n.serveCall)
	rpc.Handle(n.server, methodQuery, n.serveQuery)
	rpc.HandleStream(n.server, methodStream, n.serveStream)
	rpc.HandleInline(n.server, methodLive, n.serveLive)
	// A node goes on beyond the ctx of its start.
	n.ctx, n.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	addr, err := n.server.Listen(ctx, n.cfg.Transport, n.cfg.Addr)
	if err != nil {
		return err
	}
	n.addr = addr.String()
	if n.cfg.Advertise != "" {
		n.addr = n.cfg.Advertise
	}
	n.detector = newDetector(n)
	n.detector.listen(ctx, addr.String())
	if n.detector.conn != nil {
		n.work.Go(n.detector.listenTo)
	}
	n.reborn()
	n.work.Go(func() { n.detector.run(n.ctx) })
	n.work.Go(n.run)
	return nil
}

// reborn gives the node another incarnation.
func (n *Node) reborn() {
	n.self = Member{Addr: n.addr, Incarnation: newID()}
	if n.store != nil {
		n.self.Log = n.store.id
	}
}

// run lives one life after the other: as a follower, and then, if it goes live, as the
// primary. A primary that has handed over stays who it is.
func (n *Node) run() {
	var member Record // that names the node as the backup of whom it has handed over to; zero: none does
	for n.ctx.Err() == nil {
		record, live := n.follow(n.ctx, member)
		member = Record{}
		if live {
			member = n.lead(record)
		}
		if member.Epoch == 0 {
			n.reborn()
		}
	}
}

// lead makes the node the primary of a record, until its term ends. It returns the record
// by which it has handed over, if it has.
func (n *Node) lead(record Record) (passed Record) {
	l := &leader{
		n: n, host: n.host, store: n.store, epoch: record.Epoch,
		kick: make(chan struct{}, 1), chain: make(chan struct{}, 1),
		pace: pace{bound: n.cfg.MaxLag},
	}
	l.term, l.end = context.WithCancelCause(context.Background())
	l.core = newPrimary(record.Primary, record, n.host.position)
	l.core.bugs = n.cfg.planted.core
	n.fresh = false
	if n.store != nil {
		l.dirty = make(chan struct{}, 1)
		l.core.synced = 0 // until the syncer has looked
		l.core.released = 0
	}
	l.started.Store(n.host.position)
	l.applier.clock = clock{step: n.cfg.MaxStep}
	l.applier.began = time.Now()
	l.applier.clock.begin(n.host.at, 0)
	if n.host.at == 0 {
		l.applier.clock.last = time.Now().UnixNano() // a new log begins now
	}
	l.flight = newFlight(l)
	if n.store != nil {
		poke(l.dirty)
		l.work.Go(l.syncs)
	}
	l.work.Go(l.apply)
	l.work.Go(l.claims)
	if !record.Backup.IsZero() { // whoever has handed over: it will open a stream
		n.detector.watch(newID(), record.Backup.Addr, l.silent)
		l.work.Go(l.seek)
	}
	n.cfg.Logger.Info("live", "addr", n.addr, "record", record.String())
	n.note(record, "live")
	n.leading.Store(l)
	n.changed()
	select {
	case <-l.term.Done():
	case <-n.ctx.Done():
		l.stop(context.Cause(n.ctx))
		ctx, cancel := context.WithTimeout(context.Background(), 2*n.cfg.Timeout)
		_ = l.drainTaken(ctx) // what is not answered by then is unknown
		cancel()
		l.finish(context.Cause(n.ctx))
	}
	n.leading.Store(nil)
	n.detector.unwatch()
	l.stop(context.Cause(l.term))
	l.work.Wait()
	n.changed()
	return l.core.passed
}

// changed tells whoever waits that the role has changed.
func (n *Node) changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.moved)
	n.moved = make(chan struct{})
}

func (n *Node) setFollower(f *follower) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.follower = f
}

// Addr returns where others reach the node.
func (n *Node) Addr() string { return n.addr }

// PowerOff switches the machine off, on both nodes: the last entry of the log is written,
// and when the backup has it the term ends with ErrPoweredOff. The backup does not go live
// then (§2.4). What is started on a journal later goes on from there.
func (n *Node) PowerOff(ctx context.Context) error {
	l := n.leading.Load()
	if l == nil {
		return &Error{Op: "power off", Addr: n.addr, Err: n.elsewhere()}
	}
	if _, _, err := l.propose(ctx, kindOff, nil); err != nil {
		return &Error{Op: "power off", Addr: n.addr, Err: err}
	}
	n.failed(ErrPoweredOff)
	l.finish(ErrPoweredOff)
	return nil
}

// HandOver makes the backup the primary, in an orderly way, and this node its backup: what
// is in progress is completed first, and clients notice a pause of some milliseconds. Each of
// the two has everything all the time, so that either may be lost. HandOver waits for a
// backup. With an error that is of ctx it may still come to it.
func (n *Node) HandOver(ctx context.Context) error {
	fail := func(err error) error { return &Error{Op: "hand over", Addr: n.addr, Err: err} }
	l := n.leading.Load()
	if l == nil {
		return fail(n.elsewhere())
	}
	for { // let the backup execute what it has, while everything goes on
		l.mu.Lock()
		near := !l.core.record.Backup.IsZero() && l.lag < paceEvery
		l.mu.Unlock()
		if near {
			break
		}
		if err := n.sleep(ctx, n.cfg.Heartbeat); err != nil {
			return fail(err)
		}
	}
	l.hold(true)
	defer l.hold(false)
	if err := l.drainTaken(ctx); err != nil {
		return fail(err)
	}
	if err := l.handOver(ctx, func() Member { return l.core.record.Backup }); err != nil {
		return fail(err)
	}
	select {
	case <-l.term.Done():
		return nil
	case <-ctx.Done():
		return fail(causeOf(ctx))
	}
}

// checkpoint makes a checkpoint of the journal beside the machine, so that the next start
// has little to replay. The machine has executed what the journal has up to a sequence
// number; there may be more in that already.
func (n *Node) checkpoint(ctx context.Context, s *store, h *host, executed uint64, work *sync.WaitGroup) {
	image, err := h.sessions.Freeze()
	if err != nil {
		n.cfg.Logger.Warn("a checkpoint failed; the log goes on", "error", err)
		return
	}
	head := imageHead{position: h.position, at: h.at, fingerprint: h.fingerprint()}
	work.Go(func() {
		if err := s.journal.Checkpoint(executed, &frozen{ctx, head, image}); err != nil && ctx.Err() == nil {
			n.cfg.Logger.Warn("a checkpoint failed; the log goes on", "error", err)
		}
	})
}

// frozen writes an image with its head, while a term lasts.
type frozen struct {
	ctx   context.Context
	head  imageHead
	image io.WriterTo
}

// WriteTo implements io.WriterTo.
func (f *frozen) WriteTo(w io.Writer) (int64, error) {
	w = whileTerm{f.ctx, w}
	n, err := w.Write(f.head.append(nil))
	if err != nil {
		return int64(n), err
	}
	m, err := f.image.WriteTo(w)
	return int64(n) + m, err
}

// Wait blocks until the node has ended, and returns why: nil after Close.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-n.ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.err
	case <-ctx.Done():
		return causeOf(ctx)
	}
}

// failed ends the node, for a reason that is not its owner's.
func (n *Node) failed(why error) {
	n.mu.Lock()
	if n.err == nil {
		n.err = why
	}
	n.mu.Unlock()
	n.cancel(why)
}

// Close ends the node. What has been taken up is still answered, as far as it can be; the
// backup finds that the primary has gone, and takes over. It waits for the command that the
// machine is executing, however long that takes: who cannot calls Shutdown. Further calls
// return the same.
func (n *Node) Close() error { return n.Shutdown(context.Background()) }

// Shutdown is Close, and waits no longer than ctx lasts. With an error that is of ctx the
// node serves nobody any more, or will not in a moment, and its machine must not be touched:
// it is still in a command, or its disk in a sync. The directory is given up after that.
func (n *Node) Shutdown(ctx context.Context) error {
	n.closing.Do(func() {
		n.cancel(ErrClosed)
		go n.end()
	})
	select {
	case <-n.ended:
		return n.closed
	case <-ctx.Done():
		return &Error{Op: "shutdown", Addr: n.addr, Err: fmt.Errorf("the machine or the disk has not come to an end: %w", causeOf(ctx))}
	}
}

// end gives up everything that the node has.
func (n *Node) end() {
	defer close(n.ended)
	if l := n.leading.Load(); l != nil {
		<-l.term.Done()
	}
	err := n.server.Close()
	if n.detector.conn != nil {
		err = errors.Join(err, n.detector.conn.Close())
	}
	n.work.Wait()
	n.mu.Lock()
	clients := slices.Collect(maps.Values(n.clients))
	n.mu.Unlock()
	for _, c := range clients {
		_ = c.Close() // nothing is in progress
	}
	if n.store != nil {
		if serr := n.store.close(); n.err == nil {
			err = errors.Join(err, serr)
		}
	}
	if err != nil {
		n.closed = &Error{Op: "close", Addr: n.addr, Err: err}
	}
}

// sleep waits for d, or until ctx ends.
func (n *Node) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return causeOf(ctx)
	}
}

// pause waits a little after the arbiter could not be asked.
func (n *Node) pause(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	n.cfg.Logger.Warn("the arbiter cannot be asked; waiting", "error", err)
	_ = n.sleep(ctx, n.cfg.Timeout/4) // the caller sees that ctx has ended
}

// consult does one step with the arbiter.
func (n *Node) consult(ctx context.Context, step chainStep) (r Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(4*n.cfg.Timeout, time.Second))
	defer cancel()
	n.mu.Lock()
	known := n.newest
	n.mu.Unlock()
	if step.read {
		if r, err = n.cfg.Arbiter.Newest(ctx); err == nil && r.Epoch < known.Epoch {
			err = fmt.Errorf("the chain ends with epoch %d, and %v is known: it is not the same storage", r.Epoch, known)
		}
	} else {
		r, err = n.cfg.Arbiter.Claim(ctx, step.claim)
	}
	n.mu.Lock()
	n.arbiter = err
	n.mu.Unlock()
	return r, err
}

// unasked takes note that nothing is wanted of the arbiter any more.
func (n *Node) unasked() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.arbiter = nil
}

// gone reports whether nobody listens at an address any more: the process there has ended.
func (n *Node) gone(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout/2)
	defer cancel()
	c, err := n.cfg.Transport.Dial(ctx, addr)
	if err != nil {
		return errors.Is(err, transport.ErrRefused)
	}
	_ = c.Close() // it was only to see
	return false
}
