//lint:bubble
package vmft_test

import (
	"context"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/vmft"
)

// Whoever hands over becomes the backup by the same record, without a clone.
func TestHandOverExchangesRoles(t *testing.T) {
	for _, journals := range []bool{false, true} {
		testutil.Bubble(t, func(t *testing.T) {
			g := newGroup(t, 0, nil)
			for i := range 2 {
				g.nodes, g.books, g.disks = append(g.nodes, nil), append(g.books, nil), append(g.disks, nil)
				if journals {
					g.disks[i] = vfs.NewMemory(uint64(i))
				}
			}
			g.start(0)
			g.start(1)
			defer g.close()
			c := g.client()
			defer c.Close()
			primary, backup := g.settle()
			next := uint64(1)
			for range 10 {
				count(t, c, "a", next, next+4)
				next += 5
				before, clones := g.nodes[primary].Status(), g.nodes[backup].Status().Clones
				began := time.Now()
				if err := g.nodes[primary].HandOver(context.Background()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 5*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if p, b := g.settle(); p != backup || b != primary {
					t.Fatalf("the primary is %d, the backup %d; it was %d that handed over", p, b, primary)
				}
				after := g.nodes[backup].Status()
				if after.Newest.Epoch != before.Newest.Epoch+1 || after.Newest.Backup != before.Self || after.Clones != clones {
					t.Errorf("%v follows %v, with %d clones", after.Newest, before.Newest, after.Clones-clones)
				}
				primary, backup = backup, primary
			}
			count(t, c, "a", next, next)
		})
	}
}

// A hand-over whose heir is lost at once loses nothing, though the logs are in memory: the
// former primary has everything, is a member, and goes on.
func TestHandOverToTheDead(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		for _, late := range []time.Duration{0, 100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 30 * time.Millisecond} {
			g := newGroup(t, 2, nil)
			g.latency()
			c := g.client()
			primary, backup := g.settle()
			count(t, c, "a", 1, 10)
			g.arbiter.cut(backup, true) // so that it cannot do without its new backup
			if err := g.nodes[primary].HandOver(context.Background()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(late)
			g.kill(backup)
			count(t, c, "a", 11, 20)
			if s := g.nodes[primary].Status(); s.Role != vmft.RolePrimary || s.Newest.Epoch != 4 {
				t.Errorf("%v after the hand-over the heir was lost; the other is %s in %v", late, s.Role, s.Newest)
			}
			g.arbiter.cut(backup, false)
			g.restart(backup)
			g.settle()
			c.Close()
			g.close()
		}
	})
}

// So it is when the heir is a newer version, which never was a backup: as long as it has
// not shown that it lives, by a record of its own, the older one can come back.
func TestUpgradeToTheDead(t *testing.T) {
	for _, dies := range []bool{true, false} {
		testutil.Bubble(t, func(t *testing.T) {
			g := newGroup(t, 1, nil)
			g.nodes, g.books, g.disks = append(g.nodes, nil), append(g.books, nil), append(g.disks, nil)
			defer g.close()
			c := g.client()
			defer c.Close()
			count(t, c, "a", 1, 10)
			g.tune = func(_ int, cfg *vmft.Config) {
				cfg.Machine.(*counter).version = "counter/2"
				cfg.Upgrades = []string{"counter/1"}
			}
			g.arbiter.cut(1, true)
			g.start(1)
			for g.nodes[0].Status().Newest.Epoch < 2 {
				time.Sleep(100 * time.Microsecond)
			}
			if r := g.nodes[0].Status().Newest; r.Primary.Addr != g.addr(1) || r.Backup.Addr != g.addr(0) {
				t.Fatalf("it hands over by %v", r)
			}
			if dies {
				g.kill(1)
			}
			g.live(0)
			if r := g.nodes[0].Status().Newest; r.Epoch != 3 || !r.Backup.IsZero() {
				t.Errorf("the older version is live in %v", r)
			}
			g.arbiter.cut(1, false)
			count(t, c, "a", 11, 20)
			if dies {
				g.restart(1)
			}
			for range 4000 { // and then it is upgraded after all
				if g.nodes[1].Status().Role == vmft.RolePrimary && g.nodes[1].Status().Newest.Backup.IsZero() {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			count(t, c, "a", 21, 30)
			if got := g.books[1].get("a"); got != 30 {
				t.Errorf("the newer version has counted to %d", got)
			}
		})
	}
}
