package mapreducetest

import (
	"context"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/transport"
)

const (
	// A run has so many faults, with so many units between two of them, or between
	// one and the end of another.
	minFaults, maxFaults = 3, 12
	pauseUnits           = 5
	// One pause in so many is longer by a factor: what is cut off then is taken for dead.
	longPauses  = 4
	longerPause = 8
	// slowFactor is how many times longer calls take on a slow disk.
	slowFactor = 10
	// maxErrors bounds the calls that fail for one fault.
	maxErrors = 3
)

// torment makes things go wrong until there has been enough of it, or the job has
// ended, which ends running. In the end all is well again.
func (c *cluster) torment(running, ctx context.Context) error {
	var heal []func() error
	for left := minFaults + c.rand.IntN(maxFaults-minFaults+1); left > 0 || len(heal) > 0; {
		if !c.pause(running) {
			break
		}
		if i := c.rand.IntN(len(heal) + 1); i < len(heal) || left == 0 {
			i %= len(heal)
			if err := heal[i](); err != nil {
				return err
			}
			heal = append(heal[:i], heal[i+1:]...)
			continue
		}
		left--
		h, err := c.strike(ctx)
		if err != nil {
			return err
		}
		if h != nil {
			heal = append(heal, h)
		}
	}
	for _, h := range heal {
		if err := h(); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// pause waits for a while. It reports whether the job still runs.
func (c *cluster) pause(running context.Context) bool {
	d := time.Duration(c.rand.Int64N(int64(pauseUnits*c.unit) + 1))
	if c.rand.IntN(longPauses) == 0 {
		d *= longerPause
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return running.Err() == nil
	case <-running.Done():
		return false
	}
}

// strike makes one thing go wrong, and returns what ends it, if anything does.
func (c *cluster) strike(ctx context.Context) (heal func() error, err error) {
	var kinds []Fault
	for kind := Fault(1); kind < AllFaults; kind <<= 1 {
		if c.cfg.Faults&kind != 0 {
			kinds = append(kinds, kind)
		}
	}
	victim := c.workers[c.rand.IntN(len(c.workers))]
	mode := transport.CrashMode(c.rand.IntN(2))
	switch kinds[c.rand.IntN(len(kinds))] {
	case WorkerCrashes:
		if victim.worker == nil {
			return nil, nil
		}
		c.count(&c.report.WorkerCrashes, "crash", victim.host, mode)
		c.report.FileErrors += victim.speed.failures()
		if err := c.killWorker(victim, mode); err != nil {
			return nil, err
		}
		return func() error {
			c.network.Host(victim.host).Restart()
			return c.startWorker(ctx, victim)
		}, nil
	case CoordinatorCrashes:
		if c.coordinator == nil {
			return nil, nil
		}
		c.count(&c.report.CoordinatorCrashes, "crash", coordinatorHost, mode)
		c.report.FileErrors += c.speed.failures()
		c.killCoordinator(mode)
		return func() error {
			c.network.Host(coordinatorHost).Restart()
			return c.startCoordinator(ctx)
		}, nil
	case NetworkFaults:
		return c.strikeNetwork()
	case SlowWorkers:
		return c.slowDown(victim), nil
	default: // FileErrors
		s := c.speed
		if c.rand.IntN(5) > 0 {
			s = victim.speed
		}
		s.failNext(1 + c.rand.IntN(maxErrors)) // counted when they have failed
		return nil, nil
	}
}

// slowDown makes a worker slow, or stop.
func (c *cluster) slowDown(n *node) (heal func() error) {
	s, host := n.speed, c.network.Host(n.host) // the incarnation's
	switch c.rand.IntN(3) {
	case 0:
		c.count(&c.report.SlowWorkers, "slow", n.host)
		s.slow(slowFactor)
	case 1:
		c.count(&c.report.SlowWorkers, "disk hangs", n.host)
		s.hang()
	default:
		c.count(&c.report.SlowWorkers, "machine hangs", n.host)
		host.Pause()
		return func() error {
			host.Resume()
			return nil
		}
	}
	return func() error {
		s.normal()
		return nil
	}
}

// strikeNetwork cuts off some hosts, or breaks the connections between two.
func (c *cluster) strikeNetwork() (heal func() error, err error) {
	hosts := []string{coordinatorHost, clientHost}
	for _, n := range c.workers {
		hosts = append(hosts, n.host)
	}
	for _, host := range hosts {
		c.network.Host(host) // it is known from now on
	}
	c.rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	cut := 1 + c.rand.IntN(len(hosts)-1)
	side, rest := hosts[:cut], hosts[cut:]
	switch c.rand.IntN(4) {
	case 0:
		c.count(&c.report.NetworkFaults, "partition", side)
		err = c.network.Partition(side)
	case 1:
		c.count(&c.report.NetworkFaults, "one-way partition", side, rest)
		err = c.network.PartitionOneWay(side, rest)
	case 2:
		c.count(&c.report.NetworkFaults, "hold", hosts[0], hosts[1])
		err = c.network.Hold(hosts[0], hosts[1])
	default:
		broken, err := c.network.Reset(hosts[0], hosts[1])
		if broken > 0 {
			c.count(&c.report.NetworkFaults, "reset", hosts[0], hosts[1])
		}
		return nil, err
	}
	return func() error {
		c.network.Heal()
		return nil
	}, err
}

// count counts a fault and tells of it.
func (c *cluster) count(n *int, what string, on ...any) {
	*n++
	if c.cfg.Logger.IsInfo() {
		c.cfg.Logger.Info("fault", "what", what, "on", fmt.Sprint(on...))
	}
}

// fileErrors returns how many calls of the present processes have failed.
func (c *cluster) fileErrors() int {
	n := 0
	if c.coordinator != nil {
		n += c.speed.failures()
	}
	for _, w := range c.workers {
		if w.worker != nil {
			n += w.speed.failures()
		}
	}
	return n
}
