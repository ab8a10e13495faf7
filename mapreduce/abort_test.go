//lint:bubble
package mapreduce

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// §3.3: "our current implementation aborts the MapReduce computation if the master
// fails. Clients can check for this condition and retry the MapReduce operation if
// they desire." Here that is up to the job.
func TestPaper33AbortIfTheMasterFails(t *testing.T) {
	for _, c := range []struct {
		name      string
		deaths    int // of the coordinator
		resubmits int
		succeeds  bool
	}{
		{"is not submitted again", 1, 0, false},
		{"is submitted again", 1, 1, true},
		{"is submitted again too often", 3, 2, false},
	} {
		testutil.Bubble(t, func(t *testing.T) {
			slow := &slowCount{pause: 100 * time.Millisecond}
			input := testInput(40)
			spec := testSpec(input, 12, 3)
			spec.Abort, spec.Resubmits = true, c.resubmits
			want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
			cluster := newTestCluster(t, 3, input, slow.job())
			defer cluster.close()
			id, err := cluster.client.Submit(t.Context(), "slow", spec)
			if err != nil {
				t.Fatal(err)
			}
			type outcome struct {
				result *Result
				err    error
			}
			done := make(chan outcome, 1)
			go func() {
				result, err := cluster.client.Wait(t.Context(), id)
				done <- outcome{result, err}
			}()
			for range c.deaths {
				time.Sleep(1500 * time.Millisecond)
				cluster.killCoordinator(transport.CrashReset)
				time.Sleep(500 * time.Millisecond)
				cluster.reviveCoordinator()
			}
			got := <-done
			switch {
			case c.succeeds && got.err != nil:
				t.Errorf("a job that %s: %v", c.name, got.err)
			case c.succeeds:
				checkSameOutput(t, c.name, cluster.files, got.result, want)
			case !errors.Is(got.err, ErrAborted) || errors.Is(got.err, ErrJobFailed):
				t.Errorf("a job that %s: %v, want ErrAborted", c.name, got.err)
			}
			first, err := cluster.client.Status(t.Context(), id)
			if err != nil || first.State != JobAborted || (first.Successor != 0) != (c.resubmits > 0) || !strings.Contains(first.Failure, "coordinator") {
				t.Errorf("the first job of one that %s: %+v, %v", c.name, first, err)
			}
			all, err := cluster.client.Jobs(t.Context())
			if err != nil || len(all) != 1+min(c.deaths, c.resubmits) {
				t.Errorf("a job that %s: there are %d jobs, %v", c.name, len(all), err)
			}
			h := cluster.coordinator.StatusHandler()
			wantAll(t, get(t, h, "/?job=1", 200), `class="tag aborted"`, "its coordinator, of epoch")
			if c.resubmits > 0 {
				wantAll(t, get(t, h, "/?job=2", 200), `<dt>in the place of</dt><dd><a href="?job=1">job 1</a>`)
			}
			time.Sleep(time.Minute)
			if names, _ := cluster.files.Glob(t.Context(), "**"); !c.succeeds && len(names) > 0 {
				t.Errorf("a job that %s has left behind %q", c.name, names)
			}
			for i, w := range cluster.workers {
				if held := w.store.attempts(); len(held) > 0 {
					t.Errorf("a job that %s: worker %d still holds the output of %v", c.name, i, held)
				}
			}
		})
	}
}

// An aborted job is submitted again once, by whomever; to cancel it is to cancel the
// one in its place; and one that was not aborted cannot be submitted again.
func TestResubmit(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: time.Second}
		input := testInput(40)
		spec := testSpec(input, 12, 3)
		spec.Abort, spec.Resubmits = true, 5
		c := newTestCluster(t, 2, input, slow.job())
		defer c.close()
		id, err := c.client.Submit(t.Context(), "slow", spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.client.Resubmit(t.Context(), id); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "running") {
			t.Errorf("submitting a running job again: %v", err)
		}
		if _, err := c.client.Resubmit(t.Context(), id+1); !errors.Is(err, ErrUnknownJob) {
			t.Errorf("submitting again what there is not: %v", err)
		}
		time.Sleep(2 * time.Second)
		c.killCoordinator(transport.CrashReset)
		c.reviveCoordinator()
		second, err := c.client.Resubmit(t.Context(), id)
		again, err2 := c.client.Resubmit(t.Context(), id)
		if err != nil || err2 != nil || second != again || second == id {
			t.Fatalf("submitted again twice: jobs %d and %d, %v, %v", second, again, err, err2)
		}
		if err := c.client.Cancel(t.Context(), id, "enough"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.client.Wait(t.Context(), id); !errors.Is(err, ErrCanceled) {
			t.Errorf("waiting for the first of two jobs, the second of which was cancelled: %v", err)
		}
	})
}

// A job that has all its output when the coordinator dies is completed all the same.
func TestNoAbortOfWhatIsComplete(t *testing.T) {
	c := newCore(t)
	c.join(1, 1)
	j := testJob("a", 1, 1)
	j.spec.Abort = true
	c.submit(j)
	c.complete(MapTask)
	c.complete(ReduceTask)
	c.lead()
	if s := c.s.status(1); s.State != JobCommitting {
		t.Errorf("the job is %v", s.State)
	}
}

// A job that was aborted is submitted again once, also if two ask for that at a time.
func TestResubmitAtOnce(t *testing.T) {
	c := newCore(t)
	j := testJob("a", 1, 1)
	j.spec.Abort, j.spec.Resubmits = true, 1
	c.submit(j)
	c.lead()
	for _, token := range []string{"b", "c"} {
		again := testJob(token, 1, 1)
		again.spec, again.predecessor = j.spec, 1
		out := c.tasks.apply(c.now, commandSubmit(c.tasks.epoch, again), nil)
		if want := []byte{byte(statusOK), 2}; !bytes.Equal(out, want) {
			t.Errorf("submitted again as %s: %v, want %v", token, out, want)
		}
	}
}
