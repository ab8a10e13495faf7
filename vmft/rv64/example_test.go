package rv64

import "fmt"

// A processor adds 1 to 10 in a loop, with the engine of blocks.
func Example() {
	c := newCPU(
		encI(0x13, 0, 5, 0, 10),   // li   t0, 10
		encR(0x33, 0, 0, 6, 6, 5), // add  t1, t1, t0
		encI(0x13, 0, 5, 5, -1),   // addi t0, t0, -1
		encB(1, 5, 0, -8),         // bnez t0, -8
		0x00000073,                // ecall
	)
	newBlocks(c.mem).run(c, 1000)
	fmt.Println(c.x[6], "after", c.count, "instructions")
	// Output: 55 after 31 instructions
}
