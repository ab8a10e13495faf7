package transporttest_test

import (
	"fmt"

	"github.com/trilith-go/trilith/transport/transporttest"
)

// The suite is run on a Transport by
//
//	transporttest.Test(t, func(t *testing.T) transporttest.Pair {
//		return transporttest.Pair{Server: mine, Client: mine, Addr: func() string { return "127.0.0.1:0" }}
//	})
//
// or case by case:
func ExampleCases() {
	for _, c := range transporttest.Cases()[:3] {
		fmt.Println(c.Name)
	}
	// Output:
	// Echo
	// Addresses
	// ManyConnections
}
