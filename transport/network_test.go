package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, cfg := range map[string]transport.NetworkConfig{
		"NetworkConfig.Latency":      {Latency: transport.Constant(-time.Second)},
		"NetworkConfig.ReorderDelay": {ReorderDelay: transport.Uniform(2, 1)},
		"NetworkConfig.Bandwidth":    {Bandwidth: -1},
		"NetworkConfig.Reset":        {Reset: 1.01},
		"NetworkConfig.Loss":         {Loss: -0.01},
		"NetworkConfig.Duplicate":    {Duplicate: math.NaN()},
		"NetworkConfig.Reorder":      {Reorder: math.Inf(1)},
		"NetworkConfig.BreakAfter":   {BreakAfter: -1},
		"NetworkConfig.Buffer":       {Buffer: -1},
		"NetworkConfig.Backlog":      {Backlog: -1},
		"NetworkConfig.MaxPacket":    {MaxPacket: -1},
		"NetworkConfig.PacketQueue":  {PacketQueue: -1},
		"NetworkConfig.FaultLog":     {FaultLog: -1},
	} {
		n, err := transport.NewNetwork(cfg)
		if n != nil || !errors.Is(err, transport.ErrConfig) || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s: %v, %v", field, n, err)
		}
	}
}

func TestFaultsRefuseBadArguments(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	n.Host("a")
	n.Host("b")
	_, resetErr := n.Reset("a", "x")
	for what, c := range map[string]struct{ err, want error }{
		"partition":     {n.Partition([]string{"a", "x"}), transport.ErrUnknownHost},
		"twice":         {n.Partition([]string{"a"}, []string{"b", "a"}), transport.ErrConfig},
		"one way":       {n.PartitionOneWay([]string{"a"}, []string{"x"}), transport.ErrUnknownHost},
		"hold":          {n.Hold("a", "x"), transport.ErrUnknownHost},
		"release":       {n.Release("x", "a"), transport.ErrUnknownHost},
		"unknown link":  {n.SetLink("a", "x", transport.Link{}), transport.ErrUnknownHost},
		"bad link":      {n.SetLink("a", "b", transport.Link{Loss: 2}), transport.ErrConfig},
		"reset":         {resetErr, transport.ErrUnknownHost},
		"empty release": {n.Release("a", "b"), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	if got := len(n.Faults()); got != 1 {
		t.Errorf("refused faults are in the log: %v", n.Faults())
	}
}

func TestAddresses(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	a := n.Host("a")
	if n.Host("a") != a || a.Name() != "a" {
		t.Error("Host gives another host of the same name")
	}
	for addr, want := range map[string]error{
		"b:1":     transport.ErrNoPort,
		"a":       transport.ErrBadAddress,
		"a:65536": transport.ErrBadAddress,
		"a:http":  transport.ErrBadAddress,
		"":        transport.ErrBadAddress,
	} {
		_, err := a.Listen(t.Context(), addr)
		wantIs(t, "Listen "+addr, err, want)
		_, err = a.ListenPacket(t.Context(), addr)
		wantIs(t, "ListenPacket "+addr, err, want)
	}
	for addr, want := range map[string]error{
		"b:1": transport.ErrUnknownHost,
		"a:1": transport.ErrRefused,
		"a:0": transport.ErrRefused,
		":1":  transport.ErrRefused,
		"a":   transport.ErrBadAddress,
	} {
		wantIs(t, "Dial "+addr, dialFor(a, addr, time.Second), want)
	}
	for _, name := range []string{"", "a b", "[a]", "ä", "a\n", strings.Repeat("x", 256)} {
		h := n.Host(name)
		_, err := h.Listen(t.Context(), ":1")
		wantIs(t, fmt.Sprintf("Listen on host %q", name), err, transport.ErrBadAddress)
		_, err = h.ListenPacket(t.Context(), ":1")
		wantIs(t, fmt.Sprintf("ListenPacket on host %q", name), err, transport.ErrBadAddress)
		wantIs(t, fmt.Sprintf("Dial from host %q", name), dialFor(h, "a:1", time.Second), transport.ErrBadAddress)
		h.Crash(transport.CrashReset)
		h.Restart()
	}
	// Names that look like IP addresses are names.
	c, s := join(t, n, "10.0.0.1", "a")
	send(t, c, "hello")
	expect(t, s, "hello")
	l, err := n.Host("::1").Listen(t.Context(), "[::1]:80")
	must(t, err)
	defer l.Close()
	must(t, dialFor(a, "[::1]:80", time.Second))
}

func TestPortsRunOut(t *testing.T) {
	const ports = 65536 - 16384
	n := transporttest.NewNetwork(t, transport.NetworkConfig{Backlog: 1 << 20})
	l, err := n.Host("b").Listen(t.Context(), ":1")
	must(t, err)
	seen := make(map[string]bool)
	var last net.Conn
	for range ports {
		last, err = n.Host("a").Dial(t.Context(), "b:1")
		must(t, err)
		seen[last.LocalAddr().String()] = true
	}
	if len(seen) != ports {
		t.Errorf("%d connections have %d addresses", ports, len(seen))
	}
	wantIs(t, "Dial", dialFor(n.Host("a"), "b:1", time.Second), transport.ErrNoPort)
	_, err = n.Host("a").Listen(t.Context(), ":0")
	wantIs(t, "Listen", err, transport.ErrNoPort)
	last.Close()
	must(t, dialFor(n.Host("a"), "b:1", time.Second))
	l.Close()
}

func TestNetworkClose(t *testing.T) {
	inBubble(t, transport.NetworkConfig{Latency: transport.Constant(time.Hour), BreakAfter: time.Hour}, func(t *testing.T, n *transport.Network) {
		a := n.Host("a")
		client, server := join(t, n, "a", "b")
		from, to := packets(t, n, "a", "b")
		l, err := a.Listen(t.Context(), ":1")
		must(t, err)
		must(t, n.Hold("a", "b"))
		send(t, client, "never arrives")
		_, err = from.WriteTo([]byte("nor this"), to.LocalAddr())
		must(t, err)
		errs := make(chan error)
		waiting := []func() error{
			func() error { _, err := l.Accept(); return err },
			func() error { _, err := server.Read(make([]byte, 1)); return err },
			func() error { _, _, err := to.ReadFrom(make([]byte, 1)); return err },
			func() error { _, err := a.Dial(t.Context(), "b:1"); return err },
		}
		for _, f := range waiting {
			go func() { errs <- f() }()
		}
		synctest.Wait()
		must(t, n.Close())
		must(t, n.Close())
		for range waiting {
			wantIs(t, "after Close", <-errs, net.ErrClosed)
		}
		_, err = a.Listen(t.Context(), ":0")
		wantIs(t, "Listen after Close", err, net.ErrClosed)
		wantIs(t, "Dial after Close", dialFor(a, "b:1", time.Second), net.ErrClosed)
		_, err = client.Write([]byte{1})
		wantIs(t, "Write after Close", err, net.ErrClosed)
		a.Crash(transport.CrashSilent)
		n.Heal()
	})
}

func TestFaultLogIsBounded(t *testing.T) {
	inBubble(t, transport.NetworkConfig{FaultLog: 3}, func(t *testing.T, n *transport.Network) {
		n.Host("a")
		n.Host("b")
		must(t, n.Partition([]string{"a"}, []string{"b"}))
		time.Sleep(time.Second)
		n.Host("a").Pause()
		n.Heal()
		must(t, n.Hold("a", "b"))
		must(t, n.SetLink("a", "b", transport.Link{Latency: transport.Constant(time.Second), Loss: 0.5, Bandwidth: 100}))
		var got []string
		for _, f := range n.Faults() {
			got = append(got, f.String())
		}
		want := []string{"1s heal", "1s hold a → b", "1s link a → b: latency 1s, 100 bytes/s, loss 0.5"}
		if !slices.Equal(got, want) {
			t.Errorf("the log holds %q, want %q", got, want)
		}
		if n.FaultCount(transport.FaultPartition) != 1 || n.FaultCount(transport.FaultKind(200)) != 0 {
			t.Error("faults that left the log are not counted")
		}
	})
}

func TestStatsByLink(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	c, s := join(t, n, "b", "a")
	send(t, c, "12345")
	send(t, c, "678")
	expect(t, s, "12345678")
	send(t, s, "9")
	check := func() {
		t.Helper()
		want := []transport.LinkStats{
			{From: "a", To: "b", Writes: 1, Bytes: 1, Delivered: 1},
			{From: "b", To: "a", Connections: 1, Writes: 2, Bytes: 8, Delivered: 8},
		}
		if got := n.Links(); !slices.Equal(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got := n.Stats("b", "a"); got != want[1] {
			t.Errorf("%+v, want %+v", got, want[1])
		}
	}
	check()
	s.Close()
	c.Close()
	check() // what connections did that are gone
	if got := n.Stats("a", "z"); got != (transport.LinkStats{From: "a", To: "z"}) {
		t.Errorf("%+v of hosts that never met", got)
	}
}

// TestChaos sends numbered bytes over many connections while everything goes
// wrong. Whatever arrives must be a prefix of what was sent, and the whole of it
// where the connection ends well.
func TestChaos(t *testing.T) {
	var partitions, resets, crashes, broken, whole uint64
	lack := func() string {
		return testutil.Lack(
			map[string]uint64{"whole transfers": whole, "broken transfers": broken, "partitions": partitions, "crashes": crashes, "resets": resets},
			map[string]uint64{"whole transfers": 200, "broken transfers": 100, "partitions": 100, "crashes": 100, "resets": 50},
		)
	}
	testutil.Enough(t, 20, lack, func(i int) {
		seed := uint64(i)
		cfg := transport.NetworkConfig{
			Seed: seed, Latency: transport.Exponential(20 * time.Millisecond), Reset: 0.0005,
			Buffer: 4 << 10, Bandwidth: 1 << 20, BreakAfter: 20 * time.Second,
		}
		inBubble(t, cfg, func(t *testing.T, n *transport.Network) {
			w, b := chaos(t, n, seed)
			whole += w
			broken += b
			partitions += n.FaultCount(transport.FaultPartition)
			crashes += n.FaultCount(transport.FaultCrash)
			resets += n.FaultCount(transport.FaultReset)
		})
		if t.Failed() {
			t.Errorf("seed %d", seed)
		}
	})
	t.Logf("%d transfers ended well, %d broke; %d partitions, %d crashes, %d resets", whole, broken, partitions, crashes, resets)
}

var chaosHosts = []string{"a", "b", "c", "d"}

const chaosBytes = 80 << 10

//lint:bubble
func chaos(t *testing.T, n *transport.Network, seed uint64) (whole, broken uint64) {
	type end struct {
		err error
		n   int
	}
	ends := make(chan end)
	var servers sync.WaitGroup
	for _, name := range chaosHosts {
		servers.Go(func() { serveChaos(n.Host(name), &servers, func(err error, n int) { ends <- end{err, n} }) })
	}
	stop := make(chan struct{})
	for i, name := range chaosHosts {
		go func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for {
				sendNumbered(n.Host(name), chaosHosts[r.IntN(4)]+":1")
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(r.IntN(500)) * time.Millisecond):
				}
			}
		}()
	}
	go func() {
		r := rand.New(rand.NewPCG(seed, 99))
		for range 60 {
			time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
			causeFault(t, n, r)
		}
		close(stop)
		n.Heal()
		for _, name := range chaosHosts {
			n.Host(name).Resume()
			n.Host(name).Restart()
		}
		time.Sleep(5 * time.Minute) // all that is on its way arrives
		n.Close()
		servers.Wait()
		close(ends)
	}()
	for e := range ends {
		if errors.Is(e.err, errWrongByte) {
			t.Errorf("after %d bytes: %v", e.n, e.err)
		}
		if e.err == nil {
			whole++
			if e.n != chaosBytes {
				t.Errorf("a connection ended well after %d bytes of %d", e.n, chaosBytes)
			}
		} else {
			broken++
		}
	}
	return whole, broken
}

