package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// echoBytes is about what a request to stat a file and its answer take on the wire.
const echoBytes = 64

// An echoServer returns what it reads: the least that a server of many connections has
// to do, with one goroutine each.
type echoServer struct {
	ln   net.Listener
	work sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

var _ gfsServer = (*echoServer)(nil)

func startEcho(ctx context.Context, addr string) (*echoServer, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &echoServer{ln: ln}
	s.work.Go(s.accept)
	return s, nil
}

func (s *echoServer) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		s.work.Go(func() {
			buf := make([]byte, echoBytes)
			for {
				if _, err := io.ReadFull(conn, buf); err != nil {
					return
				}
				if _, err := conn.Write(buf); err != nil {
					return
				}
			}
		})
	}
}

// Wait blocks until ctx ends.
func (s *echoServer) Wait(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s *echoServer) Close() error {
	err := s.ln.Close()
	s.mu.Lock()
	for _, conn := range s.conns {
		err = errors.Join(err, conn.Close())
	}
	s.mu.Unlock()
	s.work.Wait()
	return err
}

// openEcho has as many connections to an echo server as there are clients otherwise, each
// of which sends again when it has its answer. Nothing that keeps a connection for each
// client can have more exchanges.
func openEcho(ctx context.Context, w *workspace) (cell, error) {
	server, err := startNode(ctx, gfsNode{Echo: true})
	if err != nil {
		return nil, err
	}
	l := &load{}
	var conns []net.Conn
	l.close = func() (err error) {
		for _, conn := range conns {
			err = errors.Join(err, conn.Close())
		}
		server.stop()
		return err
	}
	for range w.clients {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", server.addr)
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		conns = append(conns, conn)
		buf := make([]byte, echoBytes)
		l.callers = append(l.callers, func() error {
			if _, err := conn.Write(buf); err != nil {
				return err
			}
			_, err := io.ReadFull(conn, buf)
			return err
		})
	}
	return &opsCell{load: *l}, nil
}
