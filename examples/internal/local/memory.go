package local

import (
	"os"
	"runtime/debug"
)

// LimitMemory keeps the process to what its workers may use, and a little more for all
// else, until restore is called: Go's collector would otherwise let as much again pile
// up before it looks. GOMEMLIMIT, if it is set, says something else.
func LimitMemory(workers int64) (restore func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(workers + workers/8)
	return func() { debug.SetMemoryLimit(before) }
}
