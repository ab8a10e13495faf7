package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
)

// The limit of a replicated log is a log that does nothing else: callers put their commands
// into a buffer, of which one of them writes what has come together; the other side keeps
// what it has read and answers with how much that is; and an answer lets all go whose
// commands it covers. There are no terms, no machine, no errors but a broken connection.
type logLimit struct {
	conn net.Conn

	mu      sync.Mutex // guards what follows
	pending []byte
	spare   []byte          // the buffer that pending changes places with
	waiting []chan struct{} // of the callers, in the order of their commands
	writing bool
	err     error
}

// openLogLimit sets it up with so many callers.
func openLogLimit(ctx context.Context, callers int) (cell, error) {
	conn, server, err := tcpPair(ctx)
	if err != nil {
		return nil, err
	}
	l := &logLimit{conn: conn}
	var running sync.WaitGroup
	running.Go(func() { acknowledgeAll(server) })
	running.Go(l.read)
	c := &callsCell{load{close: func() error {
		err := conn.Close()
		running.Wait()
		return err
	}}}
	for range callers {
		cmd, done := make([]byte, commandSize), make(chan struct{}, 1)
		c.callers = append(c.callers, func() error { return l.call(cmd, done, callers > 1) })
	}
	return c, nil
}

// call has a command sent, and waits until it is acknowledged.
func (l *logLimit) call(cmd []byte, done chan struct{}, yield bool) error {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return l.err
	}
	l.pending = append(l.pending, cmd...)
	l.waiting = append(l.waiting, done)
	first := !l.writing
	l.writing = true
	l.mu.Unlock()
	for first {
		if yield { // to those that the last answer has woken
			runtime.Gosched()
		}
		l.mu.Lock()
		out := l.pending
		if first = len(out) > 0; !first {
			l.writing = false
			l.mu.Unlock()
			break
		}
		l.pending, l.spare = l.spare[:0], nil
		l.mu.Unlock()
		if _, err := l.conn.Write(out); err != nil {
			l.conn.Close() // read tells everybody
		}
		l.mu.Lock()
		l.spare = out
		l.mu.Unlock()
	}
	<-done
	return nil
}

// read lets callers go, until the connection ends.
func (l *logLimit) read() {
	var answer [8]byte
	released := uint64(0)
	for {
		_, err := io.ReadFull(l.conn, answer[:])
		acked := binary.LittleEndian.Uint64(answer[:])
		l.mu.Lock()
		if err != nil {
			l.err, acked = err, released+uint64(len(l.waiting))
		}
		n := int(acked - released)
		for _, done := range l.waiting[:n] {
			done <- struct{}{}
		}
		l.waiting = l.waiting[:copy(l.waiting, l.waiting[n:])]
		l.mu.Unlock()
		if released = acked; err != nil {
			return
		}
	}
}

// acknowledgeAll answers with the number of whole commands that have come.
func acknowledgeAll(conn net.Conn) {
	defer conn.Close()
	kept := make([]byte, 1<<20)
	have, answer := 0, make([]byte, 8)
	for got := uint64(0); ; {
		n, err := conn.Read(kept[have:])
		if err != nil {
			return
		}
		got += uint64(n)
		if have += n; len(kept)-have < limitBuffer {
			have = 0 // the log is kept in a ring
		}
		if _, err := conn.Write(binary.LittleEndian.AppendUint64(answer[:0], got/commandSize)); err != nil {
			return
		}
	}
}
