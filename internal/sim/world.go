package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Config shapes a world. The zero value of each field means its default.
type Config struct {
	// Faults is how bad it may get; each seed draws its own profile from it.
	Faults Faults
	// Fixed makes every seed have exactly Faults.
	Fixed bool
	// Chaos is the virtual time for which faults happen. The default is 5 s.
	Chaos time.Duration
	// Calm is the time that the world then has to get done. The default is 60 s.
	Calm time.Duration
	// Steps is the number of events after which a run fails as endless. The
	// default is 1,000,000.
	Steps uint64
}

func (c Config) withDefaults() Config {
	c.Faults = c.Faults.withDefaults()
	if c.Chaos == 0 {
		c.Chaos = 5 * time.Second
	}
	if c.Calm == 0 {
		c.Calm = time.Minute
	}
	if c.Steps == 0 {
		c.Steps = 1_000_000
	}
	return c
}

func (c Config) validate() error {
	if c.Chaos < 0 || c.Calm < 0 {
		return fmt.Errorf("sim: Config.Chaos is %v and Config.Calm %v; neither may be negative", c.Chaos, c.Calm)
	}
	return c.Faults.validate()
}

// World is a cluster in virtual time. It belongs to one goroutine. M is the type
// of the messages.
type World[M any] struct {
	cfg     Config
	seed    uint64
	profile Faults
	calm    bool

	queue   queue[M]
	now     int64 // nanoseconds since the world began
	nodes   []*Node[M]
	cuts    []uint8 // partitions that cut from → to, at from*len(nodes)+to
	parts   []partition
	chaos   rand.Rand // decides on faults
	work    rand.Rand // for the workload
	pcg     [2]rand.PCG
	started bool

	invariants []func() error
	done       []func() bool
	ends       []func() error
	failure    *Failure
	stats      Stats
	digest     uint64

	trace     io.Writer
	traceFrom uint64
}

type partition struct {
	links  []int32 // indices into cuts
	healed bool
}

// epoch is the true time at which every world begins.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// New returns an empty world. The error names the field of cfg that is wrong.
func New[M any](seed uint64, cfg Config) (*World[M], error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	w := &World[M]{cfg: cfg.withDefaults()}
	w.reset(seed)
	return w, nil
}

// reset makes the world a new one, in the memory of the old.
func (w *World[M]) reset(seed uint64) {
	old := *w
	*w = World[M]{cfg: old.cfg, seed: seed, queue: old.queue, nodes: old.nodes[:0], cuts: old.cuts[:0]}
	w.queue.reset()
	clear(old.nodes)
	// Two generators: what the workload draws does not change the weather.
	w.pcg[0].Seed(seed, 0x5745415448455221)
	w.pcg[1].Seed(seed, 0x574f524b4c4f4144)
	w.chaos = *rand.New(&w.pcg[0])
	w.work = *rand.New(&w.pcg[1])
	w.profile = w.cfg.Faults
	if !w.cfg.Fixed {
		w.profile = w.cfg.Faults.draw(&w.chaos)
	}
	w.stats.Seeds = 1
}

// Seed returns the seed of the world.
func (w *World[M]) Seed() uint64 { return w.seed }

// Profile returns the faults of this seed. A workload that has faults of its
// own can be worse where the profile is worse.
func (w *World[M]) Profile() Faults { return w.profile }

// Rand returns the generator for the workload's own decisions.
func (w *World[M]) Rand() *rand.Rand { return &w.work }

// Now returns the true time, which no node knows.
func (w *World[M]) Now() time.Time { return epoch.Add(time.Duration(w.now)) }

// Steps returns the number of events so far.
func (w *World[M]) Steps() uint64 { return w.stats.Steps }

// Stats returns what has happened so far.
func (w *World[M]) Stats() Stats { return w.stats }

// Calm reports whether faults have ended.
func (w *World[M]) Calm() bool { return w.calm }

// Add adds a node that crashes, now and then, if the profile has crashes. Its
// process boots at the beginning and again after each crash. Nodes are added
// before the first step.
func (w *World[M]) Add(name string, boot func(n *Node[M]) Process[M]) *Node[M] {
	n := w.AddImmortal(name, boot)
	n.mortal = true
	return n
}

