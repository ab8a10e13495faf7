package transporttest

import (
	"testing"

	"github.com/trilith-go/trilith/transport"
)

// NewNetwork returns a network that is closed when the test ends. A configuration
// that can't work fails the test.
func NewNetwork(t testing.TB, cfg transport.NetworkConfig) *transport.Network {
	t.Helper()
	n, err := transport.NewNetwork(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}
