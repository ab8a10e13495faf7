package testutil_test

import (
	"net"
	"slices"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

func TestFreeAddrs(t *testing.T) {
	addrs := testutil.FreeAddrs(t, 20)
	slices.Sort(addrs)
	if n := len(slices.Compact(addrs)); n != 20 {
		t.Errorf("%d different addresses of 20", n)
	}
	for _, addr := range addrs {
		if host, _, err := net.SplitHostPort(addr); err != nil || host != testutil.OwnIP() {
			t.Errorf("%s, %v is not on %s", addr, err, testutil.OwnIP())
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}
