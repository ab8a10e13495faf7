//lint:bubble
package vmft_test

import (
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// packetless is a transport without packets.
type packetless struct{ transport.Transport }

// §2.4: both buffers are bounded. A backup that is slow fills its own, then the primary's,
// and the primary stops until there is room. Nobody takes that for a death, whether signs of
// life have packets or only the channel that is full.
func TestPaper24Buffers(t *testing.T) {
	const bound, size = 256 << 10, 4 << 10
	for _, packets := range []bool{true, false} {
		testutil.Bubble(t, func(t *testing.T) {
			g, machines := slowGroup(t, func(cfg *vmft.Config) {
				cfg.BufferBytes, cfg.MaxLag = bound, time.Hour // the controller is another test's
				cfg.Limits.StreamWindowBytes = 64 << 10
				if !packets {
					cfg.Transport = packetless{cfg.Transport}
				}
			})
			defer g.close()
			primary, backup := g.settle()
			epoch := g.nodes[primary].Status().Newest.Epoch
			machines[backup].takes.Store(int64(20 * time.Millisecond))
			stop := g.load(primary, 512, size)
			for range 200 {
				time.Sleep(50 * time.Millisecond)
				p, b := g.nodes[primary].Status(), g.nodes[backup].Status()
				if p.KeptBytes > bound || b.KeptBytes > bound {
					t.Fatalf("the primary keeps %d bytes, the backup %d; at most %d", p.KeptBytes, b.KeptBytes, bound)
				}
			}
			values, errs := stop()
			s := g.nodes[primary].Status()
			if s.Stops == 0 || s.Role != vmft.RolePrimary || s.Newest.Epoch != epoch {
				t.Errorf("packets %v: the primary has stopped %d times, and is %s in %v; it was epoch %d, %v", packets, s.Stops, s.Role, s.Newest, epoch, errs[:min(len(errs), 3)])
			}
			// In 10 s a backup that takes 20 ms a command executes 500; its buffer has the rest.
			if n := len(values); n < 500 || n > 500+2*bound/size {
				t.Errorf("packets %v: %d commands were acknowledged, at the backup's pace it is 500", packets, n)
			}
		})
	}
}

// §2.4: beyond MaxLag of execution the primary gets less and less of its time, until the
// backup keeps up; when it is faster again, the primary gets its time back.
func TestPaper24LagController(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g, machines := slowGroup(t, nil)
		defer g.close()
		primary, backup := g.settle()
		machines[primary].takes.Store(int64(time.Millisecond))
		machines[backup].takes.Store(int64(4 * time.Millisecond))
		stop := g.load(primary, 4, 1)
		least, most := 1.0, time.Duration(0)
		for range 600 { // a minute
			time.Sleep(100 * time.Millisecond)
			s := g.nodes[primary].Status()
			least, most = min(least, s.Share), max(most, s.Lag)
		}
		s := g.nodes[primary].Status()
		if least > 0.5 || most > 6*time.Second || s.Lag > 2500*time.Millisecond || s.Stops > 0 || s.Role != vmft.RolePrimary {
			t.Errorf("the share went down to %.2f, the lag up to %v; in the end it is %v; %d stops", least, most, s.Lag, s.Stops)
		}
		machines[backup].takes.Store(int64(500 * time.Microsecond))
		time.Sleep(15 * time.Second)
		if s := g.nodes[primary].Status(); s.Share < 1 || s.Lag > 100*time.Millisecond {
			t.Errorf("the backup is fast again: the share is %.2f, the lag %v", s.Share, s.Lag)
		}
		if _, errs := stop(); len(errs) > 4 {
			t.Error(errs)
		}
	})
}

// §2.4: a channel with little bandwidth slows the primary down to what it carries, and is
// not taken for a death.
func TestPaper24CappedChannel(t *testing.T) {
	const bandwidth, size = 256 << 10, 4 << 10
	for _, packets := range []bool{true, false} {
		testutil.Bubble(t, func(t *testing.T) {
			g := newGroup(t, 2, func(_ int, cfg *vmft.Config) {
				cfg.BufferBytes = 512 << 10
				if !packets {
					cfg.Transport = packetless{cfg.Transport}
				}
			})
			defer g.close()
			primary, backup := g.settle()
			epoch := g.nodes[primary].Status().Newest.Epoch
			g.between(primary, backup, transport.Link{Bandwidth: bandwidth})
			before := g.nodes[primary].Status().LogBytes
			stop := g.load(primary, 200, size)
			time.Sleep(20 * time.Second)
			values, errs := stop()
			s := g.nodes[primary].Status()
			if s.Role != vmft.RolePrimary || s.Newest.Epoch != epoch {
				t.Errorf("packets %v: it is %s in %v, it was epoch %d", packets, s.Role, s.Newest, epoch)
			}
			if rate := len(values) * size / 20; rate < bandwidth/2 || rate > bandwidth {
				t.Errorf("packets %v: %d bytes a second went through a channel for %d; %v", packets, rate, bandwidth, errs[:min(len(errs), 3)])
			}
			if sent := s.LogBytes - before; sent < int64(len(values)*size) {
				t.Errorf("the status says that %d bytes were sent", sent)
			}
		})
	}
}

// §3.1: a backup is made too if there always is more of the log on its way than a candidate may
// lack otherwise, because the channel is long, or narrow.
func TestPaper31Channels(t *testing.T) {
	for name, link := range map[string]transport.Link{
		"long":   {Latency: transport.Constant(50 * time.Millisecond)},
		"narrow": {Bandwidth: 8 << 20},
	} {
		testutil.Bubble(t, func(t *testing.T) {
			g := newGroup(t, 2, func(_ int, cfg *vmft.Config) { cfg.BufferBytes = 4 << 20 })
			defer g.close()
			primary, backup := g.settle()
			g.between(primary, backup, link)
			g.kill(backup)
			stop := g.load(primary, 4, 4<<10) // 16 MB a second
			time.Sleep(time.Second)
			g.restart(backup)
			if p, b := g.settle(); p != primary || b != backup {
				t.Errorf("%s: node %d is the primary, node %d the backup", name, p, b)
			}
			if values, errs := stop(); len(values) < 4000 || len(errs) > 4 {
				t.Errorf("%s: %d commands in a second and more, %v", name, len(values), errs)
			}
		})
	}
}

// §2.2 and §4.3: on a channel of 50 ms each output waits for 100 ms, and the machine for
// nothing: with callers enough the throughput is what it was.
func TestPaper22Latency(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g, machines := slowGroup(t, nil)
		defer g.close()
		primary, backup := g.settle()
		for _, m := range machines {
			m.takes.Store(int64(time.Millisecond))
		}
		rate := func() int {
			stop := g.load(primary, 400, 1)
			time.Sleep(20 * time.Second) // beside which the first round trip does not count
			values, _ := stop()
			return len(values)
		}
		near := rate()
		g.between(primary, backup, transport.Link{Latency: transport.Constant(50 * time.Millisecond)})
		far := rate()
		if far < near*9/10 {
			t.Errorf("%d commands with 50 ms on the way, %d without", far, near)
		}
		time.Sleep(time.Second)
		if o := <-g.propose(primary, "b"); o.err != nil || o.took < 100*time.Millisecond || o.took > 110*time.Millisecond {
			t.Errorf("an output took %v, %v", o.took, o.err)
		}
		if s := g.nodes[primary].Status(); s.Newest.Backup.IsZero() || s.Share < 1 {
			t.Errorf("%v, share %.2f", s.Newest, s.Share)
		}
	})
}
