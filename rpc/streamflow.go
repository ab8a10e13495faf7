package rpc

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// await takes the next buffer that has arrived as st.cur. If there is none, it
// lends p to the connection's reader, so that what arrives next is copied once
// less, and returns how much has come.
func (st *Stream) await(p []byte, limit <-chan struct{}) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var err error
	for st.got == 0 {
		switch {
		case st.rclosed:
			err = ErrClosed
		case len(st.arrived) > 0:
			st.cur = st.arrived[0]
			st.arrived[0] = arrival{}
			st.arrived = st.arrived[1:]
			st.want = nil
			return 0, nil
		case st.rend != nil:
			err = st.rend
		case st.want == nil && len(p) >= minDirect:
			st.want = p
		}
		if err != nil {
			break
		}
		st.mu.Unlock()
		select {
		case <-st.ready:
		case <-limit:
			err = os.ErrDeadlineExceeded
		}
		st.mu.Lock()
		if err != nil {
			break
		}
	}
	if st.filling { // p is needed back, at once
		letGo := make(chan struct{})
		st.letGo = letGo
		st.m.nc.SetReadDeadline(time.Unix(1, 0))
		st.mu.Unlock()
		<-letGo
		st.mu.Lock()
	}
	n := st.got
	st.want, st.got = nil, 0
	if n > 0 {
		err = nil
	}
	return n, err
}

// minDirect is the smallest memory that Read lends to the connection's reader.
const minDirect = 4 << 10

// fill reads up to n payload bytes from the connection into the memory of a Read
// that waits, if one does, with a single read.
func (st *Stream) fill(n int) (got int, tried bool, err error) {
	st.mu.Lock()
	if st.want == nil || st.got > 0 || st.rclosed || st.rend != nil || len(st.arrived) > 0 {
		st.mu.Unlock()
		return 0, false, nil
	}
	dst := st.want[:min(n, len(st.want))]
	st.filling = true
	st.mu.Unlock()
	got, err = st.m.in.read(dst)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.filling = false
	if st.letGo != nil {
		st.m.nc.SetReadDeadline(time.Time{})
		close(st.letGo)
		st.letGo = nil
		if isTimeout(err) {
			err = nil
		}
	}
	st.want, st.got = nil, got
	st.unread += int64(got)
	if st.unread > st.window {
		return got, true, errBeyondWindow
	}
	st.wake()
	return got, true, err
}

var errBeyondWindow = fmt.Errorf("%w: a stream's peer sent beyond its window", ErrProtocol)

// giveBack lets the peer send as much again as has been read, once that is a
// fair part of the window. If nothing is left unread, the window and not the
// reader held the peer up: it gets a larger one, as far as the limits allow.
func (st *Stream) giveBack(n int64) {
	st.mu.Lock()
	st.owed += n
	owed := st.owed
	if owed < st.window/4 || st.rend != nil {
		st.mu.Unlock()
		return
	}
	st.owed = 0
	st.unread -= owed
	more := int64(0)
	if len(st.arrived) == 0 {
		more = min(st.window, int64(st.m.lim.StreamWindowBytes)-st.window)
	}
	st.mu.Unlock()
	m := st.m
	m.mu.Lock()
	if m.streams[st.id] == st {
		if more > 0 && (m.budget == nil || m.budget.reserve(more)) {
			st.mu.Lock()
			st.window += more
			st.mu.Unlock()
			owed += more
		}
		m.appendCredit(st.id, owed)
	}
	m.unlockAndWrite(fewRounds)
}

// wake tells the reader that something changed.
func (st *Stream) wake() {
	select {
	case st.ready <- struct{}{}:
	default:
	}
}

// deliver takes bytes from the connection, which are in d. It reports whether the peer
// kept within its window.
func (st *Stream) deliver(d *delivery, b []byte) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.unread += int64(len(b))
	if st.unread > st.window {
		return false
	}
	if st.rclosed || st.rend != nil {
		return true
	}
	if last := len(st.arrived) - 1; last < 0 || !st.arrived[last].append(d, b) {
		d.holders.Add(1)
		st.arrived = append(st.arrived, arrival{d, b})
	}
	st.wake()
	return true
}

// creditLocked lets n more bytes be sent, and is the server's word that it has
// taken the stream. The mux is locked.
func (st *Stream) creditLocked(n int64) {
	st.answer(nil)
	st.credit += n
	if st.out != nil {
		st.m.pushBulk(st.out)
	}
}

// readData moves the payload of a data frame to its stream: straight into the
// memory of a Read that waits, or into buffers.
func (m *mux) readData(h frameHead) error {
	if h.size > maxChunk {
		return fmt.Errorf("%w: %d bytes of a stream in one frame", ErrProtocol, h.size)
	}
	m.mu.Lock()
	st := m.streams[h.id]
	m.mu.Unlock()
	if st == nil { // it ended here while this was under way
		return m.in.skip(h.size)
	}
	var d *delivery
	defer func() { d.release() }()
	for n := h.size; n > 0; {
		got, tried, err := st.fill(n)
		if err != nil {
			return err
		}
		if n -= got; tried {
			runtime.Gosched() // so that Read may be back before there is more
			continue
		}
		if d == nil {
			d = newDelivery(n)
		}
		at := d.filled
		got, err = m.in.read(d.buf.b[at : at+n])
		if got == 0 {
			if err != nil {
				return err
			}
			continue
		}
		n -= got
		d.filled += got
		if !st.deliver(d, d.buf.b[at:at+got]) {
			return errBeyondWindow
		}
		runtime.Gosched() // likewise
	}
	return nil
}
