package shareddisk

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"sync"
	"time"

	"github.com/trilith-go/trilith/vmft/rv64"
)

// A Port is what a Server answers to: a *vmft.Port is one.
type Port interface {
	// Epoch is that of the term.
	Epoch() uint64
	// Term ends with it.
	Term() context.Context
	// Complete gives the machine an event, unless it is nil, and says that outputs are done.
	Complete(event []byte, numbers ...uint64) error
	// CompleteFetched is Complete, with an event that the backup may make for itself by name.
	// The channel is closed when it will not any more.
	CompleteFetched(event, name []byte, numbers ...uint64) (<-chan struct{}, error)
}

// A Server does what one machine wants done on the disk, in one term.
type Server struct {
	disk     *Disk
	port     Port
	byBackup bool
	work     sync.WaitGroup
	stop     chan struct{}
	kick     chan struct{} // wakes the syncer
	timer    *time.Timer   // does, when something has been volatile for a while

	begin sync.Mutex // guards store while it is being made
	store *store

	mu       sync.Mutex // guards what follows
	order    order
	barriers []*job // that the syncer is to do
	volatile []*job // that are done and not durable, in order
	size     int64  // of their bytes
	closed   bool
	idle     chan struct{} // closed when there is nothing to do; nil: nobody waits
}

// A job is a request with its place in the order.
type job struct {
	rv64.DiskRequest
	number uint64 // of the output that it came as
	again  bool   // it may have been done before
	item   *item
}

func newJob(r rv64.DiskRequest, number uint64, again bool) *job {
	j := &job{DiskRequest: r, number: number, again: again}
	i := &item{kind: itemWrites, object: r.Object, from: r.Offset, to: math.MaxInt64, job: j}
	switch r.Kind {
	case rv64.DiskRead:
		i.kind, i.to = itemReads, r.Offset+int64(r.Length)
	case rv64.DiskWrite, rv64.DiskRecord:
		i.to = r.Offset + int64(len(r.Data))
	case rv64.DiskAttach:
		i.kind = itemAlone
	case rv64.DiskRemove:
		i.kind, i.from = itemBarrier, 0
	case rv64.DiskSync, rv64.DiskRoot:
		i.kind, i.from, i.to = itemBarrier, 0, 0
	}
	j.item = i
	return j
}

