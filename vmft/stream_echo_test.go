package vmft

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// echoPort is the port that an echoProcessor listens on.
const echoPort = 7

// An echoProcessor is a program that sends back what it receives, each byte changed by where
// it stands and, if it is keyed, by when it was sent back: whatever is lost, repeated or out of place shows,
// and so does what another run of the same program would have sent. It takes one connection
// after the other, a few bytes an instruction, and remembers all that it has sent if it is keyed.
type echoProcessor struct {
	keyed   bool
	count   uint64
	conns   []*echoConn
	next    int
	outputs []streamOutput
	history []*echoHistory
}

type echoHistory struct {
	id        uint64
	sent, key []byte
}

type echoConn struct {
	id      uint64
	in      []byte
	done    uint64 // bytes sent back
	unacked int
	ended   bool
}

const echoRoom = 3000 // bytes of output that may be under way

// EchoProcessor returns a program that sends back what it receives, changed by [EchoByte],
// and EchoNetwork how it is told of connections.
func EchoProcessor() Processor { return &echoProcessor{} }

// EchoNetwork belongs to [EchoProcessor].
func EchoNetwork() Network { return echoNetwork{} }

// EchoByte is what a byte at a place comes back as.
func EchoByte(at uint64, b byte) byte { return echoByte(at, b) }

func echoByte(at uint64, b byte) byte { return b ^ byte(at*7>>3) ^ byte(at) }

// Position implements Processor, and so do the others.
func (p *echoProcessor) Position() uint64 { return p.count }

func (p *echoProcessor) Run(until uint64) uint64 {
	for ; p.count < until; p.count++ {
		if _, idle := p.Idle(); idle {
			break
		}
		p.next = (p.next + 1) % len(p.conns)
		p.serve(p.conns[p.next])
	}
	return p.count
}

func (p *echoProcessor) serve(c *echoConn) {
	n := min(len(c.in), 100, echoRoom-c.unacked)
	if n > 0 {
		b := make([]byte, n)
		key := byte(0)
		if p.keyed {
			key = byte(p.count * 0x9e3779b97f4a7c15 >> 56)
		}
		h := p.remembered(c.id)
		for i := range b {
			b[i] = echoByte(c.done+uint64(i), c.in[i]) ^ key
			h.key = append(h.key, key)
		}
		h.sent = append(h.sent, b...)
		c.in, c.done, c.unacked = c.in[n:], c.done+uint64(n), c.unacked+n
		p.emit(EffectWindow, c.id, n, nil)
		p.emit(EffectData, c.id, 0, b)
	}
	if c.ended && len(c.in) == 0 {
		p.emit(EffectEnd, c.id, 0, nil)
		p.emit(EffectClose, c.id, 0, nil)
		p.drop(c.id)
	}
}

// remembered returns what was sent on a connection.
func (p *echoProcessor) remembered(id uint64) *echoHistory {
	for _, h := range p.history {
		if h.id == id {
			return h
		}
	}
	return &echoHistory{}
}

func (p *echoProcessor) emit(effect int, conn uint64, n int, data []byte) {
	b := binary.AppendUvarint([]byte{byte(effect)}, conn)
	b = append(binary.AppendUvarint(b, uint64(n)), data...)
	p.outputs = append(p.outputs, streamOutput{p.count, b})
}

func (p *echoProcessor) drop(id uint64) {
	p.conns = slices.DeleteFunc(p.conns, func(c *echoConn) bool { return c.id == id })
}

func (p *echoProcessor) Interrupt() {}

func (p *echoProcessor) Inject(event []byte) error {
	d := wire.NewDecoder(event)
	kind, id := d.Byte(), d.Uvarint()
	i := slices.IndexFunc(p.conns, func(c *echoConn) bool { return c.id == id })
	if kind == 'c' {
		if port := d.Uvarint(); i >= 0 {
			return fmt.Errorf("connection %d is there", id)
		} else if port != echoPort {
			p.emit(EffectClose, id, 0, nil)
			return nil
		}
		p.conns = append(p.conns, &echoConn{id: id})
		if p.keyed {
			p.history = append(p.history, &echoHistory{id: id})
		}
		return nil
	}
	if i < 0 {
		return nil
	}
	c := p.conns[i]
	switch kind {
	case 'd':
		b := d.Rest()
		if c.ended || len(c.in)+len(b) > streamWindow {
			return fmt.Errorf("%d bytes for connection %d beyond its window or end", len(b), id)
		}
		c.in = append(c.in[:len(c.in):len(c.in)], b...)
	case 'e':
		c.ended = true
	case 'r':
		p.drop(id)
	case 't':
		n := int(d.Uvarint())
		if n > c.unacked {
			return fmt.Errorf("%d bytes of connection %d taken, of %d", n, id, c.unacked)
		}
		c.unacked -= n
	}
	return nil
}

