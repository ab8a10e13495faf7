package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A stream is a connection: two flows of bytes and two ends, in one allocation.
// It runs no goroutine. Whoever reads or writes does the work; what must happen
// later (an arrival, a deadline) is a timer that exists only while it is needed.
type stream struct {
	net *Network

	mu    sync.Mutex // guards all of the flows but the fields marked otherwise
	flows [2]flow    // flows[i] leads from ends[i] to ends[1-i]
	ends  [2]conn
}

// A flow is one direction of a stream.
type flow struct {
	stream     *stream // never changes
	link       *link   // never changes
	number     uint64  // of the stream on its link, for verdicts; never changes
	prev, next *flow   // the link's list; guarded by Network.mu

	readable sync.Cond // bytes, an end, an error, a deadline: waiters look again
	writable sync.Cond // room, an error, a deadline, another Write's end: likewise

	buf     chunks  // from read to written
	written uint64  // bytes accepted from the writer
	arrived uint64  // bytes that the reader may have
	read    uint64  // bytes that the reader had
	transit transit // from arrived to written, where the link delays
	arrival alarm   // rings when the next segment arrives
	writes  uint64  // calls of Write

	ending   notice // the last notice sent
	ended    error  // what Read returns after the last byte, once the notice arrived
	readErr  error  // what Read returns at once: closed here, broken
	writeErr error  // what Write returns
	sink     bool   // nobody will read: bytes are dropped, and never make room again

	reading, writing        bool // somebody copies without the lock
	readPaused, writePaused bool // the host of that end is paused
	crowded                 bool // a writer waits for room
	readDeadline            deadline
	writeDeadline           deadline
}

// unlockedCopy is the size from which bytes are copied without holding the lock.
const unlockedCopy = 2 << 10

// side returns the index of f and of the end that writes.
func (f *flow) side() int {
	if f == &f.stream.flows[0] {
		return 0
	}
	return 1
}

// writer returns the end that writes.
func (f *flow) writer() *conn { return &f.stream.ends[f.side()] }

// reverse returns the other direction.
func (f *flow) reverse() *flow { return &f.stream.flows[1-f.side()] }

// receive is Read.
func (f *flow) receive(p []byte) (int, error) {
	mu := &f.stream.mu
	mu.Lock()
	defer mu.Unlock()
	if len(p) == 0 {
		return 0, f.readErr
	}
	if err := f.awaitReadable(); err != nil {
		return 0, err
	}
	n := int(min(uint64(len(p)), f.arrived-f.read))
	from := f.buf.front()
	if n < unlockedCopy {
		from.copyTo(p[:n])
	} else {
		f.reading = true
		mu.Unlock()
		from.copyTo(p[:n])
		mu.Lock()
		f.reading = false
		f.readable.Broadcast()
	}
	if f.readErr == nil { // else the buffer has gone meanwhile
		f.read += uint64(n)
		f.buf.discard(n)
		f.madeRoom()
	}
	return n, nil
}

// awaitReadable returns when bytes can be read and nobody else reads any.
func (f *flow) awaitReadable() error {
	for {
		switch {
		case f.readErr != nil:
			return f.readErr
		case f.readPaused:
			f.readable.Wait()
			continue
		case f.readDeadline.passed(f.stream.net):
			return os.ErrDeadlineExceeded
		case f.reading:
		case f.arrived > f.read:
			return nil
		case f.ended != nil:
			return f.ended
		}
		if f.readDeadline.alarm.needs(f.readDeadline.at) {
			f.readDeadline.alarm.set(f.stream.net, f.readDeadline.at, f.readAlarm)
		}
		f.readable.Wait()
	}
}

// madeRoom frees what an empty queue need not keep, and wakes writers: not at
// every byte of room, so that they have something to do when they wake up.
func (f *flow) madeRoom() {
	used := f.written - f.read
	if used == 0 && !f.reading && !f.writing {
		f.buf.drop(false)
	}
	if f.crowded && used <= uint64(f.stream.net.cfg.Buffer/2) {
		f.crowded = false
		f.writable.Broadcast()
	}
}

