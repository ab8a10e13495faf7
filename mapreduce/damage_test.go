//lint:bubble
package mapreduce

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// This file damages what workers have on their disks: what was written is not what is
// read again.

// Damage to any one write is noticed, wherever it is read again: the output is right.
// If it is in the output of a completed map, that map is executed again.
func TestDamagedDisk(t *testing.T) {
	input := diskInput()
	spec := testSpec(input, 3, 2)
	want := sequentialOutput(t, places, spec, ReadOnly(input))
	for name, damage := range map[string]vfs.Fault{
		"a flipped bit": {Corrupt: func(p []byte) { p[len(p)/3] ^= 0x10 }},
		"a lost write":  {Lie: true}, // what it was to write is zero, or beyond the end
	} {
		for workers := 1; workers <= 2; workers++ {
			noticed, again := 0, 0
			for at, more := int64(1), true; more; at++ {
				testutil.Bubble(t, func(t *testing.T) {
					c := newTestCluster(t, workers, input, places)
					defer c.close()
					var writes atomic.Int64
					c.starve(func(call vfs.Call) vfs.Fault {
						if call.Op == vfs.OpWrite && writes.Add(1) == at {
							return damage
						}
						return vfs.Fault{}
					})
					id, wait := c.submit(spec)
					checkSameOutput(t, fmt.Sprintf("%s, write %d, %d workers", name, at, workers), c.files, wait(), want)
					more = writes.Load() >= at
					found, lost := 0, 0
					for _, f := range getJSON[JobReport](t, c.coordinator.StatusHandler(), fmt.Sprintf("/status.json?job=%d", id)).Details.Failures {
						if strings.Contains(f.Error, "could not fetch its output") {
							lost++
						} else if found++; !strings.Contains(f.Error, ErrCorrupt.Error()) {
							t.Errorf("%s, write %d, %d workers: %s failed with %q", name, at, workers, f.Task, f.Error)
						}
					}
					if more && found+lost == 0 {
						t.Errorf("%s, write %d, %d workers: nobody has noticed", name, at, workers)
					}
					noticed, again = noticed+min(found, 1), again+min(lost, 1)
				})
				if t.Failed() {
					return
				}
			}
			if noticed+again < 3 || again == 0 {
				t.Errorf("%s, %d workers: attempts failed in %d jobs, maps were lost in %d: little was tested", name, workers, noticed, again)
			}
		}
	}
}

// Of a map's output that has been cut off, only what is missing is complained of: the
// maps whose regions come after it are not executed again.
func TestTruncatedMapOutput(t *testing.T) {
	input := diskInput()
	spec := testSpec(input, 12, 1)
	spec.ReduceAfter = Barrier
	slow := &slowCount{pause: time.Millisecond}
	want := sequentialOutput(t, places, spec, ReadOnly(input)) // the same, without the pauses
	for try := 0; ; try++ {
		fetched := false
		testutil.Bubble(t, func(t *testing.T) {
			c := newTestCluster(t, 2, input, slow.job())
			defer c.close()
			c.starve(func(vfs.Call) vfs.Fault { return vfs.Fault{} })
			id, wait := c.submit(spec)
			cut := 0
			c.until(id, func(s *JobStatus) bool { return s.Maps.Completed >= 6 })
			for _, w := range c.workers {
				w.store.mu.Lock()
				for _, o := range w.store.outputs {
					if cut++; cut > 1 {
						break
					}
					if err := o.file.Truncate(o.size() / 2); err != nil {
						t.Error(err)
					}
				}
				w.store.mu.Unlock()
			}
			result := wait()
			checkSameOutput(t, "a file that was cut off", c.files, result, want)
			lost := 0
			for _, f := range getJSON[JobReport](t, c.coordinator.StatusHandler(), fmt.Sprintf("/status.json?job=%d", id)).Details.Failures {
				if f.Task != "reduce task 0" {
					lost++
				}
			}
			if lost != 1 {
				t.Errorf("%d maps were lost, want 1", lost)
			}
			fetched = result.Counters[CounterShuffleFetched] > 0
		})
		if fetched || t.Failed() {
			return
		}
		if try == 10 {
			t.Fatal("nothing was fetched")
		}
	}
}
