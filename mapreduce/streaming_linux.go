package mapreduce

import (
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// isolate puts a program into a process group of its own, and lets it die with the
// thread that starts it.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup kills the process group of a program.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) } // it may be gone

const (
	idTypePID    = 1 // P_PID
	siginfoBytes = 128
)

// awaitExit waits for the exit of a program. Until reap is called, its number is not
// given to another process, so that its group can be killed safely.
func awaitExit(cmd *exec.Cmd) (reap func() error) {
	var info [siginfoBytes]byte
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, idTypePID, uintptr(cmd.Process.Pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			return cmd.Wait
		}
	}
}