func (p *echoProcessor) NextOutput() (at uint64, out []byte, ok bool) {
	if len(p.outputs) == 0 {
		return 0, nil, false
	}
	o := p.outputs[0]
	p.outputs = p.outputs[1:]
	return o.at, o.wire, true
}

func (p *echoProcessor) Idle() (wake time.Duration, idle bool) {
	return -1, !slices.ContainsFunc(p.conns, func(c *echoConn) bool {
		return len(c.in) > 0 && c.unacked < echoRoom || c.ended && len(c.in) == 0
	})
}

func (p *echoProcessor) Exited() (status int, exited bool) { return 0, false }
func (p *echoProcessor) Now() time.Duration                { return time.Duration(p.count) }
func (p *echoProcessor) Skip(time.Duration) []byte         { return []byte{'s', 0} }
func (p *echoProcessor) Fingerprint() string               { return "echo" }

func (p *echoProcessor) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, p.count)
	dst = binary.AppendUvarint(dst, uint64(p.next))
	dst = binary.AppendUvarint(dst, uint64(len(p.conns)))
	for _, c := range p.conns {
		dst = binary.AppendUvarint(dst, c.id)
		dst = wire.AppendBytes(dst, c.in)
		dst = binary.AppendUvarint(dst, c.done)
		dst = binary.AppendUvarint(dst, uint64(c.unacked))
		dst = wire.AppendBool(dst, c.ended)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.history)))
	for _, h := range p.history {
		dst = binary.AppendUvarint(dst, h.id)
		dst = wire.AppendBytes(wire.AppendBytes(dst, h.sent), h.key)
	}
	return dst
}

func (p *echoProcessor) Hash() [32]byte { return sha256.Sum256(p.append(nil)) }

func (p *echoProcessor) Freeze() (io.WriterTo, error) { return bytes.NewReader(p.append(nil)), nil }

func (p *echoProcessor) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d := wire.NewDecoder(b)
	n := echoProcessor{keyed: p.keyed, count: d.Uvarint(), next: d.Int(1 << 20)}
	for range d.Count(1) {
		n.conns = append(n.conns, &echoConn{id: d.Uvarint(), in: bytes.Clone(d.Bytes()), done: d.Uvarint(), unacked: d.Int(echoRoom), ended: d.Bool()})
	}
	for range d.Count(1) {
		n.history = append(n.history, &echoHistory{id: d.Uvarint(), sent: bytes.Clone(d.Bytes()), key: bytes.Clone(d.Bytes())})
	}
	if err := d.Finish(); err != nil {
		return err
	}
	*p = n
	return nil
}

// Delta has all there is: it implements Transferable all the same.
func (p *echoProcessor) Delta() (io.WriterTo, error) { return p.Freeze() }

func (p *echoProcessor) ApplyDelta(delta []byte) error { return p.Restore(bytes.NewReader(delta)) }

// echoNetwork is the Network of an echoProcessor.
type echoNetwork struct{}

func (echoNetwork) event(kind byte, conn uint64, rest ...byte) []byte {
	return append(binary.AppendUvarint([]byte{kind}, conn), rest...)
}

func (n echoNetwork) Connect(conn uint64, port uint16, _ netip.AddrPort) []byte {
	return binary.AppendUvarint(n.event('c', conn), uint64(port))
}
func (n echoNetwork) Data(conn uint64, b []byte) []byte { return n.event('d', conn, b...) }
func (n echoNetwork) End(conn uint64) []byte            { return n.event('e', conn) }
func (n echoNetwork) Reset(conn uint64) []byte          { return n.event('r', conn) }
func (n echoNetwork) Taken(conn uint64, k int) []byte {
	return binary.AppendUvarint(n.event('t', conn), uint64(k))
}

func (echoNetwork) Effect(output []byte) (effect int, conn uint64, n int, data []byte) {
	d := wire.NewDecoder(output)
	return int(d.Byte()), d.Uvarint(), int(d.Uvarint()), d.Rest()
}
