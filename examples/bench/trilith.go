package main

import (
	"context"
	"errors"
	"io"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// A way is how the trilith subjects differ.
type way struct {
	memory bool // on the in-memory network instead of TCP
	inline bool // the handler runs where the request was read
	once   bool // exactly once, with the table in memory
}

// openTrilith returns what sets up our own rpc in a way. The stream case is the
// same in all of them but for the transport: handlers of streams are never inline,
// and the semantics are those of calls.
func openTrilith(w way) func(context.Context, rpcCase) (*load, error) {
	return func(ctx context.Context, c rpcCase) (*load, error) {
		if c.kind == stream && (w.once || w.inline) {
			return nil, nil
		}
		server, client, err := newTrilith(ctx, w)
		if err != nil {
			return nil, err
		}
		l := &load{close: func() error { return errors.Join(client.Close(), server.Close()) }}
		if c.kind == stream {
			st, err := rpc.OpenStream(ctx, client, "Sink", &rpc.Empty{})
			if err != nil {
				return nil, errors.Join(err, l.close())
			}
			chunk := make([]byte, chunkSize)
			l.callers = []caller{func() error {
				_, err := st.Write(chunk)
				return err
			}}
			return l, nil
		}
		var by rpc.Caller = client
		if w.once {
			by = client.ExactlyOnce()
		}
		for i := range c.callers {
			l.callers = append(l.callers, trilithCaller(by, newExchange(c.kind, i)))
		}
		return l, nil
	}
}

// newTrilith starts a server with the methods of all cases, and a client of it.
func newTrilith(ctx context.Context, w way) (_ *rpc.Server, _ *rpc.Client, err error) {
	var cfg rpc.ServerConfig
	if w.once {
		if cfg.Sessions, err = rpc.NewSessionTable(rpc.SessionTableConfig{}); err != nil {
			return nil, nil, err
		}
	}
	server, err := rpc.NewServer(cfg)
	if err != nil {
		return nil, nil, err
	}
	handleTrilith(server, w.inline)
	var serverSide, clientSide transport.Transport = &transport.TCP{}, &transport.TCP{}
	addr := "127.0.0.1:0"
	if w.memory {
		n, err := transport.NewNetwork(transport.NetworkConfig{})
		if err != nil {
			return nil, nil, err
		}
		serverSide, clientSide, addr = n.Host("server"), n.Host("client"), "server:1"
	}
	bound, err := server.Listen(ctx, serverSide, addr)
	if err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	client, err := rpc.NewClient(rpc.ClientConfig{Transport: clientSide, Addrs: []string{bound.String()}})
	if err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	return server, client, nil
}

func handleTrilith(server *rpc.Server, inline bool) {
	body := newBulkBody()
	echo := func(_ context.Context, req *smallMessage) (*smallMessage, error) { return req, nil }
	bulk := func(context.Context, *smallMessage) (*bulkMessage, error) {
		return &bulkMessage{rpc.Body{Data: body}}, nil
	}
	if inline {
		rpc.HandleInline(server, "Echo", echo)
		rpc.HandleInline(server, "Bulk", bulk)
	} else {
		rpc.Handle(server, "Echo", echo)
		rpc.Handle(server, "Bulk", bulk)
	}
	rpc.HandleStream(server, "Sink", func(_ context.Context, _ *rpc.Empty, st *rpc.Stream) error {
		buf := make([]byte, chunkSize) // io.Copy to io.Discard reads 8 KiB at a time
		for {
			if _, err := st.Read(buf); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// trilithCaller makes the calls of one caller.
func trilithCaller(by rpc.Caller, e *exchange) caller {
	ctx := context.Background()
	if e.kind == echo {
		return func() error {
			e.next()
			resp, err := rpc.Call[smallMessage](ctx, by, "Echo", (*smallMessage)(e.req))
			if err != nil {
				return err
			}
			return e.check(resp[:])
		}
	}
	var resp bulkMessage
	resp.Data = e.resp
	return func() error {
		e.next()
		if err := rpc.CallInto(ctx, by, "Bulk", (*smallMessage)(e.req), &resp); err != nil {
			return err
		}
		return e.check(resp.Data)
	}
}

// smallMessage is the typed message of smallSize bytes.
type smallMessage [smallSize]byte

// AppendBinary implements encoding.BinaryAppender.
func (m *smallMessage) AppendBinary(dst []byte) ([]byte, error) { return append(dst, m[:]...), nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (m *smallMessage) UnmarshalBinary(src []byte) error {
	if len(src) != len(m) {
		return errors.New("a message of another size")
	}
	copy(m[:], src)
	return nil
}

// bulkMessage has a body and no fields.
type bulkMessage struct{ rpc.Body }

// AppendBinary implements encoding.BinaryAppender.
func (m *bulkMessage) AppendBinary(dst []byte) ([]byte, error) { return dst, nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (m *bulkMessage) UnmarshalBinary([]byte) error { return nil }
