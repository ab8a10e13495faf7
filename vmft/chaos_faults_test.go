//lint:bubble
package vmft_test

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/trilith-go/trilith/transport"
)

// strike does to nodes, one after the other, what befalls machines, until it is told to end.
func (c *chaos) strike(rng *rand.Rand, end <-chan struct{}) {
	for c.wait(rng, 400, end) {
		i := rng.IntN(len(c.nodes))
		switch rng.IntN(9) {
		case 0, 1:
			c.killOne(i, rng, end)
		case 2, 8:
			c.failPower(rng, end)
		case 3:
			c.say("node %d stands", i)
			c.count.add("pauses", 1)
			c.host(i).Pause()
			c.wait(rng, 900, end)
			c.host(i).Resume()
			c.say("node %d goes on", i)
		case 4:
			c.hangMachine(i, rng, end)
		case 5:
			c.hangDisk(i, rng, end)
		case 6:
			c.fillDisk(i, rng, end)
		case 7:
			c.handOver(rng)
		}
	}
}

// wait waits for so many milliseconds at most, and reports whether it is not over.
func (c *chaos) wait(rng *rand.Rand, most int, end <-chan struct{}) bool {
	select {
	case <-end:
		return false
	case <-time.After(time.Duration(20+rng.IntN(most)) * time.Millisecond):
		return true
	}
}

