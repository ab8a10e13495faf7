package transport

import (
	"net"
	"testing"
	"time"
)

// TestOldAddressServes: while a name cannot be looked up, packets go where it led
// before.
func TestOldAddressServes(t *testing.T) {
	to, err := TCP{Family: "4"}.ListenPacket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	from, err := TCP{Family: "4"}.ListenPacket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	const name = "localhost:no-such-service"
	if _, err := from.WriteTo([]byte("x"), Addr(name)); err == nil {
		t.Fatalf("%s can be looked up", name)
	}
	old := resolved{addr: to.LocalAddr().(*net.UDPAddr), until: time.Now().Add(-time.Hour)}
	from.(*udpConn).resolved = map[string]resolved{name: old}
	for range 2 {
		if _, err := from.WriteTo([]byte("x"), Addr(name)); err != nil {
			t.Fatal(err)
		}
		to.SetReadDeadline(time.Now().Add(time.Minute))
		if n, _, err := to.ReadFrom(make([]byte, 10)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
}
