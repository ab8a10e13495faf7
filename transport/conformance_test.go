package transport_test

import (
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

func onNetwork(cfg transport.NetworkConfig) func(t *testing.T) transporttest.Pair {
	return func(t *testing.T) transporttest.Pair {
		n := transporttest.NewNetwork(t, cfg)
		return transporttest.Pair{
			Server:     n.Host("server"),
			Client:     n.Host("client"),
			Addr:       func() string { return ":0" },
			ClientAddr: func() string { return "client:0" },
		}
	}
}

func onTCP(*testing.T) transporttest.Pair {
	return transporttest.Pair{
		Server: transport.TCP{},
		Client: transport.TCP{Family: "4"},
		Addr:   func() string { return "127.0.0.1:0" },
	}
}

// underTLS puts mutual TLS on both sides of a pair.
func underTLS(setup func(t *testing.T) transporttest.Pair) func(t *testing.T) transporttest.Pair {
	return func(t *testing.T) transporttest.Pair {
		p := setup(t)
		ca := transporttest.NewCA(t)
		p.Stranger = p.Client
		p.Server = transport.TLS(p.Server, ca.Config(t, "server", "127.0.0.1"))
		p.Client = transport.TLS(p.Client, ca.Config(t, "client"))
		return p
	}
}

// slow is a network on which everything takes time and packets are lost.
var slow = transport.NetworkConfig{
	Seed:      1,
	Latency:   transport.Exponential(2 * time.Millisecond),
	Bandwidth: 50 << 20,
	Loss:      0.1,
	Duplicate: 0.1,
	Reorder:   0.1,
}

func TestConformance(t *testing.T) {
	for _, s := range []struct {
		name  string
		setup func(t *testing.T) transporttest.Pair
	}{
		{"Network", onNetwork(transport.NetworkConfig{})},
		{"NetworkTLS", underTLS(onNetwork(transport.NetworkConfig{}))},
		{"NetworkSmall", onNetwork(transport.NetworkConfig{Buffer: 777, Backlog: 1})},
		{"TCP", onTCP},
		{"TCPTLS", underTLS(onTCP)},
	} {
		t.Run(s.name, func(t *testing.T) { transporttest.Test(t, s.setup) })
	}
}

// TestConformanceInBubble runs each case of the suite in a bubble, where a
// goroutine that is left, or a mutex held while something blocks, is fatal.
func TestConformanceInBubble(t *testing.T) {
	for _, s := range []struct {
		name  string
		setup func(t *testing.T) transporttest.Pair
	}{
		{"Network", onNetwork(transport.NetworkConfig{})},
		{"NetworkTLS", underTLS(onNetwork(transport.NetworkConfig{}))},
		{"SlowNetwork", onNetwork(slow)},
		{"SlowNetworkTLS", underTLS(onNetwork(slow))},
	} {
		t.Run(s.name, func(t *testing.T) {
			for _, c := range transporttest.Cases() {
				if s.name == "SlowNetworkTLS" && c.Name == "ConcurrentWrites" {
					continue // crypto/tls holds a mutex while it writes, which stops a bubble's time
				}
				t.Run(c.Name, func(t *testing.T) {
					testutil.Bubble(t, func(t *testing.T) { c.Run(t, s.setup(t)) })
				})
			}
		})
	}
}
