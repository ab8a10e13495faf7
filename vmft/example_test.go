package vmft_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// The chain of epochs says who runs the machine.
func ExampleRecord() {
	a := vmft.Member{Addr: "a:7101", Incarnation: 0x1234560000000000}
	b := vmft.Member{Addr: "b:7101", Incarnation: 0xabcdef0000000000}
	for _, r := range []vmft.Record{
		{Epoch: 1, Primary: a},
		{Epoch: 2, Primary: a, Backup: b},
		{Epoch: 3, Primary: b},
	} {
		fmt.Println(r)
	}
	// Output:
	// epoch 1: primary a:7101/123456, backup nobody
	// epoch 2: primary a:7101/123456, backup b:7101/abcdef
	// epoch 3: primary b:7101/abcdef, backup nobody
}

// Two nodes run a machine of counters; the primary is killed, and a client goes on as if
// nothing had happened.
func ExampleStart() {
	ctx := context.Background()
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()
	peers := []string{"a:7101", "b:7101"}
	arbiter := vmft.MemoryArbiter()
	nodes := make(map[string]*vmft.Node)
	for _, host := range []string{"a", "b"} {
		nodes[host], err = vmft.Start(ctx, vmft.Config{
			Transport: network.Host(host), Addr: ":7101", Advertise: host + ":7101", Peers: peers,
			Arbiter: arbiter, Machine: newCounter(),
		})
		if err != nil {
			log.Fatal(err)
		}
		defer nodes[host].Close()
	}
	client, err := vmft.Dial(network.Host("client"), peers...)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	primary := ""
	for range ticker.C { // until there is a backup
		for host, n := range nodes {
			if s := n.Status(); s.Role == vmft.RolePrimary && !s.Newest.Backup.IsZero() {
				primary = host
			}
		}
		if primary != "" {
			break
		}
	}
	for n := range 4 {
		if n == 2 {
			network.Host(primary).Crash(transport.CrashReset)
		}
		out, err := client.Call(ctx, []byte("visitors"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(binary.LittleEndian.Uint64(out))
	}
	// Output:
	// 1
	// 2
	// 3
	// 4
}
