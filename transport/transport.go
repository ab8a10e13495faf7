package transport

import (
	"context"
	"net"
)

// A Transport makes and accepts connections: ordered, reliable streams of bytes.
// Its methods may be called concurrently.
//
// The connections are net.Conns in full: deadlines work and give an error that
// matches os.ErrDeadlineExceeded and leaves the connection usable for reading,
// Read and Write may run at the same time, the bytes of two Writes do not mix,
// Close wakes both up with an error that matches net.ErrClosed, and what was
// written before Close still arrives, followed by io.EOF. A few hundred bytes can
// be written before anybody reads; a reader that stays away pushes back on the
// writer. A connection that offers CloseWrite() error ends one direction with it.
//
// transport/transporttest checks all of this.
type Transport interface {
	// Listen announces addr, whose form is the transport's own ("host:port"
	// here; port 0 picks a free one). The listener's Addr().String() is what
	// others dial. ctx governs this call alone: the listener outlives it and
	// ends by its Close, which wakes Accept with an error matching
	// net.ErrClosed and leaves accepted connections alone.
	//
	// Accept does not wait for anything a stranger sends: a connection whose
	// peer stays silent never keeps another from being accepted.
	Listen(ctx context.Context, addr string) (net.Listener, error)

	// Dial connects to addr. It fails when ctx ends first, with an error that
	// matches ctx.Err(), and leaves nothing behind; once it has returned, ctx no
	// longer matters to the connection. If Dial fails, the other side has
	// received no byte that the caller meant to send. Dial may need the other
	// side to use the accepted connection (a TLS handshake does), so one
	// goroutine should not dial itself.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// A PacketTransport is a Transport that carries single packets too, each whole
// or not at all, possibly lost, repeated or overtaken by later ones. Heartbeats
// use it.
type PacketTransport interface {
	Transport

	// ListenPacket announces addr for packets; ports of packets and of streams
	// are apart. ctx governs this call alone. WriteTo takes the addresses that
	// ReadFrom returns, and an [Addr]; a packet that is too large is an error
	// that matches [ErrTooLarge], never cut short.
	ListenPacket(ctx context.Context, addr string) (net.PacketConn, error)
}
