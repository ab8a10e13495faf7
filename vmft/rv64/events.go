package rv64

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// An OutputKind is what leaves a machine.
type OutputKind uint8

// What leaves a machine. Connections are known by the number that the machine, if
// it dials, or the one who injects the connection gives them.
const (
	OutputData     OutputKind = iota + 1 // Data for Conn; 1 is standard output, 2 standard error
	OutputWindow                         // the program has read Number bytes of Conn, or of standard input if it is 0
	OutputListen                         // the program listens on the port Conn
	OutputUnlisten                       // and does not any more
	OutputDial                           // the program wants Conn connected to Addr
	OutputShutdown                       // no more will be sent on Conn
	OutputClose                          // Conn is closed
	OutputBind                           // the program receives datagrams on the port Conn
	OutputUnbind                         // and does not any more
	OutputPacket                         // a datagram, Data, from the port Conn to Addr
	OutputExit                           // the program has ended with the status Number
	OutputDisk                           // Data is a [DiskRequest], Number its ID
)

// firstConn is the first number of a connection; those below are the console's.
const firstConn = 16

// An Output is one thing that has left a machine.
type Output struct {
	Kind   OutputKind
	Conn   uint64 // connection or port
	Number uint64
	IP     [16]byte // of OutputDial and OutputPacket; IPv4 as it is mapped into IPv6
	Port   uint16
	Data   []byte
}

type output struct {
	Kind   OutputKind
	Conn   uint64
	Number uint64
	Addr   address
	Data   []byte
	at     uint64
	wire   []byte
}

// emit lets something leave, at this position.
func (k *kernel) emit(o output) {
	b := []byte{byte(o.Kind)}
	b = binary.AppendUvarint(b, o.Conn)
	b = binary.AppendUvarint(b, o.Number)
	b = append(b, o.Addr.ip[:]...)
	b = binary.LittleEndian.AppendUint16(b, o.Addr.port)
	b = wire.AppendBytes(b, o.Data)
	o.at, o.wire = k.cpu.count, b
	h := sha256.New()
	h.Write(k.outputSum[:])
	h.Write(binary.LittleEndian.AppendUint64(nil, o.at))
	h.Write(b)
	h.Sum(k.outputSum[:0])
	k.outputs = append(k.outputs, o)
	k.outputBytes += len(b)
}

// ParseOutput reads what [Machine.NextOutput] has returned. Data is borrowed from b.
func ParseOutput(b []byte) (Output, error) {
	d := wire.NewDecoder(b)
	o := Output{Kind: OutputKind(d.Byte()), Conn: d.Uvarint(), Number: d.Uvarint()}
	copy(o.IP[:], d.Next(16))
	if p := d.Next(2); len(p) == 2 {
		o.Port = binary.LittleEndian.Uint16(p)
	}
	o.Data = d.Bytes()
	if err := d.Finish(); err != nil {
		return Output{}, fmt.Errorf("rv64: reading an output: %w", err)
	}
	if o.Kind == 0 || o.Kind > OutputDisk {
		return Output{}, fmt.Errorf("rv64: reading an output: %w: kind %d", wire.ErrCorrupt, o.Kind)
	}
	return o, nil
}

// The kinds of events.
const (
	eventSkip = iota + 1
	eventInput
	eventInputEnd
	eventConnect
	eventData
	eventEnd
	eventTaken
	eventReset
	eventDialed
	eventPacket
	eventSignal
	eventDiskDone
	eventDiskCatalog
)

// SkipEvent lets time pass: d, which is positive, at once.
func SkipEvent(d time.Duration) []byte {
	return binary.AppendUvarint([]byte{eventSkip}, uint64(max(d, 0)))
}

// InputEvent is standard input. What has not been read yet may not exceed 256 KiB
// in all; an OutputWindow with Conn 0 tells what has been.
func InputEvent(b []byte) []byte { return append([]byte{eventInput}, b...) }

