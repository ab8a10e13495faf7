package toy_test

import (
	"fmt"

	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// A toy runs by itself, up to where it is told. Its input goes in where it stands, and what
// leaves it says at which instruction.
func Example() {
	t := toy.New([]toy.Instruction{
		{Op: toy.Set, A: 2, N: 100},
		{Op: toy.Add, A: 2, B: 7, N: -1}, // counts down
		{Op: toy.Jump, A: 2, N: 1},
		{Op: toy.Input, A: 1},
		{Op: toy.Output, A: 1},
		{Op: toy.Exit},
	})
	fmt.Println(t.Run(50))
	if err := t.Inject(toy.InputEvent(42)); err != nil {
		fmt.Println(err)
	}
	fmt.Println(t.Run(1000))
	at, out, _ := t.NextOutput()
	word, _, _, _ := toy.ParseOutput(out)
	fmt.Println(word, "at", at)
	// Output:
	// 50
	// 204
	// 42 at 203
}
