package transport_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// Unix is a Transport of the reader's own: unix sockets, with paths as addresses.
type Unix struct{}

var _ transport.Transport = Unix{}

// Listen listens on a socket with this path.
func (Unix) Listen(ctx context.Context, addr string) (net.Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", addr)
}

// Dial connects to the socket with this path.
func (Unix) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", addr)
}

// testUnix holds Unix against the contract of a Transport. Elsewhere it would be called
// TestUnix and be run by go test; here the example runs it.
func testUnix(t *testing.T) {
	transporttest.Test(t, func(t *testing.T) transporttest.Pair {
		// Paths of sockets must be short, shorter than t.TempDir's may be.
		dir, err := os.MkdirTemp("", "unix")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		n := 0
		return transporttest.Pair{
			Server: Unix{},
			Client: Unix{},
			Addr:   func() string { n++; return filepath.Join(dir, strconv.Itoa(n)) },
		}
	})
}

// Any type with these two methods is a Transport: unix sockets take twenty lines. The
// suite of transporttest says whether it keeps the promises that the rest of the module
// relies on.
func ExampleTransport() {
	stdout := os.Stdout
	os.Stdout = os.Stderr // for what the suite has to say
	all := func(pattern, name string) (bool, error) { return true, nil }
	passed := testing.RunTests(all, []testing.InternalTest{{Name: "Unix", F: testUnix}})
	os.Stdout = stdout
	fmt.Println(passed)
	// Output: true
}
