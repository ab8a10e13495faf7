package transporttest_test

import (
	"fmt"

	"github.com/trilith-go/trilith/transport/transporttest"
)

// The cases can be run one by one, as each by itself in a synctest bubble.
func ExampleCases() {
	for _, c := range transporttest.Cases()[:3] {
		fmt.Println(c.Name)
	}
	// Output:
	// Echo
	// Addresses
	// ManyConnections
}
