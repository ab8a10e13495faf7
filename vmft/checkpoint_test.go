//lint:bubble
package vmft_test

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/vmft"
)

// A backup whose execution is behind makes checkpoints of what it has executed: what is in
// its journal beyond that is still there when the power is lost.
func TestCheckpointOfSlowBackup(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		machines := make([]*slow, 2)
		g := newGroup(t, 0, func(i int, cfg *vmft.Config) {
			machines[i] = &slow{counter: cfg.Machine.(*counter)}
			cfg.Machine, cfg.CheckpointBytes, cfg.MaxLag = machines[i], 2<<10, time.Hour
		})
		g.grow(2)
		for i := range g.nodes {
			g.disks[i] = vfs.NewMemory(uint64(i + 7))
			g.start(i)
		}
		defer g.close()
		primary, backup := g.settle()
		machines[backup].takes.Store(int64(2 * time.Millisecond))
		stop := g.load(primary, 16, 100)
		time.Sleep(time.Second)
		values, _ := stop()
		for i := range g.nodes {
			g.disks[i] = g.disks[i].Crash()
			g.kill(i)
		}
		for _, i := range []int{backup, primary} {
			g.restart(i)
		}
		g.settle()
		c := g.client()
		defer c.Close()
		out, err := c.Call(context.Background(), []byte(strings.Repeat("a", 100)))
		if err != nil {
			t.Fatal(err)
		}
		if got, acked := binary.LittleEndian.Uint64(out), slices.Max(values); got <= acked || acked < 1000 {
			t.Errorf("%d was acknowledged, and the next is %d", acked, got)
		}
	})
}
