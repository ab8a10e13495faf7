//lint:bubble
package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// lateWriter is a job of two maps that fails five seconds after the start, when the
// first of them does. The second one writes a file at that time and some more, and
// succeeds.
func lateWriter(more time.Duration) Job[string, string, string] {
	begin := time.Now()
	return Job[string, string, string]{
		Name: "late",
		Map: func(t *Task, _ Record, emit func(string, string)) error {
			if t.Index() == 0 {
				time.Sleep(time.Until(begin.Add(5 * time.Second)))
				return errors.New("fails the job")
			}
			time.Sleep(time.Until(begin.Add(5*time.Second + more)))
			f, err := t.Create("late")
			if err != nil {
				return err
			}
			_, err = io.WriteString(f, "too late")
			emit("a", "b")
			return err
		},
		Reduce: places.Reduce,
	}
}

// A job fails while another slot, of whatever worker, is about to complete a task.
// Nothing is left of that.
func TestNothingIsLeftOfWhatEndsWithTheJob(t *testing.T) {
	// It takes a millisecond for the failure to be known, when what there is is swept
	// up, and another one for the worker to be told.
	for _, more := range []time.Duration{500 * time.Microsecond, 1500 * time.Microsecond, time.Minute} {
		for _, dies := range []bool{false, true} {
			if dies && more < time.Millisecond {
				continue // nobody would know that the job has failed
			}
			testutil.Bubble(t, func(t *testing.T) {
				job := lateWriter(more)
				input := testInput(2)
				spec := testSpec(input, 2, 1)
				spec.MaxAttempts, spec.NoBackups, spec.TaskTimeout = 1, true, time.Hour
				c := newTestCluster(t, 2, input, job)
				defer c.close()
				begin := time.Now()
				id, _ := c.submit(spec)
				time.Sleep(time.Until(begin.Add(5*time.Second + more)))
				if dies { // before it can say that it is done
					for i := range c.workers {
						c.network.Host(fmt.Sprint("worker", i)).Crash(transport.CrashReset)
					}
					time.Sleep(100 * time.Microsecond)
					for i, w := range c.workers {
						_ = w.Close()
						c.workers[i] = nil
					}
				}
				if _, err := c.client.Wait(t.Context(), id); !errors.Is(err, ErrJobFailed) {
					t.Errorf("%v later, dead %t: %v", more, dies, err)
				}
				time.Sleep(time.Minute)
				checkTree(t, fmt.Sprintf("%v later, dead %t", more, dies), c.files, nil)
			})
		}
	}
}

// A job that is cancelled with its Run leaves nothing, neither what tasks have
// completed nor what they were at.
func TestCanceledRunLeavesNothing(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		job := MapOnly[string, string]{Name: "half", Map: func(t *Task, line Record, emit func(string, string)) error {
			if _, err := t.Create(fmt.Sprint("of/", t.Index(), "/", line.Offset)); err != nil {
				return err
			}
			if t.Index() == 3 {
				<-t.Context().Done()
			}
			emit("", line.Text())
			return nil
		}}
		input, files := testInput(4), newMemoryFiles()
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Run(ctx, job, testSpec(input, 4, 1), RunConfig{
			FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir(), Slots: 2,
			Progress: func(s JobStatus) {
				if s.Maps.Completed == 3 {
					cancel()
				}
			},
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		checkTree(t, "cancelled", files, nil)
	})
}

// gatedLog is a log that does not say what is safe while its gate is shut.
type gatedLog struct {
	Log
	shut atomic.Bool
}

func (l *gatedLog) Close() error { return l.Log.(io.Closer).Close() }

func (l *gatedLog) Confirm(ctx context.Context) (uint64, error) {
	for l.shut.Load() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return l.Log.Confirm(ctx)
}

// Files are removed when it is safe that their job has ended, and not before: a
// coordinator that does not know it would go on with the job.
func TestSweepWaitsForTheLog(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(4)
		c := newTestCluster(t, 0, input, talkative(0))
		defer c.close()
		if err := c.coordinator.Close(); err != nil {
			t.Fatal(err)
		}
		log := &gatedLog{}
		var err error
		c.coordinator, err = StartCoordinator(t.Context(), CoordinatorConfig{
			Transport: c.network.Host("coordinator"), Addr: "coordinator:1", Jobs: c.jobs, FileSystem: c.files, Input: c.input, Build: "test",
			OpenLog: func(m Machine) (Log, error) {
				log.Log, err = statelog.Open(statelog.Config{Machine: m})
				return log, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		spec := testSpec(input, 2, 2)
		id, _ := c.submit(spec)
		ledger := c.coordinator.ledger
		ledger.mu.Lock()
		name := attemptName(&spec, ledger.tasks.jobs[id].token, 1, Attempt{1, 1})
		ledger.mu.Unlock()
		write(t, c.files, name, "of an attempt")
		log.shut.Store(true)
		if err := c.client.Cancel(t.Context(), id, "enough"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if names, _ := c.files.Glob(t.Context(), path.Join("out", "*")); len(names) != 1 {
			t.Errorf("while it is not known whether the job has ended there are %q, want %s", names, name)
		}
		log.shut.Store(false)
		time.Sleep(time.Second)
		checkTree(t, "cancelled", c.files, nil)
	})
}

// A job whose output is complete is completed by a coordinator of another binary too:
// no code of the job's is needed.
func TestAnotherBinaryCommits(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(8)
		spec := testSpec(input, 2, 2)
		want := sequentialTree(t, talkative(0), spec, ReadOnly(input))
		c := newTestCluster(t, 2, input, talkative(0))
		defer c.close()
		inner := c.files
		var blocked atomic.Bool
		blocked.Store(true)
		c.files = &fileSystem{FileSystem: inner, commit: func(ctx context.Context, _, _ string, do func() error) error {
			if blocked.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return do()
		}}
		c.killCoordinator(transport.CrashReset)
		c.reviveCoordinator()
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.State == JobCommitting })
		c.killCoordinator(transport.CrashReset)
		blocked.Store(false)
		c.build = "another"
		c.reviveCoordinator()
		wait()
		checkTree(t, "committed by another binary", inner, want)
	})
}
