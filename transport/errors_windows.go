package transport

import "syscall"

// The operating system's own error values, under names that read well. The
// in-memory network returns the same ones, so errors.Is answers alike on every
// transport. (Package syscall's Exxx constants are inventions on Windows; these
// are Winsock's numbers.)
var (
	// ErrRefused: nobody listens there.
	ErrRefused error = syscall.Errno(10061)
	// ErrReset: the connection was broken by the other side, or on the way.
	ErrReset error = syscall.Errno(10054)
	// ErrTimedOut: the connection was given up after a long silence.
	ErrTimedOut error = syscall.Errno(10060)
	// ErrInUse: somebody listens there already.
	ErrInUse error = syscall.Errno(10048)
	// ErrNoPort: the host has no such address, or no free port is left.
	ErrNoPort error = syscall.Errno(10049)
	// ErrTooLarge: the packet is larger than the network carries.
	ErrTooLarge error = syscall.Errno(10040)
)
