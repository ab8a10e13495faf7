//go:build !unix

package main

import (
	"errors"
	"os"
	"time"
)

func suspend(*os.Process) error { return errors.ErrUnsupported }

func stopped(*os.Process) error { return errors.ErrUnsupported }

func resume(*os.Process) error { return errors.ErrUnsupported }

func childPeak(*os.ProcessState) int64 { return 0 }

func processTime() time.Duration { return 0 }

// flush does nothing: what the system holds back for the disks may disturb who is measured
// next.
func flush() {}