// send is Write.
func (f *flow) send(p []byte) (n int, err error) {
	mu := &f.stream.mu
	mu.Lock()
	defer mu.Unlock()
	if err := f.awaitWritable(false); err != nil || len(p) == 0 {
		return 0, err
	}
	f.writing = true
	fate := f.verdict()
	f.writes++
	for n < len(p) && err == nil && !fate.reset {
		if err = f.awaitWritable(true); err == nil {
			n += f.sendSome(p[n:], fate.delay)
		}
	}
	f.writing = false
	if fate.reset {
		f.link.countReset(f.number)
		f.stream.breakBoth(ErrReset)
		err = ErrReset
	}
	f.writable.Broadcast()
	if f.written == f.read {
		f.madeRoom() // the reader was so fast that it left this to us
	}
	return n, err
}

// sendSome copies as much of p as there is room for and room in one chunk.
func (f *flow) sendSome(p []byte, delay time.Duration) int {
	mu := &f.stream.mu
	room := uint64(f.stream.net.cfg.Buffer) - (f.written - f.read)
	n := int(min(uint64(len(p)), room))
	if f.sink {
		f.written += uint64(n)
		return n
	}
	into := f.buf.reserve(n)
	n = len(into)
	if n < unlockedCopy {
		copy(into, p)
	} else {
		mu.Unlock()
		copy(into, p)
		mu.Lock()
		if f.writeErr != nil || f.sink { // while nobody looked
			return 0
		}
	}
	f.buf.commit(n)
	f.written += uint64(n)
	f.forward(noNotice, n, delay)
	return n
}

// verdict decides on the Write that begins, or on the notice after the last one.
func (f *flow) verdict() writeFate {
	if f.link.plain.Load() {
		return writeFate{}
	}
	return f.link.writeFate(f.number, f.writes)
}

// awaitWritable returns when there is room and, unless the caller is in the
// middle of its Write already (mine), nobody else writes.
func (f *flow) awaitWritable(mine bool) error {
	for {
		switch {
		case f.writeErr != nil:
			return f.writeErr
		case f.writePaused:
			f.writable.Wait()
			continue
		case f.writeDeadline.passed(f.stream.net):
			return os.ErrDeadlineExceeded
		case f.writing && !mine:
		case !mine:
			return nil
		case f.written-f.read >= uint64(f.stream.net.cfg.Buffer), f.transit.full():
			f.crowded = true
		default:
			return nil
		}
		if f.writeDeadline.alarm.needs(f.writeDeadline.at) {
			f.writeDeadline.alarm.set(f.stream.net, f.writeDeadline.at, f.writeAlarm)
		}
		f.writable.Wait()
	}
}

// forward hands what was just written, and a notice after it, to the link.
func (f *flow) forward(what notice, size int, delay time.Duration) {
	if f.transit.empty() && f.link.plain.Load() {
		f.arrive(segment{end: f.written, notice: what})
		return
	}
	now := f.stream.net.now()
	f.transit.push(segment{end: f.written, at: f.link.send(now, size, delay), notice: what})
	f.deliver(now)
}

// deliver lets arrive what is due. It is called when something was sent, when
// the alarm rings, and when a link opens again.
func (f *flow) deliver(now time.Duration) {
	if f.link.blocked.Load() || f.transit.empty() {
		return
	}
	for {
		s, ok := f.transit.pop(now)
		if !ok {
			break
		}
		f.arrive(s)
	}
	if f.crowded { // by a full transit, perhaps
		f.crowded = false
		f.writable.Broadcast()
	}
	if !f.transit.empty() && f.arrival.needs(f.transit.next()) {
		f.arrival.set(f.stream.net, f.transit.next(), f.arrivalAlarm)
	}
}

