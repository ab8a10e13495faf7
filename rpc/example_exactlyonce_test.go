package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// Deposit and Balance are messages without a codec of their own, so they travel as JSON.
type Deposit struct {
	Account string
	Amount  int
}

// Balance answers a Deposit.
type Balance struct{ Amount int }

// A bank has handlers that must not run twice for one call.
type bank struct {
	mu       sync.Mutex // guards balances
	balances map[string]int
}

func (b *bank) deposit(_ context.Context, d *Deposit) (*Balance, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.balances[d.Account] += d.Amount
	return &Balance{b.balances[d.Account]}, nil
}

// loseReply is an interceptor that loses the reply to each first attempt.
func loseReply(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	err := next(ctx)
	if inv.Method == "Deposit" && inv.Attempt == 1 {
		return errors.New("the reply is lost")
	}
	return err
}

// A call that must not be executed twice is repeated like others, and the server's table
// tells the repetition. The table is one in memory here: with a directory, it knows after
// a crash what was executed before.
func ExampleClient_ExactlyOnce() {
	ctx := context.Background()
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()

	table, err := rpc.NewSessionTable(rpc.SessionTableConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer table.Close()
	server, err := rpc.NewServer(rpc.ServerConfig{Sessions: table})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	b := &bank{balances: make(map[string]int)}
	rpc.Handle(server, "Deposit", b.deposit)
	if _, err := server.Listen(ctx, network.Host("server"), ":7101"); err != nil {
		log.Fatal(err)
	}

	client, err := rpc.NewClient(rpc.ClientConfig{
		Transport:    network.Host("client"),
		Addrs:        []string{"server:7101"},
		Interceptors: []rpc.ClientInterceptor{loseReply},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		balance, err := rpc.Call[Balance](ctx, client.ExactlyOnce(), "Deposit", &Deposit{"alice", 100})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("balance:", balance.Amount)
	}
	fmt.Println("retries:", client.Stats().Retries, "answered by the table:", table.Stats().Replayed)
	// Output:
	// balance: 100
	// balance: 200
	// balance: 300
	// retries: 3 answered by the table: 3
}
