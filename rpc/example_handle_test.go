package rpc_test

import (
	"context"
	"fmt"
	"log"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// Numbers is a request. A struct that says nothing of its encoding travels as JSON.
type Numbers struct{ List []int }

// Mean is the response to it.
type Mean struct{ Value float64 }

const errNoNumbers = rpc.Code("mean: no numbers")

// mean is a handler: a function of a context and a request. It may be run by several
// goroutines at once. The code of its error is the same error at the caller.
func mean(_ context.Context, req *Numbers) (*Mean, error) {
	if len(req.List) == 0 {
		return nil, errNoNumbers
	}
	sum := 0
	for _, n := range req.List {
		sum += n
	}
	return &Mean{Value: float64(sum) / float64(len(req.List))}, nil
}

// A server answers a method with a function. Handlers are registered before it listens.
func ExampleHandle() {
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
	rpc.Handle(server, "Mean", mean)
	if _, err := server.Listen(ctx, network.Host("server"), ":7101"); err != nil {
		log.Fatal(err)
	}

	client, err := rpc.NewClient(rpc.ClientConfig{Transport: network.Host("client"), Addrs: []string{"server:7101"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, list := range [][]int{{1, 2, 6}, nil} {
		resp, err := rpc.Call[Mean](ctx, client, "Mean", &Numbers{List: list})
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(resp.Value)
	}
	// Output:
	// 3
	// rpc: call Mean at server:7101: mean: no numbers
}
