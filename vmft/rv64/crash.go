package rv64

// A Crash is how a program was killed.
type Crash struct {
	Signal      int // as Linux numbers them
	Code        int
	Address     uint64 // of a fault: what was accessed
	Thread      int
	PC          uint64
	Registers   [32]uint64
	Position    uint64
	OutOfMemory bool // it needed more than Config.Memory
}
