package rpc_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// Key asks for an entry of a cache.
type Key struct{ Name string }

// Entry is what the cache has under a key.
type Entry struct {
	Value string
	Found bool
}

// cache is a map with a lock that nobody holds for long, so that its handlers do not
// block.
type cache struct {
	mu      sync.RWMutex
	entries map[string]string // guarded by mu
}

func (c *cache) get(_ context.Context, k *Key) (*Entry, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	value, ok := c.entries[k.Name]
	return &Entry{value, ok}, nil
}

// A look into memory takes less time than to wake a goroutine for it: so it is done by the
// goroutine that reads the connection.
func ExampleHandleInline() {
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
	c := &cache{entries: map[string]string{"color": "green"}}
	rpc.HandleInline(server, "Get", c.get)
	if _, err := server.Listen(ctx, network.Host("server"), ":7101"); err != nil {
		log.Fatal(err)
	}

	client, err := rpc.NewClient(rpc.ClientConfig{Transport: network.Host("client"), Addrs: []string{"server:7101"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, name := range []string{"color", "taste"} {
		entry, err := rpc.Call[Entry](ctx, client, "Get", &Key{name})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %q, %t\n", name, entry.Value, entry.Found)
	}
	// Output:
	// color: "green", true
	// taste: "", false
}
