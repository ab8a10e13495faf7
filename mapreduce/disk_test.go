//lint:bubble
package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
)

// This file makes every call that workers and coordinators make on their disks go
// wrong, one after the other.

// diskInput makes maps spill that have little memory.
func diskInput() fstest.MapFS {
	r := rand.New(rand.NewPCG(1, 51))
	var text bytes.Buffer
	for text.Len() < 128<<10 {
		fmt.Fprintf(&text, "%d word%d %s\n", r.IntN(3000), r.IntN(100), strings.Repeat("x", r.IntN(40)))
	}
	return fstest.MapFS{"input": {Data: text.Bytes()}}
}

// starve leaves the workers no memory for map output, and their disks to a hook.
func (c *testCluster) starve(hook vfs.Hook) {
	for _, w := range c.workers {
		w.memory.share, w.memory.most, w.memory.pool = 2*chunkBytes, 2*chunkBytes, 0
		w.disk.fs = vfs.Inject(w.disk.fs, hook)
	}
}

// Each call on a worker's disk that fails costs an attempt, at most.
func TestWorkersDiskFailsAtEveryCall(t *testing.T) {
	input := diskInput()
	spec := testSpec(input, 3, 2)
	want := sequentialOutput(t, places, spec, ReadOnly(input))
	boom := errors.New("input/output error")
	for at, more := int64(1), true; more; at += 1 + at/20 { // the later, the more alike
		testutil.Bubble(t, func(t *testing.T) {
			c := newTestCluster(t, 2, input, places)
			defer c.close()
			var calls atomic.Int64
			c.starve(func(vfs.Call) vfs.Fault {
				if calls.Add(1) == at {
					return vfs.Fault{Err: boom}
				}
				return vfs.Fault{}
			})
			_, wait := c.submit(spec)
			checkSameOutput(t, fmt.Sprint("call ", at), c.files, wait(), want)
			if more = calls.Load() >= at; !more && at < 10 {
				t.Errorf("there were only %d calls: nothing was tested", at)
			}
		})
	}
}

// The coordinator's power fails at each call on its disk. Another goes on.
func TestCoordinatorsPowerFailsAtEveryCall(t *testing.T) {
	input := testInput(20)
	spec := testSpec(input, 4, 2)
	slow := &slowCount{pause: 20 * time.Millisecond}
	want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
	cut := errors.New("power cut")
	for at, more := int64(1), true; more; at++ {
		testutil.Bubble(t, func(t *testing.T) {
			c := newTestCluster(t, 0, input, slow.job())
			defer c.close()
			c.killCoordinator(transport.CrashReset) // there was nothing yet
			off := make(chan struct{}, 1)
			var calls atomic.Int64
			var over atomic.Bool // the job, and with it the danger
			c.inject = func(vfs.Call) vfs.Fault {
				if calls.Add(1) < at || over.Load() {
					return vfs.Fault{}
				}
				select {
				case off <- struct{}{}:
				default:
				}
				return vfs.Fault{Err: cut}
			}
			c.network.Host("coordinator").Restart()
			_ = c.tryCoordinator() // which may fail at once
			for range 2 {
				c.workers = append(c.workers, nil)
				c.startWorker(len(c.workers) - 1)
			}
			submitted := make(chan JobID, 1)
			go func() {
				id, err := c.client.Submit(t.Context(), "slow", spec)
				if err != nil {
					t.Error(err)
				}
				submitted <- id
			}()
			ended := make(chan *Result, 1)
			go func() {
				result, err := c.client.Wait(t.Context(), <-submitted)
				if err != nil {
					t.Error(err)
				}
				ended <- result
			}()
			var result *Result
			select {
			case <-off:
				time.Sleep(10 * time.Millisecond)
				c.inject = nil
				c.killCoordinator(transport.CrashReset)
				time.Sleep(300 * time.Millisecond)
				c.reviveCoordinator()
				result = <-ended
			case result = <-ended:
				more = false
				over.Store(true)
			}
			if result != nil {
				checkSameOutput(t, fmt.Sprint("power cut at call ", at), c.files, result, want)
			}
		})
		if t.Failed() {
			t.Fatalf("power cut at call %d", at)
		}
		if !more && at < 30 {
			t.Errorf("there were only %d calls: nothing was tested", at)
		}
	}
}
