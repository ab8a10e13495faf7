package transport_test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/transport"
)

// packets returns a packet connection on either host.
func packets(t *testing.T, n *transport.Network, from, to string) (a, b net.PacketConn) {
	t.Helper()
	a, err := n.Host(from).ListenPacket(t.Context(), ":0")
	must(t, err)
	t.Cleanup(func() { a.Close() })
	b, err = n.Host(to).ListenPacket(t.Context(), ":0")
	must(t, err)
	t.Cleanup(func() { b.Close() })
	return a, b
}

// sendNumbers sends numbered packets, one a millisecond, and returns the numbers
// in the order of their arrival.
//
//lint:bubble
func sendNumbers(t *testing.T, from, to net.PacketConn, packets int) (arrived []uint32) {
	go func() {
		for i := range packets {
			if _, err := from.WriteTo(binary.BigEndian.AppendUint32(nil, uint32(i)), to.LocalAddr()); err != nil {
				t.Errorf("WriteTo: %v", err)
			}
			<-time.After(time.Millisecond)
		}
	}()
	buf := make([]byte, 100)
	for {
		must(t, to.SetReadDeadline(time.Now().Add(time.Minute)))
		n, _, err := to.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return arrived
		}
		must(t, err)
		if n != 4 {
			t.Fatalf("a packet of %d bytes", n)
		}
		arrived = append(arrived, binary.BigEndian.Uint32(buf))
	}
}

func TestPacketFaultsFollowTheSeed(t *testing.T) {
	const sent = 2000
	run := func(seed uint64) (arrived []uint32) {
		cfg := transport.NetworkConfig{
			Seed: seed, Loss: 0.1, Duplicate: 0.05, Reorder: 0.05,
			Latency: transport.Constant(time.Millisecond),
		}
		inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
			from, to := packets(t, n, "a", "b")
			arrived = sendNumbers(t, from, to, sent)
			s := n.Stats("a", "b")
			if s.Packets != sent || s.PacketBytes != 4*sent {
				t.Errorf("%d packets and %d bytes, want %d and %d", s.Packets, s.PacketBytes, sent, 4*sent)
			}
			if got, want := uint64(len(arrived)), s.Packets-s.Lost+s.Duplicated; got != want {
				t.Errorf("%d packets arrived, the statistics say %d", got, want)
			}
			for _, c := range []struct {
				what     string
				kind     transport.FaultKind
				count    uint64
				min, max uint64
			}{
				{"lost", transport.FaultLoss, s.Lost, 150, 250},
				{"duplicated", transport.FaultDuplicate, s.Duplicated, 60, 120},
				{"reordered", transport.FaultReorder, s.Reordered, 60, 120},
			} {
				if c.count < c.min || c.count > c.max || n.FaultCount(c.kind) != c.count {
					t.Errorf("%d %s, and %d in the log, want from %d to %d", c.count, c.what, n.FaultCount(c.kind), c.min, c.max)
				}
			}
			seen := make(map[uint32]int)
			for _, i := range arrived {
				seen[i]++
			}
			if missing := sent - len(seen); uint64(missing) != s.Lost {
				t.Errorf("%d packets are missing, %d lost", missing, s.Lost)
			}
			if slices.IsSorted(arrived) {
				t.Error("no packet overtook another")
			}
		})
		return arrived
	}
	first, again, other := run(1), run(1), run(2)
	if !slices.Equal(first, again) {
		t.Error("the same seed gives other faults")
	}
	if slices.Equal(first, other) {
		t.Error("two seeds give the same faults")
	}
}

func TestPacketsKeepOrderWithoutReorder(t *testing.T) {
	inBubble(t, transport.NetworkConfig{Latency: transport.Constant(time.Second), Bandwidth: 1 << 20}, func(t *testing.T, n *transport.Network) {
		from, to := packets(t, n, "a", "b")
		if arrived := sendNumbers(t, from, to, 500); len(arrived) != 500 || !slices.IsSorted(arrived) {
			t.Errorf("%d of 500 packets arrived, in order: %v", len(arrived), slices.IsSorted(arrived))
		}
	})
}

