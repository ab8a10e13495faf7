package rpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// Greeting is a message of the examples: a struct that can append itself to a
// slice and read itself back.
type Greeting struct{ Text string }

// AppendBinary appends the text.
func (g *Greeting) AppendBinary(b []byte) ([]byte, error) { return append(b, g.Text...), nil }

// UnmarshalBinary takes the text.
func (g *Greeting) UnmarshalBinary(b []byte) error {
	g.Text = string(b)
	return nil
}

// Block is a message with a field and raw bytes beside it.
type Block struct {
	Version uint64
	rpc.Body
}

// AppendBinary appends the field; the body travels by itself.
func (b *Block) AppendBinary(dst []byte) ([]byte, error) {
	return binary.AppendUvarint(dst, b.Version), nil
}

// UnmarshalBinary takes the field.
func (b *Block) UnmarshalBinary(src []byte) error {
	var n int
	if b.Version, n = binary.Uvarint(src); n <= 0 || n < len(src) {
		return errors.New("not a version")
	}
	return nil
}

// newNetwork, serve and dial shorten the examples: a network in memory, a server
// on one of its hosts, a client on another.
func newNetwork() *transport.Network {
	n, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func serve(n *transport.Network, host string, cfg rpc.ServerConfig, register func(*rpc.Server)) *rpc.Server {
	s, err := rpc.NewServer(cfg)
	if err != nil {
		log.Fatal(err)
	}
	register(s)
	if _, err := s.Listen(context.Background(), n.Host(host), ":7101"); err != nil {
		log.Fatal(err)
	}
	return s
}

func dial(n *transport.Network, cfg rpc.ClientConfig) *rpc.Client {
	cfg.Transport = n.Host("client")
	c, err := rpc.NewClient(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func ExampleCall() {
	ctx := context.Background()
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()

	server, err := rpc.NewServer(rpc.ServerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rpc.Handle(server, "Greet", func(ctx context.Context, req *Greeting) (*Greeting, error) {
		return &Greeting{"hello, " + req.Text}, nil
	})
	if _, err := server.Listen(ctx, network.Host("server"), ":7101"); err != nil {
		log.Fatal(err)
	}

	client, err := rpc.NewClient(rpc.ClientConfig{
		Transport: network.Host("client"),
		Addrs:     []string{"server:7101"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	resp, err := rpc.Call[Greeting](ctx, client, "Greet", &Greeting{"world"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Text)
	// Output: hello, world
}

// An error says what is known of the execution, and matches at the caller what it
// matched at the handler.
func ExampleError() {
	const errStale = rpc.Code("example: stale version")
	n := newNetwork()
	defer n.Close()
	defer serve(n, "server", rpc.ServerConfig{}, func(s *rpc.Server) {
		rpc.Handle(s, "Write", func(context.Context, *Block) (*rpc.Empty, error) {
			return nil, fmt.Errorf("block 7: %w", errStale)
		})
	}).Close()
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}})
	defer c.Close()

	_, err := rpc.Call[rpc.Empty](context.Background(), c, "Write", &Block{})
	fmt.Println(err)
	fmt.Println(errors.Is(err, errStale), rpc.OutcomeOf(err))
	_, err = rpc.Call[rpc.Empty](context.Background(), c, "Wriet", &Block{})
	fmt.Println(err)
	fmt.Println(errors.Is(err, rpc.ErrNotExecuted))
	// Output:
	// rpc: call Write at server:7101: block 7: example: stale version
	// true executed
	// rpc: call Wriet at server:7101: no such method: "Wriet" (not executed)
	// true
}

// A call that may be executed twice is tried until there is an answer: here, until
// the server is there at all.
func ExampleClient_AtLeastOnce() {
	n := newNetwork()
	defer n.Close()
	n.Host("server")
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}})
	defer c.Close()
	started := make(chan *rpc.Server)
	time.AfterFunc(20*time.Millisecond, func() {
		started <- serve(n, "server", rpc.ServerConfig{}, func(s *rpc.Server) {
			rpc.Handle(s, "Greet", func(_ context.Context, req *Greeting) (*Greeting, error) { return req, nil })
		})
	})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := rpc.Call[Greeting](ctx, c.AtLeastOnce(), "Greet", &Greeting{"at last"})
	fmt.Println(resp.Text, err)
	(<-started).Close()
	// Output: at last <nil>
}

// A table with a directory knows, when the process is started again, what was
// executed before: a client goes on in the same session.
func ExampleNewSessionTable() {
	dir, err := os.MkdirTemp("", "sessions")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	n := newNetwork()
	defer n.Close()
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}})
	for range 2 {
		table, err := rpc.NewSessionTable(rpc.SessionTableConfig{
			Dir:      dir,
			Sessions: rpc.SessionsConfig{TTL: time.Hour, MaxSessions: 1000},
		})
		if err != nil {
			log.Fatal(err)
		}
		s := serve(n, "server", rpc.ServerConfig{Sessions: table}, func(s *rpc.Server) {
			rpc.Handle(s, "Number", func(ctx context.Context, _ *rpc.Empty) (*request, error) {
				info, _ := rpc.CallFromContext(ctx)
				return &request{info.Seq}, nil
			})
		})
		resp, err := rpc.Call[request](context.Background(), c.ExactlyOnce(), "Number", &rpc.Empty{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("call", resp.ID, "of", table.Stats().Sessions, "session")
		s.Close()
		if err := table.Close(); err != nil {
			log.Fatal(err)
		}
	}
	c.Close()
	// Output:
	// call 1 of 1 session
	// call 2 of 1 session
}

// A body is received into memory of the caller's, if that is large enough.
func ExampleBody() {
	n := newNetwork()
	defer n.Close()
	disk := []byte(strings.Repeat("0123456789", 10))
	defer serve(n, "server", rpc.ServerConfig{}, func(s *rpc.Server) {
		rpc.Handle(s, "Read", func(context.Context, *rpc.Empty) (*Block, error) {
			resp := &Block{Version: 3}
			resp.Data = disk // lent, not copied, until Release is called
			resp.Release = func() {}
			return resp, nil
		})
	}).Close()
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}})
	defer c.Close()

	mine := make([]byte, 0, 4096)
	resp := Block{Body: rpc.Body{Data: mine}}
	if err := rpc.CallInto(context.Background(), c, "Read", &rpc.Empty{}, &resp); err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Version, len(resp.Data), string(mine[:12]))
	// Output: 3 100 012345678901
}