// AddImmortal adds a node that crashes only by Crash, and never pauses.
func (w *World[M]) AddImmortal(name string, boot func(n *Node[M]) Process[M]) *Node[M] {
	n := &Node[M]{w: w, id: len(w.nodes), name: name, boot: boot, rate: 1, base: epoch}
	w.nodes = append(w.nodes, n)
	w.schedule(w.now, event[M]{kind: kindStart, node: int32(n.id)})
	return n
}

// Node returns the node with the number id.
func (w *World[M]) Node(id int) *Node[M] { return w.nodes[id] }

// Invariant adds a check that is called after every event.
func (w *World[M]) Invariant(check func() error) { w.invariants = append(w.invariants, check) }

// Done adds a condition: the run ends when all are true. Not to get there is a
// failure. A world without conditions ends with its last event, or with Calm.
func (w *World[M]) Done(done func() bool) { w.done = append(w.done, done) }

// AtEnd adds a check that is called when the run has ended without failure.
func (w *World[M]) AtEnd(check func() error) { w.ends = append(w.ends, check) }

// Count adds to a counter of Stats.Tally.
func (w *World[M]) Count(name string, delta uint64) {
	if w.stats.Tally == nil {
		w.stats.Tally = make(map[string]uint64)
	}
	w.stats.Tally[name] += delta
}

// Digest returns a hash of all events so far: equal for equal runs.
func (w *World[M]) Digest() uint64 { return w.digest }

// Trace makes the world write a line for every event from a step on.
func (w *World[M]) Trace(out io.Writer, from uint64) { w.trace, w.traceFrom = out, from }

func (w *World[M]) tracef(format string, args ...any) {
	if w.trace != nil && w.stats.Steps >= w.traceFrom {
		fmt.Fprintf(w.trace, format+"\n", args...)
	}
}

// Failure is the end of a run that went wrong.
type Failure struct {
	Seed uint64
	Step uint64        // the event that did it, or the last before it was noticed
	At   time.Duration // virtual time since the beginning
	Err  error
}

// Error tells all of it.
func (f *Failure) Error() string {
	return fmt.Sprintf("sim: seed %d, step %d, after %v: %v", f.Seed, f.Step, f.At, f.Err)
}

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

func (w *World[M]) failf(format string, args ...any) { w.fail(fmt.Errorf(format, args...)) }

func (w *World[M]) fail(err error) {
	if w.failure == nil {
		w.failure = &Failure{w.seed, w.stats.Steps, time.Duration(w.now), err}
	}
}

// Run steps until the run ends, and returns its Failure, or nil.
func (w *World[M]) Run() error {
	for w.Step() {
	}
	if w.failure != nil {
		return w.failure
	}
	return nil
}

// Step makes one event happen. It reports false, and does nothing, when the run
// is over.
func (w *World[M]) Step() bool {
	if !w.started {
		w.begin()
	}
	for w.failure == nil {
		if w.isDone() {
			w.end()
			return false
		}
		if len(w.queue.heap) == 0 || w.now > int64(w.cfg.Chaos+w.cfg.Calm) {
			if len(w.done) > 0 {
				w.failf("not done %v after the last fault", time.Duration(w.now)-w.cfg.Chaos)
			}
			w.end()
			return false
		}
		k := w.queue.pop()
		w.now = max(w.now, k.at)
		if w.perform(k) {
			w.after()
			return true
		}
	}
	return false
}

func (w *World[M]) isDone() bool {
	if len(w.done) == 0 || w.stats.Steps == 0 {
		return false
	}
	for _, done := range w.done {
		if !done() {
			return false
		}
	}
	return true
}

// after checks what must hold after every event.
func (w *World[M]) after() {
	for _, check := range w.invariants {
		if err := check(); err != nil {
			w.fail(err)
			return
		}
	}
	if w.stats.Steps >= w.cfg.Steps {
		w.failf("%d events and no end", w.stats.Steps)
	}
}

// end makes the last checks, once.
func (w *World[M]) end() {
	for _, check := range w.ends {
		if err := check(); err != nil && w.failure == nil {
			w.fail(err)
		}
	}
	w.ends = nil
}

// schedule adds an event.
func (w *World[M]) schedule(at int64, e event[M]) Timer {
	i := w.queue.add(at, e)
	return Timer{i, w.queue.bodies[i].serial}
}