func TestPacketsMeetPartitions(t *testing.T) {
	inBubble(t, transport.NetworkConfig{Latency: transport.Constant(time.Second)}, func(t *testing.T, n *transport.Network) {
		from, to := packets(t, n, "a", "b")
		write := func(s string) {
			t.Helper()
			_, err := from.WriteTo([]byte(s), to.LocalAddr())
			must(t, err)
		}
		write("on its way when the partition begins")
		must(t, n.PartitionOneWay([]string{"a"}, []string{"b"}))
		write("in the partition")
		time.Sleep(time.Minute)
		n.Heal()
		write("after it")
		buf := make([]byte, 100)
		k, addr, err := to.ReadFrom(buf)
		must(t, err)
		if string(buf[:k]) != "after it" || addr.String() != from.LocalAddr().String() {
			t.Errorf("%q arrived from %v", buf[:k], addr)
		}
		if s := n.Stats("a", "b"); s.Cut != 2 || n.FaultCount(transport.FaultCut) != 2 {
			t.Errorf("%d packets cut, and %d in the log, want 2", s.Cut, n.FaultCount(transport.FaultCut))
		}
	})
}

func TestPacketQueuesAreBounded(t *testing.T) {
	inBubble(t, transport.NetworkConfig{PacketQueue: 10, MaxPacket: 100}, func(t *testing.T, n *transport.Network) {
		from, to := packets(t, n, "a", "b")
		write := func(size int, addr string) error {
			_, err := from.WriteTo(make([]byte, size), transport.Addr(addr))
			return err
		}
		addr := to.LocalAddr().String()
		for range 25 {
			must(t, write(100, addr))
		}
		wantIs(t, "WriteTo", write(101, addr), transport.ErrTooLarge)
		must(t, write(1, "b:1"))
		wantIs(t, "WriteTo", write(1, "nobody:1"), transport.ErrUnknownHost)
		wantIs(t, "WriteTo", write(1, "b"), transport.ErrBadAddress)
		must(t, n.Hold("a", "b"))
		for range 5000 {
			must(t, write(1, addr))
		}
		s := n.Stats("a", "b")
		if s.Overflowed != 15+5000-4096 || n.FaultCount(transport.FaultOverflow) != s.Overflowed {
			t.Errorf("%d packets met a full queue, and %d in the log, want %d", s.Overflowed, n.FaultCount(transport.FaultOverflow), 15+5000-4096)
		}
		if s.Unreachable != 1 {
			t.Errorf("%d packets reached nobody, want 1", s.Unreachable)
		}
		// A packet that is longer than the reader's buffer is cut, as with UDP.
		k, _, err := to.ReadFrom(make([]byte, 3))
		must(t, err)
		if k != 3 {
			t.Errorf("read %d bytes into 3", k)
		}
	})
}

func TestPacketDeadlinesAndPauses(t *testing.T) {
	inBubble(t, transport.NetworkConfig{}, func(t *testing.T, n *transport.Network) {
		from, to := packets(t, n, "a", "b")
		must(t, from.SetDeadline(time.Now().Add(time.Minute)))
		time.Sleep(time.Minute)
		_, err := from.WriteTo([]byte{1}, to.LocalAddr())
		wantIs(t, "WriteTo", err, os.ErrDeadlineExceeded)
		_, _, err = from.ReadFrom(make([]byte, 1))
		wantIs(t, "ReadFrom", err, os.ErrDeadlineExceeded)
		must(t, from.SetWriteDeadline(time.Time{}))
		_, err = from.WriteTo([]byte{1}, to.LocalAddr())
		must(t, err)

		// In a pause, what has arrived waits, and a deadline too.
		n.Host("b").Pause()
		must(t, to.SetReadDeadline(time.Now().Add(2*time.Hour)))
		begin := time.Now()
		time.AfterFunc(time.Hour, n.Host("b").Resume)
		_, _, err = to.ReadFrom(make([]byte, 1))
		must(t, err)
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("ReadFrom returns after %v", d)
		}
		n.Host("b").Pause()
		time.AfterFunc(time.Hour, func() { to.Close() })
		_, err = to.WriteTo([]byte{1}, from.LocalAddr())
		wantIs(t, "WriteTo", err, net.ErrClosed)
		wantIs(t, "SetDeadline", to.SetDeadline(time.Time{}), net.ErrClosed)
	})
}
