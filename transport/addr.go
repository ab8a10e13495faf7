package transport

import (
	"fmt"
	"net"
	"strconv"
)

// An Addr is a "host:port" address by its text. The in-memory network uses it for
// everything, and WriteTo of every packet connection in this package takes it, so
// that a peer known by its configured address can be written to before it has
// been heard.
type Addr string

// Network returns "memory".
func (Addr) Network() string { return "memory" }

// String returns the address itself.
func (a Addr) String() string { return string(a) }

var _ net.Addr = Addr("")

// maxHostName bounds a host's name in bytes, as DNS does.
const maxHostName = 255

// parseAddr takes "host:port" apart. An empty host is the caller's own and left
// empty. Hosts that contain colons are written in brackets.
func parseAddr(addr string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%w: %q is not host:port", ErrBadAddress, addr)
	}
	if host != "" {
		if err := checkHostName(host); err != nil {
			return "", 0, err
		}
	}
	// ParseUint takes no sign, but it takes any number of leading zeros.
	p, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || len(digits) > 5 {
		return "", 0, fmt.Errorf("%w: port %q of %q is not a number from 0 to 65535", ErrBadAddress, digits, addr)
	}
	return host, uint16(p), nil
}

// joinAddr is parseAddr's inverse.
func joinAddr(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// checkHostName reports whether name can stand in an address.
func checkHostName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: a host's name is empty", ErrBadAddress)
	}
	if len(name) > maxHostName {
		return fmt.Errorf("%w: a host's name has %d bytes, more than %d", ErrBadAddress, len(name), maxHostName)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == '[' || c == ']' {
			return fmt.Errorf("%w: the host's name %q holds %q", ErrBadAddress, name, c)
		}
	}
	return nil
}
