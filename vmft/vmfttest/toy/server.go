package toy

// Times tells the times that leave a [Server] from its sums.
const Times = 1 << 50

// Server is a program that does a little of everything: one thread adds up the words of
// its input, mixes them into memory and lets the sum leave after each; one computes and asks
// a question now and then, whose answer goes into memory too; one sleeps, looks at the time,
// and lets it leave with [Times] added. Input 0 ends it, with the sum as its status.
func Server() []Instruction {
	return []Instruction{
		{Op: Spawn, N: 11},
		{Op: Spawn, N: 25},
		// The server: register 1 is the word, 2 the sum, 3 counts.
		{Op: Input, A: 1}, // 2
		{Op: Jump, A: 1, N: 5},
		{Op: Exit, A: 2},
		{Op: Add, A: 2, B: 1}, // 5
		{Op: Add, A: 3, B: 7, N: 1},
		{Op: Store, A: 2, B: 3},
		{Op: Output, A: 2},
		{Op: Set, A: 4, N: 1},
		{Op: Jump, A: 4, N: 2},
		// The computer: register 1 is the hash, 2 counts down, 3 is where it mixes.
		{Op: Set, A: 2, N: 300}, // 11
		{Op: Mix, A: 1, B: 2, N: 77},
		{Op: Add, A: 3, B: 1},
		{Op: Load, A: 4, B: 3},
		{Op: Mix, A: 1, B: 4},
		{Op: Store, A: 1, B: 3},
		{Op: Add, A: 2, B: 7, N: -1},
		{Op: Jump, A: 2, N: 12},
		{Op: Time, A: 5},
		{Op: Mix, A: 1, B: 5},
		{Op: Ask, A: 1}, // 21
		{Op: Store, A: 1, B: 3},
		{Op: Set, A: 4, N: 1},
		{Op: Jump, A: 4, N: 11},
		// The sleeper.
		{Op: Sleep, N: 5_000_000}, // 25
		{Op: Time, A: 1},
		{Op: Add, A: 1, B: 7, N: Times},
		{Op: Output, A: 1},
		{Op: Jump, A: 1, N: 25},
	}
}

// DrawingServer is [Server], but the computer mixes in a number that it draws, not the time:
// it is not deterministic, if there is something to draw from.
func DrawingServer() []Instruction {
	program := Server()
	program[19] = Instruction{Op: Draw, A: 5}
	return program
}
