package vmft_test

import (
	"context"
	"fmt"
	"log"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// A node runs a processor whose program adds up what comes in. Whoever is the primary
// connects it with the world: by this loop on each node, with a backup or without one.
func ExampleNode_Port() {
	ctx := context.Background()
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()
	node, err := vmft.Start(ctx, vmft.Config{
		Transport: network.Host("a"), Addr: ":7101", Arbiter: vmft.MemoryArbiter(),
		Processor: toy.New([]toy.Instruction{
			{Op: toy.Input, A: 1},
			{Op: toy.Add, A: 2, B: 1},
			{Op: toy.Output, A: 2},
			{Op: toy.Jump, A: 1},
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()

	port, err := node.Port(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, word := range []uint64{1, 20, 300} {
		if err := port.Input(ctx, toy.InputEvent(word)); err != nil { // safe now: it may be acknowledged
			log.Fatal(err)
		}
		out, err := port.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		sum, _, _, _ := toy.ParseOutput(out.Data)
		fmt.Println(out.Number, sum)
		if err := port.Complete(nil, out.Number); err != nil { // or it is done again after a fail-over
			log.Fatal(err)
		}
	}
	// Output:
	// 1 1
	// 2 21
	// 3 321
}