var errWrongByte = errors.New("wrong byte")

func sendNumbered(h *transport.Host, addr string) {
	c, err := h.Dial(context.Background(), addr)
	if err != nil {
		return
	}
	defer c.Close()
	p := make([]byte, 1000)
	for sent := 0; sent < chaosBytes; {
		k := min(len(p), chaosBytes-sent)
		for i := range k {
			p[i] = byte((sent + i) * 7 >> 3)
		}
		k, err := c.Write(p[:k])
		sent += k
		if err != nil {
			return
		}
	}
}

// serveChaos listens until the network is closed, also after crashes.
//
//lint:bubble
func serveChaos(h *transport.Host, servers *sync.WaitGroup, report func(err error, n int)) {
	for {
		l, err := h.Listen(context.Background(), ":1")
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // the host is down
			continue
		}
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			servers.Go(func() {
				defer c.Close()
				k, err := receiveNumbered(c)
				if !errors.Is(err, net.ErrClosed) { // the end of the test
					report(err, k)
				}
			})
		}
	}
}

func receiveNumbered(c net.Conn) (n int, err error) {
	p := make([]byte, 1500)
	for {
		k, err := c.Read(p)
		for i := range k {
			if p[i] != byte((n+i)*7>>3) {
				return n + i, errWrongByte
			}
		}
		n += k
		if err == io.EOF {
			if n != chaosBytes {
				return n, io.ErrUnexpectedEOF
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func causeFault(t *testing.T, n *transport.Network, r *rand.Rand) {
	x, y := chaosHosts[r.IntN(4)], chaosHosts[r.IntN(4)]
	h := n.Host(x)
	switch r.IntN(12) {
	case 0, 1:
		must(t, n.Partition([]string{x}))
	case 2:
		must(t, n.PartitionOneWay([]string{x}, []string{y}))
	case 3:
		must(t, n.Hold(x, y))
	case 4:
		must(t, n.Release(x, y))
	case 5:
		_, err := n.Reset(x, y)
		must(t, err)
	case 6:
		h.Crash(transport.CrashReset)
	case 7:
		h.Crash(transport.CrashSilent)
	case 8:
		h.Pause()
	case 9:
		must(t, n.SetLink(x, y, transport.Link{Latency: transport.Uniform(0, 10*time.Millisecond)}))
	default:
		n.Heal()
		for _, name := range chaosHosts {
			n.Host(name).Resume()
			n.Host(name).Restart()
		}
	}
}
