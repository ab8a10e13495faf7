package rv64

import "fmt"

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

var signalNames = map[int]string{
	sigHUP: "SIGHUP", sigINT: "SIGINT", sigQUIT: "SIGQUIT", sigILL: "SIGILL", sigTRAP: "SIGTRAP", sigABRT: "SIGABRT", sigBUS: "SIGBUS",
	sigFPE: "SIGFPE", sigKILL: "SIGKILL", sigUSR1: "SIGUSR1", sigSEGV: "SIGSEGV", sigPIPE: "SIGPIPE", sigALRM: "SIGALRM", 15: "SIGTERM",
}

// String says it in a line.
func (c *Crash) String() string {
	name := signalNames[c.Signal]
	if name == "" {
		name = fmt.Sprintf("signal %d", c.Signal)
	}
	if c.OutOfMemory {
		name = "out of memory"
	}
	return fmt.Sprintf("%s (code %d, address %#x) in thread %d at pc %#x, instruction %d", name, c.Code, c.Address, c.Thread, c.PC, c.Position)
}
