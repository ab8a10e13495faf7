package testutil

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
)

// OwnIP is an IP address on which tests of real processes listen where an address has to be
// known beforehand, or has to be free again after whoever listened there was killed. On
// Linux it is one out of 127.0.0.0/8 that no other process of tests uses: a port that is
// free on it stays free, while on 127.0.0.1 any connection of any process may be given it.
// Elsewhere it is 127.0.0.1.
var OwnIP = sync.OnceValue(func() string {
	pid := os.Getpid()
	ip := fmt.Sprintf("127.%d.%d.%d", 64+pid>>16&63, pid>>8&255, pid&255)
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return "127.0.0.1"
	}
	_ = l.Close() // it was only to be tried
	return ip
})

// FreeAddrs returns n TCP addresses on OwnIP at which nobody listens.
func FreeAddrs(t testing.TB, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(OwnIP(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // when all are found
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}
