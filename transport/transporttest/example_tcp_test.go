package transporttest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// Counted is a Transport of the reader's own: another one, and a count of its dials.
type Counted struct {
	transport.Transport
	dials *atomic.Int64
}

// Dial counts, and dials.
func (c Counted) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c.dials.Add(1)
	return c.Transport.Dial(ctx, addr)
}

// testCounted is what would be TestCounted elsewhere, and be run by go test.
func testCounted(t *testing.T) {
	transporttest.Test(t, func(t *testing.T) transporttest.Pair {
		mine := Counted{transport.TCP{}, new(atomic.Int64)}
		t.Cleanup(func() { t.Logf("%d dials", mine.dials.Load()) })
		return transporttest.Pair{
			Server: mine,
			Client: mine,
			Addr:   func() string { return "127.0.0.1:0" },
		}
	})
}

// Each case of the suite runs on a Pair of its own. Those for packets are skipped here,
// for Counted has only the methods of a Transport.
func ExampleTest() {
	stdout := os.Stdout
	os.Stdout = os.Stderr // for what the suite has to say
	all := func(pattern, name string) (bool, error) { return true, nil }
	passed := testing.RunTests(all, []testing.InternalTest{{Name: "Counted", F: testCounted}})
	os.Stdout = stdout
	fmt.Println(passed)
	// Output: true
}
