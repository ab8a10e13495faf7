package rpc

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// An outflow is a payload on its way out in chunks. Guarded by the mux's lock.
type outflow struct {
	kind   frameKind
	id     uint64
	rest   [2][]byte // what has not been handed to the transport: fields, body
	stream *Stream   // whose credit it uses, if it is a stream's
	queued bool      // in mux.bulk
	busy   int       // bytes of it that are in a write
	sent   int       // bytes that the transport has taken, or that were copied for it
	cut    bool      // to be sent no further
	last   func()    // called, if not nil, before the last chunk leaves
	done   func(err error)
}

// size returns how many bytes the next chunk may have.
func (o *outflow) size() int {
	n := min(len(o.rest[0]), maxChunk)
	if n == 0 {
		n = min(len(o.rest[1]), maxChunk)
	}
	if o.stream != nil {
		n = int(min(int64(n), o.stream.credit))
	}
	return n
}

// next takes the next chunk, which is then in a write.
func (o *outflow) next() []byte {
	n := o.size()
	i := 0
	if len(o.rest[0]) == 0 {
		i = 1
	}
	chunk := o.rest[i][:n]
	o.rest[i] = o.rest[i][n:]
	if o.stream != nil {
		o.stream.credit -= int64(n)
	}
	o.busy += n
	if o.last != nil && o.empty() {
		o.last()
	}
	return chunk
}

func (o *outflow) empty() bool { return len(o.rest[0]) == 0 && len(o.rest[1]) == 0 }

// finish ends the flow; the caller holds the lock.
func (o *outflow) finish(err error) {
	o.rest = [2][]byte{}
	if done := o.done; done != nil {
		o.done = nil
		done(err)
	}
}

// pushBulk queues o, unless it has no credit. The lock is held.
func (m *mux) pushBulk(o *outflow) {
	if !o.queued && o.busy == 0 && !o.cut && o.size() > 0 {
		o.queued = true
		m.bulk = append(m.bulk, o)
	}
}

// cutBulk takes o out of the way and ends it, at once or, if a chunk of it is
// in a write, when that is over. The lock is held.
func (m *mux) cutBulk(o *outflow) {
	o.cut = true
	if o.queued {
		i := slices.Index(m.bulk, o)
		m.bulk = slices.Delete(m.bulk, i, i+1)
		o.queued = false
	}
	if o.busy == 0 {
		o.finish(nil)
	}
}

// buffered returns the buffer of frames that wait, to append to. The lock is
// held.
func (m *mux) buffered() *buffer {
	if m.out == nil {
		if m.out = m.spare; m.out == nil {
			m.out = getBuffer(max(1<<10, m.usual))
		}
		m.spare = nil
	}
	return m.out
}

// add appends a frame to those that wait. The lock is held.
func (m *mux) add(kind frameKind, id uint64, payload []byte) {
	o := m.buffered()
	o.b = appendHead(o.b, kind, id, len(payload))
	o.b = append(o.b, payload...)
}

// full reports whether too many frames wait. Only frames whose number nothing else
// bounds need to ask. The lock is held.
func (m *mux) full() bool { return m.err == nil && m.out != nil && len(m.out.b) > maxPending }

// awaitRoom waits until it is worth asking full again, or stop is closed, and
// reports whether that came first. The lock is held on entry and on return.
func (m *mux) awaitRoom(stop <-chan struct{}) (stopped bool) {
	if m.room == nil {
		m.room = make(chan struct{})
	}
	room := m.room
	m.mu.Unlock()
	defer m.mu.Lock()
	select {
	case <-room:
	case <-m.ended:
	case <-stop:
		return true
	}
	return false
}

// stirRoom wakes all who wait for room. The lock is held.
func (m *mux) stirRoom() {
	if m.room != nil {
		close(m.room)
		m.room = nil
	}
}

// waitRoom waits until the frames that wait are few. The lock is held on entry
// and on return.
func (m *mux) waitRoom(ctx context.Context) error {
	for m.full() {
		if m.awaitRoom(ctx.Done()) {
			return ctxError(ctx)
		}
	}
	return m.err
}

// rounds of writing before the role is handed on.
const (
	noRounds     = 0  // do not write here
	fewRounds    = 2  // a caller that waits for its answer
	workerRounds = 16 // a goroutine of ours that has nothing else to do
	allRounds    = -1
)

// unlockAndWrite sees to it that what waits is written: here, for at most so
// many rounds, or by a goroutine of its own. The lock is held on entry.
func (m *mux) unlockAndWrite(rounds int) {
	if m.writing || m.err != nil || m.out == nil && len(m.bulk) == 0 {
		m.mu.Unlock()
		return
	}
	m.writing = true
	m.mu.Unlock()
	if rounds == noRounds {
		go m.write(allRounds)
		return
	}
	m.write(rounds)
}

