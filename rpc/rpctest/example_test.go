package rpctest_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/rpc/rpctest"
	"github.com/trilith-go/trilith/transport"
)

// A deposit must be made once, though every third reply is lost: exactly-once
// calls see to it.
func Example() {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()
	table, err := rpc.NewSessionTable(rpc.SessionTableConfig{})
	if err != nil {
		log.Fatal(err)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Sessions: table})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	var balance atomic.Int64
	rpc.Handle(server, "Deposit", func(context.Context, *rpc.Empty) (*rpc.Empty, error) {
		balance.Add(1)
		return nil, nil
	})
	ctx := context.Background()
	if _, err := server.Listen(ctx, network.Host("bank"), ":1"); err != nil {
		log.Fatal(err)
	}

	faults, err := rpctest.New(rpctest.Config{Seed: 1, DropReply: 0.33, Methods: []string{"Deposit"}})
	if err != nil {
		log.Fatal(err)
	}
	client, err := rpc.NewClient(rpc.ClientConfig{
		Transport:    network.Host("customer"),
		Addrs:        []string{"bank:1"},
		Backoff:      rpc.Backoff{Min: time.Microsecond, Max: time.Millisecond},
		Interceptors: []rpc.ClientInterceptor{faults.Client},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for range 100 {
		if _, err := rpc.Call[rpc.Empty](ctx, client.ExactlyOnce(), "Deposit", &rpc.Empty{}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("replies were lost:", faults.Counts().DroppedReplies > 20)
	fmt.Println("balance:", balance.Load())
	// Output:
	// replies were lost: true
	// balance: 100
}
