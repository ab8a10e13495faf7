package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Faults says what goes wrong. Probabilities are from 0 to 1, times are of the
// virtual clock, and the zero value of a field is no such fault. Intervals and
// lengths are means of exponential distributions.
type Faults struct {
	// Delay is the longest ordinary delay of a message; delays are uniform from
	// a hundredth of it. The default is 10 ms.
	Delay time.Duration
	// Loss, Duplicate and Straggle are the probabilities that a message is lost,
	// that it comes twice, and that it takes up to 50 times Delay.
	Loss, Duplicate, Straggle float64

	// CrashEvery is the time between crashes in the whole world, Down how long a
	// crashed node stays down (default 200 ms).
	CrashEvery, Down time.Duration
	// PartitionEvery is the time between partitions, Partition how long one lasts
	// (default 500 ms). One half of them cut one direction only.
	PartitionEvery, Partition time.Duration
	// PauseEvery is the time between pauses of a node, Pause how long one lasts
	// (default 300 ms).
	PauseEvery, Pause time.Duration

	// Skew is how far a clock is off, Drift how wrong its rate is (0.01 for a
	// hundredth), both in either direction. A clock is set anew at a restart.
	Skew  time.Duration
	Drift float64

	// Sync is the longest time that a log takes to sync; times are uniform from a
	// tenth of it. The default is 5 ms.
	Sync time.Duration
}

func (f Faults) withDefaults() Faults {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&f.Delay, 10*time.Millisecond)
	def(&f.Down, 200*time.Millisecond)
	def(&f.Partition, 500*time.Millisecond)
	def(&f.Pause, 300*time.Millisecond)
	def(&f.Sync, 5*time.Millisecond)
	return f
}

func (f Faults) validate() error {
	for _, p := range []struct {
		name string
		v    float64
		max  float64
	}{
		{"Loss", f.Loss, 1}, {"Duplicate", f.Duplicate, 1}, {"Straggle", f.Straggle, 1}, {"Drift", f.Drift, 0.5},
	} {
		if !(p.v >= 0 && p.v <= p.max) {
			return fmt.Errorf("sim: Faults.%s is %v; it must be from 0 to %v", p.name, p.v, p.max)
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"Delay", f.Delay}, {"CrashEvery", f.CrashEvery}, {"Down", f.Down},
		{"PartitionEvery", f.PartitionEvery}, {"Partition", f.Partition},
		{"PauseEvery", f.PauseEvery}, {"Pause", f.Pause}, {"Skew", f.Skew}, {"Sync", f.Sync},
	} {
		if d.v < 0 || d.v > time.Hour {
			return fmt.Errorf("sim: Faults.%s is %v; it must be from 0 to 1h", d.name, d.v)
		}
	}
	return nil
}

// draw returns the profile of one seed: of each fault nothing, a little, up to
// the full amount.
func (f Faults) draw(r *rand.Rand) Faults {
	level := func() float64 {
		switch r.IntN(4) {
		case 0:
			return 0
		case 1:
			return 1
		default:
			x := r.Float64()
			return x * x
		}
	}
	f.Loss *= level()
	f.Duplicate *= level()
	f.Straggle *= level()
	f.Skew = time.Duration(float64(f.Skew) * level())
	f.Drift *= level()
	for _, every := range []*time.Duration{&f.CrashEvery, &f.PartitionEvery, &f.PauseEvery} {
		if l := level(); l < 0.02 {
			*every = 0
		} else {
			*every = time.Duration(float64(*every) / l)
		}
	}
	// Both fast and slow disks and networks, so that each can outrun the other.
	f.Delay = max(100, time.Duration(float64(f.Delay)*(0.05+0.95*level())))
	f.Sync = max(10, time.Duration(float64(f.Sync)*(0.05+0.95*level())))
	return f
}

// Stats counts what happened, in one world or in all that Run ran.
type Stats struct {
	Seeds      uint64
	Steps      uint64 // events
	Sent       uint64 // messages
	Delivered  uint64 // messages, the second of two too
	Lost       uint64 // messages lost on the way
	Cut        uint64 // messages lost to a partition
	Dead       uint64 // messages that found their node down
	Duplicated uint64 // messages
	Straggled  uint64 // messages
	Timers     uint64 // timers that fired
	Syncs      uint64 // logs that were synced
	Crashes    uint64
	Restarts   uint64
	Erased     uint64 // log records lost in crashes
	Partitions uint64
	Pauses     uint64
	// Tally holds what the nodes count themselves, by Node.Count and World.Count.
	Tally map[string]uint64
}

// Add adds o to s.
func (s *Stats) Add(o Stats) {
	s.Seeds += o.Seeds
	s.Steps += o.Steps
	s.Sent += o.Sent
	s.Delivered += o.Delivered
	s.Lost += o.Lost
	s.Cut += o.Cut
	s.Dead += o.Dead
	s.Duplicated += o.Duplicated
	s.Straggled += o.Straggled
	s.Timers += o.Timers
	s.Syncs += o.Syncs
	s.Crashes += o.Crashes
	s.Restarts += o.Restarts
	s.Erased += o.Erased
	s.Partitions += o.Partitions
	s.Pauses += o.Pauses
	// order-free: sums
	for name, n := range o.Tally {
		if s.Tally == nil {
			s.Tally = make(map[string]uint64)
		}
		s.Tally[name] += n
	}
}