// Serve returns a Server for the machine behind a port. With byBackup, what is read is not in
// the log: the backup reads it too (§4.2); its vmft.Config.Fetch is a [Disk.Fetch].
func (d *Disk) Serve(port Port, byBackup bool) *Server {
	s := &Server{
		disk: d, port: port, byBackup: byBackup, stop: make(chan struct{}), kick: make(chan struct{}, 1),
		order: order{limit: transfers, bugs: d.bugs.order},
	}
	s.timer = time.AfterFunc(syncEvery, func() { poke(s.kick) })
	s.timer.Stop()
	s.work.Go(s.syncs)
	return s
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Do takes a request, which came as the output of a number, and may have been done before if
// again is set. They come in order. It does not wait, and borrows nothing that it is not
// left: the request is the Server's.
func (s *Server) Do(r rv64.DiskRequest, number uint64, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.order.push(newJob(r, number, again).item)
	s.step()
}

// step begins what can begin. s.mu is held.
func (s *Server) step() {
	if s.closed {
		return
	}
	transfers, barriers := s.order.next()
	for _, i := range transfers {
		s.work.Go(func() { s.transfer(i.job) })
	}
	for _, i := range barriers {
		s.barriers = append(s.barriers, i.job)
	}
	if len(barriers) > 0 {
		poke(s.kick)
	}
	if s.idle != nil && len(s.order.items) == 0 && len(s.volatile) == 0 {
		close(s.idle)
		s.idle = nil
	}
}

// Drain waits until everything is done and durable that was asked for.
func (s *Server) Drain(ctx context.Context) error {
	for {
		s.mu.Lock()
		if len(s.order.items) == 0 && len(s.volatile) == 0 {
			s.mu.Unlock()
			return nil
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		poke(s.kick)
		select {
		case <-idle:
		case <-time.After(retryEvery):
		case <-s.stop:
			return context.Canceled
		case <-s.port.Term().Done():
			return context.Cause(s.port.Term())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close ends the server: nothing more begins, and what has begun has ended when it returns.
func (s *Server) Close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if !closed {
		close(s.stop)
	}
	s.timer.Stop()
	s.work.Wait()
	s.begin.Lock()
	defer s.begin.Unlock()
	if s.store != nil {
		s.store.close()
	}
}

// over reports whether the term has ended, or the server.
func (s *Server) over() bool {
	select {
	case <-s.stop:
		return true
	default:
		return s.port.Term().Err() != nil
	}
}

// pause waits a moment, and reports whether to go on.
func (s *Server) pause() bool {
	t := time.NewTimer(retryEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
	case <-s.port.Term().Done():
	}
	return false
}

var errOver = errors.New("the term is over")

// term returns the store of the term, which begins with the first request. A disk that
// cannot be reached then is waited for. It fails with errOver if the term is over before,
// and with errFenced if the disk is another machine's now.
func (s *Server) term(generation uint64) (*store, error) {
	s.begin.Lock()
	defer s.begin.Unlock()
	var told time.Time
	for s.store == nil {
		store, err := s.disk.begin(generation, s.port.Epoch())
		switch {
		case err == nil:
			s.store = store
		case errors.Is(err, errFenced), errors.Is(err, fs.ErrExist):
			last, e := newestTerm(s.disk.files)
			if e == nil && last.generation == generation { // the next primary has begun
				return nil, errOver
			}
			s.disk.log.Error("the shared disk is another machine's now", "error", err)
			return nil, errFenced
		default:
			if time.Since(told) > patience {
				s.disk.log.Error("the shared disk cannot be used; waiting for it", "error", err)
				told = time.Now()
			}
			if !s.pause() {
				return nil, errOver
			}
		}
	}
	return s.store, nil
}

// transfer does a request that is not a barrier.
func (s *Server) transfer(i *job) {
	store, err := s.term(i.Generation)
	if err == nil && i.Kind == rv64.DiskAttach {
		s.attach(i, store)
		return
	}
	var data []byte
	if err == nil {
		data, err = s.perform(i, store)
		for began := time.Now(); err != nil && i.again && time.Since(began) < retryFor && s.pause(); {
			data, err = s.perform(i, store)
		}
	}
	if err == errOver || err != nil && s.over() {
		return
	}
	if err != nil {
		s.disk.log.Warn("the shared disk fails", "request", i.Kind, "object", i.Object, "offset", i.Offset, "error", err)
	}
	event := rv64.DiskDoneEvent(&i.DiskRequest, errnoOf(err), data)
	switch {
	case i.Kind == rv64.DiskRead && err == nil && s.byBackup:
		s.fetched(i, event)
	case i.Kind == rv64.DiskRead || err != nil:
		s.done(i, event)
	default:
		s.written(i, event)
	}
}

// perform does it once.
func (s *Server) perform(i *job, store *store) (data []byte, err error) {
	switch i.Kind {
	case rv64.DiskRead:
		data = make([]byte, i.Length)
		err = store.readAt(i.Object, data, i.Offset)
	case rv64.DiskWrite:
		err = store.writeAt(i.Object, i.Data, i.Offset)
	case rv64.DiskRecord:
		err = store.writeAt(i.Object, i.Data, i.Offset)
		if errnoOf(err) == errnoNoSpace && store.spend() {
			err = store.writeAt(i.Object, i.Data, i.Offset)
		}
	case rv64.DiskTruncate:
		err = store.truncate(i.Object, i.Offset)
	}
	if err != nil {
		data = nil
	}
	return data, err
}

// done answers a request that nothing more is to be done for.
func (s *Server) done(i *job, event []byte) {
	_ = s.port.Complete(event, i.number) // or the term is over, and the next primary does it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order.done(i.item)
	s.step()
}

// written answers a request whose effect is not durable yet.
func (s *Server) written(i *job, event []byte) {
	_ = s.port.Complete(event)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volatile = append(s.volatile, i)
	s.size += int64(len(i.Data))
	s.order.done(i.item)
	switch {
	case s.size > mostVolatile:
		poke(s.kick)
	case len(s.volatile) == 1:
		s.timer.Reset(syncEvery)
	}
	s.step()
}

// fetched answers a read that the backup does too.
func (s *Server) fetched(i *job, event []byte) {
	done, err := s.port.CompleteFetched(event, i.Append(nil), i.number)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.order.shadow(i.item)
	s.step()
	s.mu.Unlock()
	select {
	case <-done:
	case <-s.stop:
		return
	case <-s.port.Term().Done():
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order.done(i.item)
	s.step()
}

// attach gives the machine its catalog. One that is damaged it never gets: that is told, and
// looked at again, for somebody may put it right.
func (s *Server) attach(i *job, store *store) {
	var told time.Time
	for {
		object, content, err := s.disk.load(store)
		if err == nil {
			s.hand(i, store, object, content)
			return
		}
		if time.Since(told) > patience {
			s.disk.log.Error("the shared disk cannot be attached", "error", err)
			told = time.Now()
		}
		if !s.pause() {
			return
		}
	}
}

func (s *Server) hand(i *job, store *store, object uint64, content []byte) {
	for at := 0; ; {
		part := content[at:min(len(content), at+rv64.MaxCatalogPart)]
		last := at+len(part) == len(content)
		event := rv64.DiskCatalogEvent(i.ID, store.own.generation, object, at, part, last)
		if last {
			s.done(i, event)
			return
		}
		if s.port.Complete(event) != nil {
			return
		}
		at += len(part)
	}
}

// syncs is the goroutine that makes things durable.
func (s *Server) syncs() {
	for {
		select {
		case <-s.kick:
		case <-s.stop:
			return
		case <-s.port.Term().Done():
			return
		}
		s.mu.Lock()
		barriers, volatile := s.barriers, s.volatile
		s.barriers, s.volatile, s.size = nil, nil, 0
		s.mu.Unlock()
		if len(barriers)+len(volatile) == 0 {
			continue
		}
		if !s.sync(barriers, volatile) {
			return
		}
	}
}

// sync makes what is volatile durable, and does barriers then. It reports whether to go on.
// When it fails, the system may have dropped what was written: that has failed then, and the
// program is told by its next fsync, as it would be on any disk.
func (s *Server) sync(barriers, volatile []*job) bool {
	generation := uint64(0)
	for _, i := range append(barriers[:len(barriers):len(barriers)], volatile...) {
		generation = max(generation, i.Generation)
	}
	store, err := s.term(generation)
	if err == errOver {
		return false
	}
	if err == nil {
		err = store.sync()
	}
	if err != nil && s.over() {
		return false
	}
	if err != nil {
		s.disk.log.Warn("the shared disk could not be synced", "error", err)
	}
	numbers := make([]uint64, 0, len(volatile))
	for _, i := range volatile {
		if numbers = append(numbers, i.number); err != nil {
			_ = s.port.Complete(rv64.DiskDoneEvent(&i.DiskRequest, errnoOf(err), nil), i.number)
		}
	}
	if err == nil && len(numbers) > 0 {
		_ = s.port.Complete(nil, numbers...) // or the term is over
	}
	for _, i := range barriers {
		_ = s.port.Complete(s.pass(i, store, err), i.number)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range barriers {
		s.order.done(i.item)
	}
	s.step()
	return true
}

// pass does a barrier after a sync, and returns the answer to it.
func (s *Server) pass(i *job, store *store, err error) (event []byte) {
	switch {
	case i.Kind == rv64.DiskRemove:
		if err == nil {
			err = store.remove(i.Object)
		}
		if err != nil { // the next machine that attaches the disk will
			s.disk.log.Warn("an object could not be removed from the shared disk", "object", i.Object, "error", err)
		}
		return nil
	case i.Kind == rv64.DiskRoot && err == nil:
		if err = store.setRoot(i.Object); errnoOf(err) == errnoNoSpace && store.spend() {
			err = store.setRoot(i.Object)
		}
	}
	return rv64.DiskDoneEvent(&i.DiskRequest, errnoOf(err), nil)
}