// A stream is a net.Conn beside the calls: what is written at one end is read at
// the other.
func ExampleOpenStream() {
	n := newNetwork()
	defer n.Close()
	defer serve(n, "server", rpc.ServerConfig{}, func(s *rpc.Server) {
		rpc.HandleStream(s, "Upper", func(_ context.Context, _ *rpc.Empty, st *rpc.Stream) error {
			b, err := io.ReadAll(st) // until the client's CloseWrite
			if err != nil {
				return err
			}
			_, err = st.Write([]byte(strings.ToUpper(string(b))))
			return err
		})
	}).Close()
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}})
	defer c.Close()

	st, err := rpc.OpenStream(context.Background(), c, "Upper", &rpc.Empty{})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	fmt.Fprint(st, "a stream ")
	fmt.Fprint(st, "of bytes")
	st.CloseWrite()
	answer, err := io.ReadAll(st)
	fmt.Println(string(answer), err)
	// Output: A STREAM OF BYTES <nil>
}

// What a stream's handler returns is what the client reads at the end: its error,
// or io.EOF.
func ExampleHandleStream() {
	n := newNetwork()
	defer n.Close()
	defer serve(n, "server", rpc.ServerConfig{}, func(s *rpc.Server) {
		rpc.HandleStream(s, "Countdown", func(_ context.Context, req *request, st *rpc.Stream) error {
			for i := req.ID; i > 0; i-- {
				fmt.Fprint(st, i, " ")
			}
			if req.ID > 3 {
				return rpc.Code("example: too long a countdown")
			}
			return nil
		})
	}).Close()
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}})
	defer c.Close()
	for _, from := range []uint64{3, 4} {
		st, err := rpc.OpenStream(context.Background(), c, "Countdown", &request{from})
		if err != nil {
			log.Fatal(err)
		}
		said, err := io.ReadAll(st)
		fmt.Printf("%q %v\n", said, err)
		st.Close()
	}
	// Output:
	// "3 2 1 " <nil>
	// "4 3 2 1 " rpc: read stream Countdown at server:7101: example: too long a countdown
}