// InputEndEvent is the end of standard input.
func InputEndEvent() []byte { return []byte{eventInputEnd} }

// ConnectEvent is a connection from ip and port, numbered conn, to a port that the
// program listens on. Conn is above 2^32 and was never given before. Is there no
// listener or its queue full, the connection is closed.
func ConnectEvent(conn uint64, listener uint16, ip [16]byte, port uint16) []byte {
	b := binary.AppendUvarint([]byte{eventConnect}, conn)
	b = binary.LittleEndian.AppendUint16(b, listener)
	b = append(b, ip[:]...)
	return binary.LittleEndian.AppendUint16(b, port)
}

// DataEvent is what has arrived on a connection. What has not been read yet may not
// exceed 256 KiB; an OutputWindow tells what has been.
func DataEvent(conn uint64, b []byte) []byte {
	return append(binary.AppendUvarint([]byte{eventData}, conn), b...)
}

// EndEvent is that the far end of a connection sends no more.
func EndEvent(conn uint64) []byte { return binary.AppendUvarint([]byte{eventEnd}, conn) }

// TakenEvent is that n bytes of a connection's output have been taken over: so much
// more may the program send.
func TakenEvent(conn uint64, n int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint([]byte{eventTaken}, conn), uint64(n))
}

// ResetEvent is that a connection has broken.
func ResetEvent(conn uint64) []byte { return binary.AppendUvarint([]byte{eventReset}, conn) }

// DialedEvent answers an OutputDial: errno is 0, or why not, as Linux numbers it.
func DialedEvent(conn uint64, errno int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint([]byte{eventDialed}, conn), uint64(errno))
}

// PacketEvent is a datagram to a port of the program. It may be dropped.
func PacketEvent(to uint16, ip [16]byte, port uint16, b []byte) []byte {
	e := binary.LittleEndian.AppendUint16([]byte{eventPacket}, to)
	e = append(e, ip[:]...)
	e = binary.LittleEndian.AppendUint16(e, port)
	return append(e, b...)
}

// SignalEvent sends a signal to the program.
func SignalEvent(sig int) []byte { return binary.AppendUvarint([]byte{eventSignal}, uint64(sig)) }

const (
	maxSkip = 10 * 366 * 24 * 3600 * 1e9 // ns of one skip: ten years
	maxTime = 1 << 62                    // ns that can be reached: what is due later never is
)

// inject does what an event says. It fails without having changed anything if the
// event is malformed or breaks a limit; what it says of a connection that is gone is
// of no effect.
func (k *kernel) inject(event []byte) error {
	d := wire.NewDecoder(event)
	kind := d.Byte()
	if k.exited && kind != eventDiskDone { // only the shared disk is still to be left
		return nil
	}
	switch kind {
	case eventSkip:
		ns := d.Uvarint()
		if ns > maxSkip || k.skipped > maxTime {
			return fmt.Errorf("a skip of %d ns is too far", ns)
		}
		if err := d.Finish(); err != nil {
			return err
		}
		k.skipped += ns
	case eventInput:
		b := d.Rest()
		if k.input.ended || len(k.input.data)+len(b) > maxInput {
			return fmt.Errorf("%d bytes of input exceed the window", len(b))
		}
		k.input.data = append(k.input.data, b...)
		k.inputChanged()
	case eventInputEnd:
		k.input.ended = true
		k.inputChanged()
	case eventSignal:
		sig := d.Int(signals)
		if err := d.Finish(); err != nil || sig == 0 {
			return fmt.Errorf("a malformed signal: %w", err)
		}
		k.post(nil, signalInfo{number: sig})
	case eventPacket:
		return k.packetArrives(&d)
	case eventConnect:
		return k.connectionArrives(&d)
	case eventDiskDone, eventDiskCatalog:
		return k.diskEvent(kind, &d)
	default:
		return k.connectionEvent(kind, &d)
	}
	return d.Err()
}

