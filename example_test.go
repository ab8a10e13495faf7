package trilith_test

import (
	"context"
	"fmt"
	"log"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// A whole cluster fits into one process: here a server on one host of the network
// in memory, whose host dies, another one, and a client that does not mind.
func Example() {
	ctx := context.Background()
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()

	type greeting struct{ Text string } // JSON, since it has no encoding of its own
	serve := func(host string) *rpc.Server {
		server, err := rpc.NewServer(rpc.ServerConfig{})
		if err != nil {
			log.Fatal(err)
		}
		rpc.Handle(server, "Greet", func(_ context.Context, req *greeting) (*greeting, error) {
			return &greeting{"Hello " + req.Text + ", this is " + host}, nil
		})
		if _, err := server.Listen(ctx, network.Host(host), host+":1"); err != nil {
			log.Fatal(err)
		}
		return server
	}
	client, err := rpc.NewClient(rpc.ClientConfig{
		Transport: network.Host("client"), Addrs: []string{"left:1", "right:1"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	greet := func() {
		resp, err := rpc.Call[greeting](ctx, client.AtLeastOnce(), "Greet", &greeting{"trilith"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(resp.Text)
	}

	defer serve("left").Close()
	greet()
	network.Host("left").Crash(transport.CrashReset)
	defer serve("right").Close()
	greet()

	// Output:
	// Hello trilith, this is left
	// Hello trilith, this is right
}
