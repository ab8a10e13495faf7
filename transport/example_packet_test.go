package transport_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/trilith-go/trilith/transport"
)

// beat sends heartbeats until ctx ends. That some are lost does not matter.
func beat(ctx context.Context, conn net.PacketConn, to net.Addr) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := conn.WriteTo([]byte("alive"), to); err != nil {
				log.Fatal(err)
			}
		}
	}
}

// alive reports whether a heartbeat comes within a time.
func alive(conn net.PacketConn, within time.Duration) bool {
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		log.Fatal(err)
	}
	_, _, err := conn.ReadFrom(make([]byte, 64))
	return err == nil
}

// Heartbeats are packets: one that is lost is not sent again, and one that is late holds
// up no other. On the network in memory they come until there is a partition; over UDP,
// with a transport.TCP in place of both hosts, the program is the same.
func ExamplePacketTransport() {
	network, err := transport.NewNetwork(transport.NetworkConfig{Seed: 1, Loss: 0.1})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()
	var watched, watcher transport.PacketTransport = network.Host("watched"), network.Host("watcher")

	ctx, stop := context.WithCancel(context.Background())
	in, err := watcher.ListenPacket(ctx, ":7101")
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	out, err := watched.ListenPacket(ctx, ":0")
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	var beating sync.WaitGroup
	beating.Go(func() { beat(ctx, out, transport.Addr("watcher:7101")) })
	defer beating.Wait()
	defer stop()

	fmt.Println("alive:", alive(in, time.Minute))
	network.Partition([]string{"watched"}, []string{"watcher"})
	for alive(in, 100*time.Millisecond) { // what had arrived before
	}
	fmt.Println("alive behind a partition:", alive(in, 100*time.Millisecond))
	network.Heal()
	fmt.Println("alive when it has healed:", alive(in, time.Minute))
	// Output:
	// alive: true
	// alive behind a partition: false
	// alive when it has healed: true
}
