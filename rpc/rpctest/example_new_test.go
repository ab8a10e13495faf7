package rpctest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/rpc/rpctest"
	"github.com/trilith-go/trilith/transport"
)

// Line is a message to append.
type Line struct{ Text string }

// journal is the program under test: a handler with an effect.
type journal struct{ lines []string }

func (j *journal) add(_ context.Context, l *Line) (*rpc.Empty, error) {
	j.lines = append(j.lines, l.Text)
	return nil, nil
}

// addTwice is how a client must not do it: what may have been executed is done again,
// with calls that promise nothing about repetitions.
func addTwice(ctx context.Context, c *rpc.Client, text string) {
	for range 2 {
		_, err := rpc.Call[rpc.Empty](ctx, c, "Add", &Line{text})
		if !errors.Is(err, rpc.ErrOutcomeUnknown) {
			return
		}
	}
}

// A client that does wrong looks right until a reply is lost. Which replies are lost
// follows from the seed, so that a test fails in each run or in none.
func ExampleNew() {
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
	j := new(journal)
	rpc.Handle(server, "Add", j.add)
	if _, err := server.Listen(ctx, network.Host("server"), ":7101"); err != nil {
		log.Fatal(err)
	}

	for _, loss := range []float64{0, 0.5} {
		faults, err := rpctest.New(rpctest.Config{Seed: 7, DropReply: loss, Delay: 0.1, MaxDelay: time.Millisecond})
		if err != nil {
			log.Fatal(err)
		}
		client, err := rpc.NewClient(rpc.ClientConfig{
			Transport: network.Host("client"), Addrs: []string{"server:7101"},
			Interceptors: []rpc.ClientInterceptor{faults.Client},
		})
		if err != nil {
			log.Fatal(err)
		}
		j.lines = nil
		for range 10 {
			addTwice(ctx, client, "a line")
		}
		client.Close()
		n := faults.Counts().DroppedReplies
		fmt.Printf("replies were lost: %t; lines too many: %t\n", n > 0, len(j.lines) > 10)
	}
	// Output:
	// replies were lost: false; lines too many: false
	// replies were lost: true; lines too many: true
}
