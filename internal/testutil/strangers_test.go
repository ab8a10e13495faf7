package testutil

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// TestStrangers: they have names of their own, and come in the same order again.
func TestStrangers(t *testing.T) {
	type pair struct {
		name string
		b    []byte
	}
	var first []pair
	names := make(map[string]bool)
	for name, b := range Strangers() {
		if names[name] {
			t.Errorf("%s comes twice", name)
		}
		names[name] = true
		first = append(first, pair{name, b})
	}
	for _, name := range []string{"HTTP", "SSH", "TLS", "a varint of 2³¹", "a varint of 2⁶³", "2³¹ of 32 bits", "2⁶³ of 64 bits"} {
		if !names[name] {
			t.Errorf("%s does not come", name)
		}
	}
	i := 0
	for name, b := range Strangers() {
		if name != first[i].name || !bytes.Equal(b, first[i].b) {
			t.Errorf("number %d is %s, and was %s", i, name, first[i].name)
		}
		i++
	}
	for name, b := range Lengths(7, 8) {
		if !bytes.HasPrefix(b, []byte{7, 8}) {
			t.Errorf("%s is not behind its head: %x", name, b)
		}
	}
}

// A server of TLS takes the bytes for a client's.
func TestClientHello(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		_, _ = far.Write(clientHello())
		_ = far.Close()
	}()
	seen := errors.New("seen")
	err := tls.Server(near, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName != "localhost" {
			t.Errorf("the client wants %q", hello.ServerName)
		}
		return nil, seen
	}}).Handshake()
	if !errors.Is(err, seen) {
		t.Error(err)
	}
}