// spare reports whether a node may be lost: another has all there is.
func (c *chaos) spare() bool {
	for range 200 {
		if c.whole() {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// end kills a node, and counts what it has done.
func (c *chaos) end(i int) {
	c.bury(i)
	c.kill(i)
}

// killOne kills a node, the primary as often as all others, and starts it again. It is a
// killed process, or a machine whose disk has lost what was not synced.
func (c *chaos) killOne(i int, rng *rand.Rand, end <-chan struct{}) {
	if !c.spare() {
		return
	}
	if p := c.primary(); rng.IntN(2) == 0 && p >= 0 {
		i = p
	}
	c.say("node %d is killed", i)
	c.count.add("kills", 1)
	if c.disks[i] != nil && rng.IntN(2) == 0 {
		c.disks[i] = c.disks[i].Crash()
	}
	c.end(i)
	c.wait(rng, 500, end)
	c.say("node %d is started", i)
	c.restart(i)
}

// primary is the node that is live, or -1.
func (c *chaos) primary() int {
	r, err := c.arbiter.Newest(context.Background())
	for i, n := range c.nodes {
		if err == nil && n != nil && n.Status().Self == r.Primary {
			return i
		}
	}
	return -1
}

// failPower has the power fail for all nodes, if they have journals.
func (c *chaos) failPower(rng *rand.Rand, end <-chan struct{}) {
	if c.kind != chaosJournals {
		return
	}
	c.say("the power fails")
	c.count.add("power failures", 1)
	for i := range c.nodes {
		c.disks[i] = c.disks[i].Crash()
		c.end(i)
	}
	for _, i := range rng.Perm(len(c.nodes)) {
		c.wait(rng, 100, end)
		c.say("node %d is started", i)
		c.restart(i)
	}
}

// hangMachine has a command of a node take its time.
func (c *chaos) hangMachine(i int, rng *rand.Rand, end <-chan struct{}) {
	c.say("the machine of node %d hangs", i)
	c.count.add("hung machines", 1)
	stuck, book := make(chan struct{}), c.books[i]
	book.mu.Lock()
	book.stuck = stuck
	book.mu.Unlock()
	c.wait(rng, 1200, end)
	book.mu.Lock()
	book.stuck = nil
	book.mu.Unlock()
	close(stuck)
	c.say("the machine of node %d goes on", i)
}

// hangDisk has a sync of a node take its time.
func (c *chaos) hangDisk(i int, rng *rand.Rand, end <-chan struct{}) {
	if c.disks[i] == nil {
		return
	}
	c.say("the disk of node %d hangs", i)
	c.count.add("hung disks", 1)
	slow := make(chan struct{})
	c.mu.Lock()
	c.slow[i] = slow
	c.mu.Unlock()
	c.wait(rng, 1200, end)
	c.mu.Lock()
	c.slow[i] = nil
	c.mu.Unlock()
	close(slow)
	c.say("the disk of node %d goes on", i)
}

// fillDisk leaves no room on a disk until the node has failed, and then some.
func (c *chaos) fillDisk(i int, rng *rand.Rand, end <-chan struct{}) {
	if c.disks[i] == nil || !c.spare() {
		return
	}
	c.say("the disk of node %d is full", i)
	c.count.add("full disks", 1)
	c.disks[i].SetCapacity(max(1, c.disks[i].Used()))
	c.wait(rng, 800, end)
	c.disks[i].SetCapacity(0)
	if c.nodes[i].Status().Err == nil {
		c.say("the disk of node %d was not written to", i)
		return
	}
	c.end(i)
	c.say("node %d is started", i)
	c.restart(i)
}

// handOver has the primary hand over. Sometimes the heir is lost at once.
func (c *chaos) handOver(rng *rand.Rand) {
	p := c.primary()
	if p < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.say("node %d is to hand over", p)
	err := c.nodes[p].HandOver(ctx)
	c.say("node %d has handed over: %v", p, err)
	if heir := c.primary(); err == nil && heir >= 0 && heir != p && rng.IntN(3) == 0 && c.arbiterSays(heir, p) {
		c.say("the heir, node %d, is killed", heir)
		c.count.add("kills", 1)
		c.end(heir)
		c.restart(heir)
	}
}

// arbiterSays reports whether the newest record is of two nodes as they are.
func (c *chaos) arbiterSays(primary, backup int) bool {
	r, err := c.arbiter.Newest(context.Background())
	return err == nil && r.Primary == c.nodes[primary].Status().Self && r.Backup == c.nodes[backup].Status().Self
}

// tangle does to the network and the arbiter what befalls those, until it is told to end.
func (c *chaos) tangle(rng *rand.Rand, end <-chan struct{}) {
	for c.wait(rng, 400, end) {
		i := rng.IntN(len(c.nodes))
		j := (i + 1 + rng.IntN(len(c.nodes)-1)) % len(c.nodes)
		switch rng.IntN(6) {
		case 0:
			c.cut("partitions", func() error { return c.network.Partition([]string{c.name(i)}, []string{c.name(j)}) }, i, j, rng, end)
		case 1:
			c.cut("one-way partitions", func() error { return c.network.PartitionOneWay([]string{c.name(i)}, []string{c.name(j)}) }, i, j, rng, end)
		case 2:
			c.say("the arbiter is away from node %d", i)
			c.count.add("arbiter away from one", 1)
			c.arbiter.cut(i, true)
			c.wait(rng, 800, end)
			c.arbiter.cut(i, false)
		case 3:
			c.say("the arbiter is away")
			c.count.add("arbiter away from all", 1)
			for n := range c.nodes {
				c.arbiter.cut(n, true)
			}
			c.wait(rng, 800, end)
			for n := range c.nodes {
				c.arbiter.cut(n, false)
			}
			c.say("the arbiter is back")
		case 4:
			c.say("the link from %d to %d is slow", i, j)
			c.count.add("slow links", 1)
			c.link(i, j, transport.Link{Latency: transport.Uniform(0, 100*time.Millisecond), Bandwidth: 64 << 10})
			c.wait(rng, 1000, end)
			c.link(i, j, mildly)
		case 5:
			n, err := c.network.Reset(c.name(i), c.name(j))
			c.say("connections between %d and %d break: %d, %v", i, j, n, err)
			c.count.add("broken connections", min(n, 1))
		}
	}
}

// cut cuts two nodes off from each other for a while.
func (c *chaos) cut(what string, f func() error, i, j int, rng *rand.Rand, end <-chan struct{}) {
	c.say("%s of nodes %d and %d", what, i, j)
	c.count.add(what, 1)
	if err := f(); err != nil {
		c.t.Error(err)
	}
	c.wait(rng, 900, end)
	c.network.Heal()
	c.say("the network is whole")
}
