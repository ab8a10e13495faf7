//go:build !unix

package mapreduce

import (
	"os"
	"os/exec"
)

// isolate does nothing: there are no process groups.
func isolate(*exec.Cmd) {}

// killGroup kills a program.
func killGroup(p *os.Process) { _ = p.Kill() } // it may be gone

// awaitExit waits for the exit of a program.
func awaitExit(cmd *exec.Cmd) (reap func() error) {
	err := cmd.Wait()
	return func() error { return err }
}