func (k *kernel) inputChanged() {
	for _, f := range k.files {
		if f != nil && f.kind == kindInput {
			k.changed(f)
		}
	}
	k.kick()
}

// wireAddress takes an address off an event.
func wireAddress(d *wire.Decoder) (a address) {
	copy(a.ip[:], d.Next(16))
	if b := d.Next(2); len(b) == 2 {
		a.port = binary.LittleEndian.Uint16(b)
	}
	if a.family = afInet6; a.isV4() {
		a.family = afInet
	}
	return a
}

func wirePort(d *wire.Decoder) uint16 {
	if b := d.Next(2); len(b) == 2 {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (k *kernel) packetArrives(d *wire.Decoder) error {
	to := address{family: afInet, port: wirePort(d)}
	from := wireAddress(d)
	b := d.Rest()
	if err := d.Err(); err != nil {
		return err
	}
	if len(b) > maxDatagram {
		return fmt.Errorf("a datagram of %d bytes", len(b))
	}
	if from.isV4() {
		to.ip[10], to.ip[11] = 0xff, 0xff
	}
	if s := k.receiver(&to, &from); s != nil {
		k.arrive(s, from, b)
	}
	return nil
}

func (k *kernel) connectionArrives(d *wire.Decoder) error {
	conn := d.Uvarint()
	to := address{family: afInet, port: wirePort(d)}
	peer := wireAddress(d)
	if err := d.Finish(); err != nil {
		return err
	}
	if conn < 1<<32 || k.ofConn(conn) != nil {
		return fmt.Errorf("connection %d is not a new one", conn)
	}
	if peer.isV4() {
		to.ip[10], to.ip[11] = 0xff, 0xff
	}
	l := k.listener(&to)
	if l == nil {
		to = address{family: afInet6, port: to.port}
		l = k.listener(&to)
	}
	if l == nil || len(l.backlog) >= l.backlogMax {
		k.emit(output{Kind: OutputClose, Conn: conn})
		return nil
	}
	s := k.newSocket(l.domain, sockStream)
	to.ip = to.loopback().ip
	s.state, s.local, s.peer, s.conn = socketConnected, to, peer, conn
	l.backlog = append(l.backlog, s.id)
	k.socketChanged(l)
	return nil
}

// connectionEvent is what happens to a connection that there is.
func (k *kernel) connectionEvent(kind byte, d *wire.Decoder) error {
	conn := d.Uvarint()
	n := uint64(0)
	var b []byte
	switch kind {
	case eventData:
		b = d.Rest()
	case eventTaken, eventDialed:
		n = d.Uvarint()
	case eventEnd, eventReset:
	default:
		return fmt.Errorf("an event of kind %d, which there is not", kind)
	}
	if err := d.Finish(); err != nil {
		return err
	}
	s := k.ofConn(conn)
	if s == nil || conn == 0 || s.state == socketDead {
		return nil
	}
	switch kind {
	case eventData:
		if s.ended || len(s.data)+len(b) > socketBuffer {
			return fmt.Errorf("%d bytes on connection %d exceed its window", len(b), conn)
		}
		if s.shutRead {
			k.emit(output{Kind: OutputWindow, Conn: conn, Number: uint64(len(b))})
			break
		}
		s.data = append(s.data, b...)
	case eventEnd:
		s.ended = true
	case eventTaken:
		if n > uint64(s.unacked) {
			return fmt.Errorf("%d bytes taken on connection %d, of %d", n, conn, s.unacked)
		}
		s.unacked -= int(n)
	case eventReset:
		k.reset(s, eCONNRESET)
	case eventDialed:
		if s.state != socketConnecting {
			return fmt.Errorf("connection %d was not being dialed", conn)
		}
		if s.state = socketConnected; n != 0 {
			k.reset(s, int64(min(n, 4095)))
		}
	}
	k.socketChanged(s)
	return nil
}
