//go:build !windows

package transport

import "syscall"

// The operating system's own error values, under names that read well. The
// in-memory network returns the same ones, so errors.Is answers alike on every
// transport.
var (
	// ErrRefused: nobody listens there.
	ErrRefused error = syscall.ECONNREFUSED
	// ErrReset: the connection was broken by the other side, or on the way.
	ErrReset error = syscall.ECONNRESET
	// ErrTimedOut: the connection was given up after a long silence.
	ErrTimedOut error = syscall.ETIMEDOUT
	// ErrInUse: somebody listens there already.
	ErrInUse error = syscall.EADDRINUSE
	// ErrNoPort: the host has no such address, or no free port is left.
	ErrNoPort error = syscall.EADDRNOTAVAIL
	// ErrTooLarge: the packet is larger than the network carries.
	ErrTooLarge error = syscall.EMSGSIZE
)