// write is the writer's loop.
func (m *mux) write(rounds int) {
	m.mu.Lock()
	for m.err == nil && (m.out != nil || len(m.bulk) > 0) {
		if rounds == 0 {
			m.mu.Unlock()
			go m.write(allRounds)
			return
		}
		rounds--
		m.gather()
		out := m.buffered()
		m.out, m.ponging = nil, false
		m.stirRoom()
		m.usual = max(min(len(out.b), maxUsual), m.usual-m.usual/8)
		o, chunk := m.nextChunk(out)
		if chunk != nil {
			m.vector = append(m.pieces[:0], out.b, chunk)
			m.moreChunks(o)
		}
		m.mu.Unlock()
		err := m.send(out.b, chunk != nil)
		m.mu.Lock()
		m.recycle(out)
		if o != nil {
			m.chunkSent(o, err)
		}
		if err != nil {
			m.failLocked(fmt.Errorf("%w: %w", ErrConnLost, err))
		}
	}
	m.writing = false
	if m.drained != nil {
		m.drained()
	}
	if m.silent != nil {
		close(m.silent)
		m.silent = nil
	}
	m.mu.Unlock()
}

// gather lets others who are about to add frames do so first, so that all leave
// in one write, for as long as some do. The lock is held.
func (m *mux) gather() {
	if m.gathered {
		m.gathered = false
		return
	}
	for range maxYields {
		if m.pending < 2 || m.out == nil || len(m.bulk) > 0 {
			return // nobody else is here, or bulk keeps the writer busy enough
		}
		before := len(m.out.b)
		m.mu.Unlock()
		runtime.Gosched()
		m.mu.Lock()
		if m.out == nil || len(m.out.b) == before {
			return
		}
	}
}

// maxYields bounds how often a writer waits for others.
const maxYields = 4

// maxUsual bounds the buffer that a busy connection starts a round with.
const maxUsual = 64 << 10

// nextChunk takes the next chunk in turn and appends its frame head to out. A
// small one is copied there whole, and has left as far as its flow is concerned:
// nobody needs to wait for the write to get memory back.
func (m *mux) nextChunk(out *buffer) (*outflow, []byte) {
	if len(m.bulk) == 0 {
		return nil, nil
	}
	o := m.bulk[0]
	m.bulk = slices.Delete(m.bulk, 0, 1)
	o.queued = false
	chunk := o.next()
	n := len(chunk)
	out.b = appendHead(out.b, o.kind, o.id, n)
	if n <= copiedChunk {
		out.b = append(out.b, chunk...)
		m.chunkSent(o, nil)
		return nil, nil
	}
	return o, chunk
}

// moreChunks adds chunks of the only call's message or body to a write, if that is all
// there is to be sent, as long as the transport takes them so quickly that nobody waits
// for that. A peer falls asleep when it has read what there was, and to wake it takes
// about as long as to copy a chunk: of few large writes more is on its way when it looks.
// If the connection becomes slow in the middle of such a write, a call that comes then
// waits for all of it. A stream, beside which calls come all the time, adds nothing. The
// lock is held.
func (m *mux) moreChunks(o *outflow) {
	if o.stream != nil {
		return
	}
	for i := range m.heads {
		if m.swift < 2 || len(m.bulk) > 0 || m.pending > 1 || o.size() <= copiedChunk {
			return
		}
		chunk := o.next()
		m.vector = append(m.vector, appendHead(m.heads[i][:0], o.kind, o.id, len(chunk)), chunk)
	}
}

// swiftWrite is how long a write of chunks takes at most on a connection that is swift.
const swiftWrite = 2 * time.Millisecond

// copiedChunk is the size up to which a chunk is copied beside the frames that wait.
const copiedChunk = 4 << 10

func (m *mux) chunkSent(o *outflow, err error) {
	if err == nil {
		o.sent += o.busy
		err = m.err
	}
	o.busy = 0
	switch {
	case err != nil, o.cut, o.empty():
		o.finish(err)
	default:
		m.pushBulk(o)
	}
}

// recycle keeps out for the next round, or frees it if it has become large or
// nothing waits.
func (m *mux) recycle(out *buffer) {
	if m.spare == nil && m.out != nil && cap(out.b) <= 256<<10 {
		out.b = out.b[:0]
		m.spare = out
		return
	}
	out.free()
	if m.out == nil {
		m.spare.free()
		m.spare = nil
	}
}

// send hands frames to the transport, or the vector that they are the first piece of.
func (m *mux) send(frames []byte, vector bool) (err error) {
	if !vector {
		m.ctr.bytesOut.Add(int64(len(frames)))
		return m.put(frames)
	}
	for _, piece := range m.vector {
		m.ctr.bytesOut.Add(int64(len(piece)))
	}
	began := time.Now()
	if m.tcp != nil {
		_, err = m.vector.WriteTo(m.tcp)
	} else {
		for i := 0; i < len(m.vector) && err == nil; i++ {
			err = m.put(m.vector[i])
		}
	}
	if m.swift++; time.Since(began) > swiftWrite {
		m.swift = 0
	}
	m.pieces = [len(m.pieces)][]byte{}
	return err
}

// lendPatience is how long the owner of memory that is being sent, who wants it
// back, waits for the transport to take one chunk.
const lendPatience = time.Second

// reclaim waits until the writer has let go of memory. A connection that takes
// nothing is given up: to wait for it would be to ignore a deadline.
func (m *mux) reclaim(letGo <-chan struct{}) {
	t := time.NewTimer(lendPatience)
	defer t.Stop()
	select {
	case <-letGo:
	case <-t.C:
		m.fail(fmt.Errorf("%w: the peer has not taken a chunk of %d bytes in %v", ErrConnLost, maxChunk, lendPatience))
		<-letGo
	}
}