// arrive makes a segment readable and acts on its notice.
func (f *flow) arrive(s segment) {
	f.arrived = s.end
	switch s.notice {
	case noticeEnd:
		f.ended = io.EOF
	case noticeClosed:
		if f.ended == nil {
			f.ended = io.EOF
		}
		f.reverse().failWrites(ErrReset)
	case noticeReset:
		if f.ended == nil {
			f.ended = ErrReset
		}
		f.reverse().failWrites(ErrReset)
	}
	f.readable.Broadcast()
}

// notify sends a notice behind the last byte, and remembers what has been said.
func (f *flow) notify(what notice) {
	if what <= f.ending {
		return
	}
	f.ending = what
	f.failWrites(net.ErrClosed)
	if f.sink {
		return // nobody is there to be told
	}
	f.forward(what, 0, f.verdict().delay)
}

// failWrites makes every Write return err from now on, unless it already fails.
func (f *flow) failWrites(err error) {
	if f.writeErr == nil {
		f.writeErr = err
	}
	f.writable.Broadcast()
}

// failReads makes every Read return err at once and drops what was unread.
func (f *flow) failReads(err error) {
	if f.readErr == nil {
		f.readErr = err
	}
	f.discard()
	f.readable.Broadcast()
}

// discard drops what is unread and all that will be written. Until a notice tells
// the writer, it may fill the buffer once more.
func (f *flow) discard() {
	if f.sink {
		return
	}
	f.sink = true
	f.buf.drop(f.reading || f.writing)
	f.transit = transit{}
	f.arrival.stop()
	f.read = f.written
	f.writable.Broadcast()
}

// lose drops what has not arrived, because the writer's host has crashed.
func (f *flow) lose() {
	if f.sink {
		return
	}
	f.transit = transit{}
	f.arrival.stop()
	f.written = f.arrived
}

// breakBoth ends the stream at both ends, whatever lies between. It reports
// whether either end was still of use.
func (s *stream) breakBoth(err error) (broken bool) {
	for i := range s.flows {
		f := &s.flows[i]
		broken = broken || f.readErr == nil && f.ended == nil || f.writeErr == nil
		f.failWrites(err)
		f.failReads(err)
	}
	return broken
}

func (f *flow) readAlarm()  { f.ring(&f.readDeadline.alarm, f.readable.Broadcast) }
func (f *flow) writeAlarm() { f.ring(&f.writeDeadline.alarm, f.writable.Broadcast) }

func (f *flow) arrivalAlarm() {
	f.ring(&f.arrival, func() { f.deliver(f.stream.net.now()) })
}

func (f *flow) ring(a *alarm, then func()) {
	f.stream.mu.Lock()
	defer f.stream.mu.Unlock()
	a.at = 0
	then()
}

// A deadline is a time after which calls fail, and an alarm for those that wait.
type deadline struct {
	at    time.Duration // on the network's clock; 0 means none
	alarm alarm
}

func (d *deadline) passed(n *Network) bool { return d.at != 0 && n.now() >= d.at }

// set takes effect on calls that wait already, too, once they are woken.
func (d *deadline) set(n *Network, t time.Time) {
	d.at = 0
	if !t.IsZero() {
		d.at = max(n.since(t), 1)
	}
}

// An alarm is a timer that may ring too early: moving it to later costs
// nothing, and whoever is woken too early sets it again.
type alarm struct {
	timer *time.Timer
	at    time.Duration // when it rings; 0 while it is not set
}

// needs reports whether the alarm must be set in order to ring at or before at.
func (a *alarm) needs(at time.Duration) bool { return at != 0 && (a.at == 0 || at < a.at) }

func (a *alarm) set(n *Network, at time.Duration, ring func()) {
	a.at = at
	if after := at - n.now(); a.timer == nil {
		a.timer = time.AfterFunc(after, ring)
	} else {
		a.timer.Reset(after)
	}
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.at = 0
}
