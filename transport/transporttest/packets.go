package transporttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"os"
	"testing"
	"time"

	"github.com/trilith-go/trilith/transport"
)

func packetCases() []Case {
	return []Case{
		{"PacketEcho", testPacketEcho},
		{"PacketIntegrity", testPacketIntegrity},
		{"PacketTooLarge", testPacketTooLarge},
		{"PacketDeadline", testPacketDeadline},
		{"PacketClose", testPacketClose},
		{"PacketListenContext", testPacketListenContext},
	}
}

// listenPackets returns a packet connection on either side.
func (p Pair) listenPackets(t *testing.T) (client, server net.PacketConn) {
	t.Helper()
	listen := func(side transport.Transport, addr func() string) net.PacketConn {
		pt, ok := side.(transport.PacketTransport)
		if !ok {
			t.Skipf("%T carries no packets", side)
		}
		c, err := pt.ListenPacket(t.Context(), addr())
		if err != nil {
			t.Fatalf("ListenPacket: %v", err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	return listen(p.Client, p.ClientAddr), listen(p.Server, p.Addr)
}

// A packet may be lost: cases that need an answer ask tries times, and wait for
// tryFor each time.
const (
	tries  = 100
	tryFor = 100 * time.Millisecond
)

// ask sends question from one side to the other until it arrives there, and
// returns it as received, with its sender.
func ask(t *testing.T, from, to net.PacketConn, addr net.Addr, question []byte) (got []byte, sender net.Addr) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for range tries {
		if n, err := from.WriteTo(question, addr); n != len(question) || err != nil {
			t.Fatalf("WriteTo %v: %d, %v", addr, n, err)
		}
		to.SetReadDeadline(time.Now().Add(tryFor))
		n, sender, err := to.ReadFrom(buf)
		if err == nil {
			return buf[:n], sender
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("ReadFrom: %v", err)
		}
	}
	t.Fatalf("none of %d packets arrived", tries)
	return nil, nil
}

func testPacketEcho(t *testing.T, p Pair) {
	client, server := p.listenPackets(t)
	// The first packet goes to a configured address, the second to its sender.
	question := []byte("are you there?")
	got, sender := ask(t, client, server, transport.Addr(server.LocalAddr().String()), question)
	if !bytes.Equal(got, question) {
		t.Errorf("%q arrived, want %q", got, question)
	}
	if sender.String() != client.LocalAddr().String() {
		t.Errorf("it came from %v, want %v", sender, client.LocalAddr())
	}
	answer := []byte("yes")
	got, sender = ask(t, server, client, sender, answer)
	if !bytes.Equal(got, answer) {
		t.Errorf("%q arrived, want %q", got, answer)
	}
	if sender.String() != server.LocalAddr().String() {
		t.Errorf("it came from %v, want %v", sender, server.LocalAddr())
	}
	// Empty packets are packets.
	if got, _ = ask(t, client, server, server.LocalAddr(), nil); len(got) != 0 && !bytes.Equal(got, question) {
		t.Errorf("%q arrived, want nothing", got)
	}
}

// testPacketIntegrity checks that a packet arrives as it was sent or not at all.
func testPacketIntegrity(t *testing.T, p Pair) {
	const packets, largest = 100, 1200
	client, server := p.listenPackets(t)
	arrived := 0
	for i := range packets {
		sent := make([]byte, 8+i*(largest-8)/packets)
		fill(sent[4:], uint64(i))
		binary.LittleEndian.PutUint32(sent, crc32.ChecksumIEEE(sent[4:]))
		if _, err := client.WriteTo(sent, server.LocalAddr()); err != nil {
			t.Fatalf("WriteTo: %v", err)
		}
		clear(sent) // the packet is not the caller's slice
	}
	buf := make([]byte, 2*largest)
	for {
		server.SetReadDeadline(time.Now().Add(tryFor))
		n, _, err := server.ReadFrom(buf)
		if err != nil {
			wantTimeout(t, "ReadFrom", err)
			break
		}
		if n < 8 || crc32.ChecksumIEEE(buf[4:n]) != binary.LittleEndian.Uint32(buf) {
			t.Fatalf("a packet of %d bytes arrived damaged", n)
		}
		arrived++
	}
	if arrived == 0 {
		t.Errorf("none of %d packets arrived", packets)
	}
}

func testPacketTooLarge(t *testing.T, p Pair) {
	client, server := p.listenPackets(t)
	_, err := client.WriteTo(make([]byte, 16<<20), server.LocalAddr())
	wantErr(t, "WriteTo with 16 MiB", err, transport.ErrTooLarge)
	ask(t, client, server, server.LocalAddr(), []byte("small"))
}

func testPacketDeadline(t *testing.T, p Pair) {
	client, server := p.listenPackets(t)
	buf := make([]byte, 1)
	for _, d := range []time.Duration{-time.Hour, 0, 10 * time.Millisecond} {
		server.SetReadDeadline(time.Now().Add(d))
		_, _, err := server.ReadFrom(buf)
		wantTimeout(t, "ReadFrom", err)
	}
	server.SetReadDeadline(time.Time{})
	read := inBackground(func() error { _, _, err := server.ReadFrom(buf); return err })
	server.SetReadDeadline(time.Now().Add(-time.Second))
	wantTimeout(t, "ReadFrom", read(t))
	ask(t, client, server, server.LocalAddr(), []byte("x"))
}

func testPacketClose(t *testing.T, p Pair) {
	client, server := p.listenPackets(t)
	read := inBackground(func() error { _, _, err := server.ReadFrom(make([]byte, 1)); return err })
	server.Close()
	wantErr(t, "ReadFrom after Close", read(t), net.ErrClosed)
	client.Close()
	_, err := client.WriteTo([]byte{1}, server.LocalAddr())
	wantErr(t, "WriteTo after Close", err, net.ErrClosed)
	client.Close() // again, which must not panic
}

func testPacketListenContext(t *testing.T, p Pair) {
	pt, ok := p.Server.(transport.PacketTransport)
	if !ok {
		t.Skipf("%T carries no packets", p.Server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, err := pt.ListenPacket(ctx, p.Addr())
	if err != nil {
		t.Fatalf("ListenPacket: %v", err)
	}
	defer c.Close()
	cancel()
	ask(t, c, c, c.LocalAddr(), []byte("to myself"))
	if c, err := pt.ListenPacket(ctx, p.Addr()); err == nil {
		c.Close()
		t.Error("ListenPacket succeeds with a cancelled context")
	} else {
		wantErr(t, "ListenPacket with a cancelled context", err, context.Canceled)
	}
}
