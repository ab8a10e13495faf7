package vmft_test

import (
	"fmt"

	"github.com/trilith-go/trilith/vmft"
)

// The chain of epochs says who runs the machine.
func ExampleRecord() {
	a := vmft.Member{Addr: "a:7101", Incarnation: 0x1234560000000000}
	b := vmft.Member{Addr: "b:7101", Incarnation: 0xabcdef0000000000}
	for _, r := range []vmft.Record{
		{Epoch: 1, Primary: a},
		{Epoch: 2, Primary: a, Backup: b},
		{Epoch: 3, Primary: b},
	} {
		fmt.Println(r)
	}
	// Output:
	// epoch 1: primary a:7101/123456, backup nobody
	// epoch 2: primary a:7101/123456, backup b:7101/abcdef
	// epoch 3: primary b:7101/abcdef, backup nobody
}
