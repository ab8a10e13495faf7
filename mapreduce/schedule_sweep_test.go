package mapreduce

import (
	"slices"
	"testing"
	"time"
)

// sweeps returns the jobs that are to be swept up now.
func (c *core) sweeps() (found []JobID) {
	c.s.observe(c.now, c.tasks.takeEffects())
	for _, a := range c.s.step(c.now) {
		if a.sweep != 0 {
			found = append(found, a.sweep)
		}
	}
	return found
}

// A job is swept up when it ends, and again when the last worker that was at an attempt
// of it has said that it is at none any more, or is dead.
func TestSweepAgain(t *testing.T) {
	c := newCore(t)
	c.join(3, 1)
	c.submit(testJob("a", 2, 1))
	attempts := c.tasks.runningOf(0)
	if len(attempts) != 2 {
		t.Fatalf("%d maps run, want 2", len(attempts))
	}
	expect := func(when string, want ...JobID) {
		t.Helper()
		if got := c.sweeps(); !slices.Equal(got, want) {
			t.Errorf("%s: sweeps of %v, want %v", when, got, want)
		}
	}
	at := [2]workerID{c.tasks.running[attempts[0]].worker, c.tasks.running[attempts[1]].worker}
	c.tasks.apply(c.now, commandEnd(c.tasks.epoch, 1, JobCanceled, ""), nil)
	expect("it has ended", 1)
	c.s.alive(c.now, at[0], [2]int{}, []progress{{attempt: attempts[0]}})
	expect("a worker has not heard of it")
	c.s.alive(c.now, at[0], [2]int{1, 0}, nil)
	expect("a worker is still at it")
	c.s.alive(c.now, at[0], [2]int{}, nil)
	expect("another may still be at it")
	c.now = c.now.Add(time.Second)
	c.tasks.apply(c.now, commandDead(c.tasks.epoch, at[1], nil), nil)
	expect("the other is dead", 1)
	c.tasks.apply(c.now, commandDead(c.tasks.epoch, at[0], nil), nil)
	expect("that was all")

	c.lead()
	expect("another coordinator leads", 1)
	for _, id := range slices.Clone(c.s.roster) {
		c.s.confirm(c.now, id, func(Attempt) bool { return false })
		c.s.alive(c.now, id, [2]int{}, nil)
	}
	expect("its workers have registered", 1)
}
