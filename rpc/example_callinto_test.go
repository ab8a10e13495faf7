package rpc_test

import (
	"context"
	"fmt"
	"log"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// Page asks for a page of a book.
type Page struct{ Number int }

// Text is the page. Its bytes are a Body: they travel beside the fields, as they are.
type Text struct {
	Chapter string
	rpc.Body
}

// book lends a page without copying it.
type book [][]byte

func (b book) read(_ context.Context, p *Page) (*Text, error) {
	return &Text{Chapter: "one", Body: rpc.Body{Data: b[p.Number]}}, nil
}

// One buffer of the caller's takes all pages, one after the other, and nothing is
// allocated for them.
func ExampleCallInto() {
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
	rpc.Handle(server, "Read", book{[]byte("It was a dark"), []byte("and stormy night.")}.read)
	if _, err := server.Listen(ctx, network.Host("server"), ":7101"); err != nil {
		log.Fatal(err)
	}

	client, err := rpc.NewClient(rpc.ClientConfig{Transport: network.Host("client"), Addrs: []string{"server:7101"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	buf := make([]byte, 0, 64)
	for n := range 2 {
		text := Text{Body: rpc.Body{Data: buf}}
		if err := rpc.CallInto(ctx, client, "Read", &Page{n}, &text); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("chapter %s: %s (in the buffer: %t)\n", text.Chapter, text.Data, &text.Data[0] == &buf[:1][0])
	}
	// Output:
	// chapter one: It was a dark (in the buffer: true)
	// chapter one: and stormy night. (in the buffer: true)
}
