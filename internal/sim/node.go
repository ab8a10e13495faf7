package sim

import "time"

// Process is a running program: what boot returns. The world calls it, one
// event at a time; it acts through the Node it was booted with.
type Process[M any] interface {
	// Receive gets a message. A message that was sent twice is the same value
	// twice: what it refers to must not be changed.
	Receive(from int, m M)
	// Timer gets the key of a timer that fired, or of a sync that was done.
	Timer(key uint64)
}

// Node is a machine: what a process has instead of an operating system. Its
// methods are called by its own process, during an event. It outlives the
// processes that boot on it.
type Node[M any] struct {
	w    *World[M]
	id   int
	name string
	boot func(*Node[M]) Process[M]
	proc Process[M] // nil while down

	incarnation uint32
	mortal      bool
	paused      int64 // until then
	logs        []storage
	names       []string // of the logs

	// The clock shows base + skew + (now - since) × rate.
	base  time.Time
	since int64
	rate  float64
}

// ID returns the number of the node: nodes count from 0 as they are added.
func (n *Node[M]) ID() int { return n.id }

// Name returns the name that Add was given.
func (n *Node[M]) Name() string { return n.name }

// Up reports whether a process runs on the node.
func (n *Node[M]) Up() bool { return n.proc != nil }

// Now reads the node's own clock, which goes back only when the node crashes.
func (n *Node[M]) Now() time.Time {
	return n.base.Add(time.Duration(float64(n.w.now-n.since) * n.rate))
}

// setClock sets the clock at a boot, as wrongly as the profile has it.
func (n *Node[M]) setClock() {
	w := n.w
	skew, drift := 0.0, 0.0
	if f := &w.profile; !w.calm && (f.Skew > 0 || f.Drift > 0) {
		skew = float64(f.Skew) * (2*w.chaos.Float64() - 1)
		drift = f.Drift * (2*w.chaos.Float64() - 1)
	}
	n.base = w.Now().Add(time.Duration(skew))
	n.since = w.now
	n.rate = 1 + drift
}

// steadyClock makes the clock run right, from what it shows.
func (n *Node[M]) steadyClock() {
	n.base, n.since, n.rate = n.Now(), n.w.now, 1
}

// Send sends m to another node, or to the node itself.
func (n *Node[M]) Send(to int, m M) { n.w.send(n, n.w.nodes[to], m) }

// Timer names a timer that was set. The zero Timer is none.
type Timer struct {
	body   int32
	serial uint32
}

// maxTimer bounds timers, so that the greatest Duration is very late and does not
// overflow.
const maxTimer = 100 * 365 * 24 * time.Hour

// After makes Process.Timer(key) be called when the node's clock has gone on by
// d, a hundred years at most, unless the node crashes first.
func (n *Node[M]) After(d time.Duration, key uint64) Timer {
	at := n.w.now + int64(float64(min(max(d, 0), maxTimer))/n.rate)
	return n.w.schedule(at, event[M]{kind: kindTimer, node: int32(n.id), boot: n.incarnation, key: key})
}

// Stop makes sure that a timer of this node does not fire any more.
func (n *Node[M]) Stop(t Timer) {
	q := &n.w.queue
	if t.serial == 0 || int(t.body) >= len(q.bodies) {
		return
	}
	if e := &q.bodies[t.body]; e.serial == t.serial && e.kind == kindTimer && int(e.node) == n.id {
		e.boot = 0 // no process has incarnation 0
	}
}

// Uint64N returns a random number below limit, from the workload's generator.
func (n *Node[M]) Uint64N(limit uint64) uint64 { return n.w.work.Uint64N(limit) }

// Count adds to a counter of Stats.Tally.
func (n *Node[M]) Count(name string, delta uint64) { n.w.Count(name, delta) }

// Failf ends the run: what the process has seen is impossible in a correct
// system.
func (n *Node[M]) Failf(format string, args ...any) {
	n.w.failf(n.name+": "+format, args...)
}

// Tracing reports whether Logf has an effect.
func (n *Node[M]) Tracing() bool { return n.w.trace != nil }

// Logf writes a line into the trace, if there is one. Where the arguments cost
// an allocation, ask Tracing first.
func (n *Node[M]) Logf(format string, args ...any) {
	n.w.tracef("    "+n.name+": "+format, args...)
}

// crash drops the process, and of the logs what may be lost.
func (n *Node[M]) crash() {
	n.proc = nil
	n.paused = 0
	n.w.stats.Crashes++
	for _, l := range n.logs {
		n.w.stats.Erased += uint64(l.crash())
	}
}

// start boots the node.
func (n *Node[M]) start() {
	n.incarnation++
	if n.incarnation > 1 {
		n.w.stats.Restarts++
	}
	n.setClock()
	n.proc = n.boot(n)
	if n.proc == nil && n.w.failure == nil {
		n.Failf("boot returned no process")
	}
}
