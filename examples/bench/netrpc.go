package main

import (
	"context"
	"errors"
	"net"
	"net/rpc"
	"sync"
)

// NetService is what the standard library's net/rpc serves, with its gob codec.
type NetService struct{ bulk []byte }

// Echo returns what it is sent.
func (s *NetService) Echo(req []byte, resp *[]byte) error {
	*resp = req
	return nil
}

// Bulk returns bulkSize bytes.
func (s *NetService) Bulk(_ []byte, resp *[]byte) error {
	*resp = s.bulk
	return nil
}

// Sink takes what it is sent.
func (s *NetService) Sink([]byte, *struct{}) error { return nil }

// sinkWindow is how many calls of Sink are on their way at a time: net/rpc has no
// streams, and this is the nearest to one that it can do.
const sinkWindow = 16

// openNetRPC sets net/rpc up as it is usually called, with a new reply for each
// call.
func openNetRPC(ctx context.Context, c rpcCase) (*load, error) { return startNetRPC(ctx, c, false) }

// openNetRPCReuse decodes into the reply of the call before, which gob does if the
// caller has known to leave it there. It matters where responses are large.
func openNetRPCReuse(ctx context.Context, c rpcCase) (*load, error) {
	if c.kind != bulk {
		return nil, nil
	}
	return startNetRPC(ctx, c, true)
}

func startNetRPC(_ context.Context, c rpcCase, reuse bool) (*load, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("S", &NetService{bulk: newBulkBody()}); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	var served sync.WaitGroup
	served.Go(func() {
		if conn, err := ln.Accept(); err == nil {
			server.ServeConn(conn) // returns when the client has closed
		}
	})
	client, err := rpc.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	l := &load{close: func() error {
		err := errors.Join(client.Close(), ln.Close())
		served.Wait()
		return err
	}}
	for i := range c.callers {
		l.callers = append(l.callers, netCaller(client, c.kind, i, reuse))
	}
	return l, nil
}

func netCaller(client *rpc.Client, kind rpcKind, id int, reuse bool) caller {
	if kind == stream {
		return netSink(client)
	}
	method := "S.Echo"
	if kind == bulk {
		method = "S.Bulk"
	}
	e := newExchange(kind, id)
	resp := e.resp
	return func() error {
		e.next()
		if !reuse {
			resp = nil
		}
		if err := client.Call(method, e.req, &resp); err != nil {
			return err
		}
		return e.check(resp)
	}
}

// netSink sends chunks, several at a time.
func netSink(client *rpc.Client) caller {
	chunk := make([]byte, chunkSize)
	done := make(chan *rpc.Call, sinkWindow)
	outstanding := 0
	return func() error {
		if outstanding == sinkWindow {
			if call := <-done; call.Error != nil {
				return call.Error
			}
			outstanding--
		}
		client.Go("S.Sink", chunk, nil, done)
		outstanding++
		return nil
	}
}
