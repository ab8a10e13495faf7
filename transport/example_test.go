package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"testing"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// greet serves one line to each of the next connections of l.
func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		name, _ := bufio.NewReader(c).ReadString('\n')
		fmt.Fprintf(c, "hello, %s", name)
		c.Close()
	}
}

// ask sends a line over a connection and prints the answer.
func ask(c net.Conn, name string) {
	defer c.Close()
	fmt.Fprintln(c, name)
	answer, err := io.ReadAll(c)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(answer))
}

// Two hosts in one process, and a partition between them: what is written waits
// for it to heal.
func ExampleNetwork() {
	n, err := transport.NewNetwork(transport.NetworkConfig{Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	a, b := n.Host("a"), n.Host("b")
	ctx := context.Background()

	l, err := b.Listen(ctx, ":7101")
	if err != nil {
		log.Fatal(err)
	}
	go greet(l)
	c, err := a.Dial(ctx, "b:7101")
	if err != nil {
		log.Fatal(err)
	}

	if err := n.Partition([]string{"a"}, []string{"b"}); err != nil {
		log.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := a.Dial(short, "b:7101"); err != nil {
		fmt.Println(err)
	}
	time.AfterFunc(10*time.Millisecond, n.Heal)
	ask(c, "gopher") // waits until then

	for _, f := range n.Faults() {
		fmt.Println(f.Kind, f.Detail)
	}
	// Output:
	// transport: dial b:7101: context deadline exceeded
	// hello, gopher
	// partition a | b
	// heal
}

// A host crashes, and those that were connected to it learn of it.
func ExampleHost_Crash() {
	n, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	a, b := n.Host("a"), n.Host("b")
	ctx := context.Background()
	if _, err := b.Listen(ctx, ":7101"); err != nil {
		log.Fatal(err)
	}
	c, err := a.Dial(ctx, "b:7101")
	if err != nil {
		log.Fatal(err)
	}
	b.Crash(transport.CrashReset)
	_, err = c.Read(make([]byte, 1))
	fmt.Println(err)
	_, err = a.Dial(ctx, "b:7101")
	fmt.Println(err)
	// Output:
	// transport: read b:7101: connection reset by peer
	// transport: dial b:7101: connection refused
}

func ExampleTCP() {
	ctx := context.Background()
	l, err := transport.TCP{}.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go greet(l)
	c, err := transport.TCP{}.Dial(ctx, l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	ask(c, "gopher")
	// Output: hello, gopher
}

// The same over TLS, where each side has a certificate that the other one checks.
func ExampleTLS() {
	ctx := context.Background()
	server, client := exampleConfigs() // two *tls.Config, for 127.0.0.1 and alice
	l, err := transport.TLS(transport.TCP{}, server).Listen(ctx, "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go greet(l)
	c, err := transport.TLS(transport.TCP{}, client).Dial(ctx, l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	peer := c.(*tls.Conn).ConnectionState().PeerCertificates[0]
	fmt.Println("this is", peer.Subject.CommonName)
	ask(c, "alice")
	// Output:
	// this is 127.0.0.1
	// hello, alice
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
