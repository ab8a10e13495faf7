//go:build unix

package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
)

// suspend stops a process until it is resumed.
func suspend(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// stopped waits until a child that was suspended runs no more.
func stopped(p *os.Process) error {
	var s syscall.WaitStatus
	if _, err := syscall.Wait4(p.Pid, &s, syscall.WUNTRACED, nil); err != nil {
		return err
	}
	if !s.Stopped() {
		return errors.New("the process has ended")
	}
	return nil
}

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// childPeak returns the greatest resident size of a process that has ended.
func childPeak(s *os.ProcessState) int64 {
	usage, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(usage.Maxrss)
	}
	return int64(usage.Maxrss) << 10
}

// processTime is the processor time that this process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// flush has the system write what it holds back for the disks, so that this is not done
// while the next subject is measured.
func flush() { syscall.Sync() }
