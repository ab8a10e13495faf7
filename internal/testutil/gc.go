package testutil

import (
	"os"
	"runtime/debug"
)

// RareGC has the garbage collector run more rarely, in a process that runs nothing but tests:
// simulations and bubbles make much garbage and hold little, and the collector took a fifth
// of their time. GOGC in the environment has its way.
func RareGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