// A server that does not serve at the moment says who does, and clients of all
// semantics follow.
func ExampleRedirectTo() {
	n := newNetwork()
	defer n.Close()
	greet := func(name string, primary bool) func(*rpc.Server) {
		return func(s *rpc.Server) {
			rpc.Handle(s, "Greet", func(context.Context, *Greeting) (*Greeting, error) {
				if !primary {
					return nil, rpc.RedirectTo("primary:7101")
				}
				return &Greeting{"hello from the " + name}, nil
			})
		}
	}
	defer serve(n, "primary", rpc.ServerConfig{}, greet("primary", true)).Close()
	defer serve(n, "standby", rpc.ServerConfig{}, greet("standby", false)).Close()
	c := dial(n, rpc.ClientConfig{Addrs: []string{"standby:7101"}})
	defer c.Close()
	for range 2 {
		resp, err := rpc.Call[Greeting](context.Background(), c, "Greet", &Greeting{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(resp.Text)
	}
	fmt.Println("redirects:", c.Stats().Redirects)
	// Output:
	// hello from the primary
	// hello from the primary
	// redirects: 1
}

// Interceptors wrap every attempt of a client's calls.
func ExampleClientInterceptor() {
	n := newNetwork()
	defer n.Close()
	defer serve(n, "server", rpc.ServerConfig{}, func(s *rpc.Server) {
		rpc.Handle(s, "Greet", func(_ context.Context, req *Greeting) (*Greeting, error) { return req, nil })
	}).Close()
	trace := func(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
		err := next(ctx)
		fmt.Printf("%s, %v, attempt %d: %v\n", inv.Method, inv.Semantics, inv.Attempt, err)
		return err
	}
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}, Interceptors: []rpc.ClientInterceptor{trace}})
	defer c.Close()
	if _, err := rpc.Call[Greeting](context.Background(), c.AtLeastOnce(), "Greet", &Greeting{}); err != nil {
		log.Fatal(err)
	}
	// Output: Greet, at least once, attempt 1: <nil>
}

// Interceptors wrap every handler of a server.
func ExampleServerInterceptor() {
	n := newNetwork()
	defer n.Close()
	only := func(node string) rpc.ServerInterceptor {
		return func(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
			if peer, _ := rpc.PeerFromContext(ctx); peer.Node != node {
				return rpc.Refuse(fmt.Errorf("%s is for %s: %w", inv.Method, node, errors.ErrUnsupported))
			}
			return next(ctx)
		}
	}
	defer serve(n, "server", rpc.ServerConfig{Interceptors: []rpc.ServerInterceptor{only("master")}}, func(s *rpc.Server) {
		rpc.Handle(s, "Erase", func(context.Context, *rpc.Empty) (*rpc.Empty, error) { return nil, nil })
	}).Close()
	for _, node := range []string{"master", "stranger"} {
		c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}, Node: node})
		_, err := rpc.Call[rpc.Empty](context.Background(), c, "Erase", &rpc.Empty{})
		fmt.Println(err)
		c.Close()
	}
	// Output:
	// <nil>
	// rpc: call Erase at server:7101: Erase is for master: unsupported operation (not executed)
}

// Shutdown lets what is in progress end.
func ExampleServer_Shutdown() {
	n := newNetwork()
	defer n.Close()
	began, finish := make(chan struct{}), make(chan struct{})
	s := serve(n, "server", rpc.ServerConfig{}, func(s *rpc.Server) {
		rpc.Handle(s, "Work", func(context.Context, *rpc.Empty) (*Greeting, error) {
			close(began)
			<-finish
			return &Greeting{"finished"}, nil
		})
	})
	c := dial(n, rpc.ClientConfig{Addrs: []string{"server:7101"}})
	defer c.Close()
	answer := make(chan string)
	go func() {
		resp, err := rpc.Call[Greeting](context.Background(), c, "Work", &rpc.Empty{})
		if err != nil {
			log.Fatal(err)
		}
		answer <- resp.Text
	}()
	<-began
	time.AfterFunc(10*time.Millisecond, func() { close(finish) })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.Shutdown(ctx)
	fmt.Println(<-answer, err)
	// Output: finished <nil>
}
