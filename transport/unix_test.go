package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
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

func (Unix) Listen(ctx context.Context, addr string) (net.Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", addr)
}

func (Unix) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", addr)
}

// Any type with these two methods is a Transport: unix sockets take twenty lines.
// TestUnix holds them against the conformance suite.
func ExampleTransport() {
	dir, err := os.MkdirTemp("", "unix")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var t transport.Transport = Unix{}
	l, err := t.Listen(context.Background(), filepath.Join(dir, "socket"))
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go greet(l)
	c, err := t.Dial(context.Background(), l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	ask(c, "gopher")
	_, isPacket := t.(transport.PacketTransport)
	fmt.Println("packets:", isPacket)
	// Output:
	// hello, gopher
	// packets: false
}

func TestUnix(t *testing.T) {
	if l, err := (Unix{}).Listen(t.Context(), filepath.Join(t.TempDir(), "s")); err != nil {
		t.Skipf("no unix sockets here: %v", err)
	} else {
		l.Close()
	}
	transporttest.Test(t, func(t *testing.T) transporttest.Pair {
		// Paths of sockets must be short, shorter than t.TempDir's may be.
		dir, err := os.MkdirTemp("", "unix")
		must(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		n := 0
		return transporttest.Pair{
			Server: Unix{},
			Client: Unix{},
			Addr:   func() string { n++; return filepath.Join(dir, strconv.Itoa(n)) },
		}
	})
}

// exampleConfigs makes the certificates of ExampleTLS.
func exampleConfigs() (server, client *tls.Config) {
	t := &exampleTB{}
	ca := transporttest.NewCA(t)
	return ca.Config(t, "127.0.0.1"), ca.Config(t, "alice")
}

// exampleTB lets an example use a test kit.
type exampleTB struct{ testing.TB }

func (*exampleTB) Helper() {}

func (*exampleTB) Fatal(args ...any) { log.Fatal(errors.New(fmt.Sprint(args...))) }
