package rv64

import "net/netip"

// A Network says how a machine is told of its connections, and reads what becomes of them:
// what whoever drives machines of several kinds needs, in types of the standard library.
// Its methods are pure.
type Network struct{}

// What an output is to a connection, as [Network.Effect] has it.
const (
	effectNone   = 0
	effectData   = 1
	effectWindow = 2
	effectEnd    = 3
	effectClose  = 4
)

// Connect is [ConnectEvent].
func (Network) Connect(conn uint64, port uint16, from netip.AddrPort) []byte {
	return ConnectEvent(conn, port, from.Addr().As16(), from.Port())
}

// Data is [DataEvent].
func (Network) Data(conn uint64, b []byte) []byte { return DataEvent(conn, b) }

// End is [EndEvent].
func (Network) End(conn uint64) []byte { return EndEvent(conn) }

// Reset is [ResetEvent].
func (Network) Reset(conn uint64) []byte { return ResetEvent(conn) }

// Taken is [TakenEvent].
func (Network) Taken(conn uint64, n int) []byte { return TakenEvent(conn, n) }

// Effect reads an output of [Machine.NextOutput]. effect is 1 if bytes leave, which data
// borrows; 2 if the program has read n bytes; 3 if it sends no more; 4 if it has closed the
// connection; and 0 for all that is about something else.
func (Network) Effect(output []byte) (effect int, conn uint64, n int, data []byte) {
	o, err := ParseOutput(output)
	if err != nil || o.Conn < firstConn {
		return effectNone, 0, 0, nil
	}
	switch o.Kind {
	case OutputData:
		return effectData, o.Conn, 0, o.Data
	case OutputWindow:
		return effectWindow, o.Conn, int(o.Number), nil
	case OutputShutdown:
		return effectEnd, o.Conn, 0, nil
	case OutputClose:
		return effectClose, o.Conn, 0, nil
	}
	return effectNone, 0, 0, nil
}
