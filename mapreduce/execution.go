package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// errStopped is why the context of an attempt ends that is not wanted any more.
var errStopped = errors.New("the attempt is not wanted any more")

// execution is an attempt that a worker runs.
type execution struct {
	*assigned
	ctx  context.Context
	stop context.CancelCauseFunc
	t    *Task
	job  *definition

	fetched atomic.Bool // a reduce has the output of all maps
}

// begin runs an attempt, unless it runs already.
func (w *Worker) begin(a *assigned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[a.attempt] != nil || w.ctx.Err() != nil {
		return
	}
	e := &execution{assigned: a}
	e.ctx, e.stop = context.WithCancelCause(w.ctx)
	e.t = &Task{ctx: e.ctx, spec: &a.spec, kind: a.task.kind, index: a.task.index, attempt: a.attempt}
	e.t.newFiles(w.cfg.FileSystem, a.token, a.tasks(), a.last(), e.patiently)
	e.t.log.debug = w.debugLog(e)
	e.t.watch(a.care, func(at span) error { return w.announce(e, at) })
	w.running[a.attempt] = e
	w.tasks.Go(func() { w.execute(e) })
}

// execute runs an attempt and says how it went.
func (w *Worker) execute(e *execution) {
	report := &doneReq{attempt: e.attempt, task: e.task}
	// The job's code may end the goroutine by runtime.Goexit; then nothing but
	// deferred functions run, and this is the error.
	err := fmt.Errorf("the job's code has ended the goroutine that it was called on")
	defer func() {
		if err != nil {
			report.failed, report.text, report.record = true, err.Error(), e.t.records.at.Load()
			w.discard(e)
		}
		report.log = e.t.log.tell()
		w.report(e, report)
		w.finished(e)
	}()
	var jerr error
	if e.job, jerr = w.cfg.Jobs.find(e.name); jerr != nil {
		err = jerr
		return
	}
	if e.task.kind == MapTask {
		report.sizes, err = w.executeMap(e)
	} else {
		err = w.executeReduce(e)
	}
	if err == nil {
		report.files, err = e.t.files.end()
	}
	if err == nil {
		err = e.t.counters.err()
	}
	report.counts = e.t.counters.counts()
}

// debugLog returns what hands the lines of an attempt's log to the worker's Logger,
// or nil if that does not want them.
func (w *Worker) debugLog(e *execution) func(line []byte) {
	if !w.cfg.Logger.IsDebug() {
		return nil
	}
	logger := w.cfg.Logger.With("attempt", e.attempt, "task", e.t.name())
	return func(line []byte) { logger.Debug(string(line)) }
}

// finished takes an attempt off the books. If it had been stopped the coordinator
// counts its slot as taken, and is told at once that it is free.
func (w *Worker) finished(e *execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, e.attempt)
	if e.ctx.Err() != nil {
		w.repoll()
	}
	e.stop(nil)
}

// report tells the coordinator, however long that takes, unless the attempt has
// failed because it was stopped. If its output does not count it is dropped.
func (w *Worker) report(e *execution, report *doneReq) {
	if report.failed && e.ctx.Err() != nil {
		return
	}
	resp, err := rpc.Call[doneResp](w.ctx, w.client.AtLeastOnce(), methodDone, report)
	if err != nil || report.failed {
		// Without an answer the output may count: it stays. What is not needed
		// goes with the job.
		return
	}
	if !resp.files {
		e.t.files.remove()
	}
	switch {
	case resp.counts:
	case e.task.kind == e.last():
		w.removeOutput(e)
	default:
		w.store.drop(e.attempt)
	}
}

// discard removes the files of an attempt that has failed.
func (w *Worker) discard(e *execution) {
	e.t.files.remove()
	if e.task.kind == e.last() {
		w.removeOutput(e)
	}
}

// removeOutput removes the file of an attempt that has not won.
func (w *Worker) removeOutput(e *execution) {
	// What stays behind is swept up when the job ends.
	_ = w.cfg.FileSystem.Remove(context.WithoutCancel(w.ctx), e.output())
}

// output returns the name under which an attempt writes its part of the output.
func (e *execution) output() string {
	return attemptName(&e.spec, e.token, e.task.index, e.attempt)
}

// executeMap runs a map task and stores its output, or writes it if there are no
// reduces. It returns the codes of the sizes of the regions.
func (w *Worker) executeMap(e *execution) ([]byte, error) {
	if slices.Contains(e.split.hosts, w.cfg.Host) {
		e.t.counters.get(CounterMapBytesLocal).Add(e.split.bytes())
	}
	records := e.job.input.Read(e.ctx, w.cfg.Input, e.split)
	if e.job.last(&e.spec) == MapTask {
		return nil, w.writeOutput(e, CounterMapBytesOut, func(out io.Writer) error { return e.job.mapToFile(e.t, records, out) })
	}
	c := w.collector(e)
	defer func() {
		c.discard()
		w.memory.keep(c.mem)
	}()
	if err := e.job.mapRecords(e.t, records, c); err != nil {
		return nil, err
	}
	out, err := c.finish()
	if err != nil {
		return nil, fmt.Errorf("write map output: %w", err)
	}
	sizes := make([]byte, e.spec.Reduces)
	for p := range sizes {
		_, n := out.region(p)
		sizes[p] = sizeCode(n)
	}
	e.t.counters.get(CounterMapBytesOut).Add(out.raw)
	e.t.counters.get(CounterMapBytesKept).Add(out.size())
	if out.file != nil {
		c.spilled += out.size()
	}
	e.t.counters.get(CounterMapBytesSpill).Add(c.spilled)
	w.store.add(e.task.job, e.attempt, out)
	return sizes, nil
}

// collector returns a collector, with memory that an earlier task may have left.
func (w *Worker) collector(e *execution) *collector {
	c := newCollector(w.memory.sortMemory(), e.spec.Reduces)
	c.fold, c.alive, c.scratch, c.reserve = e.job.fold, e.t.Progress, w.disk.file, w.memory.reserve
	if e.spec.Compress {
		c.pack = &c.mem.pack
	}
	return c
}

// executeReduce runs a reduce task: it fetches its region of every map's output,
// merges them, reduces, and writes the file under the attempt's name.
func (w *Worker) executeReduce(e *execution) error {
	f := newFetcher(w, e)
	defer f.close()
	regions, err := f.fetch()
	if err != nil {
		return err
	}
	e.fetched.Store(true)
	return w.writeOutput(e, CounterReduceBytesOut, func(out io.Writer) error {
		return e.job.reduceGroups(e.t, &groups{m: newMerger(regions)}, out)
	})
}

// writeOutput lets run write the task's part of the output, into a file under the
// attempt's name, and counts its bytes.
func (w *Worker) writeOutput(e *execution, counter string, run func(out io.Writer) error) error {
	name := e.output()
	out, err := createPart(e.ctx, w.cfg.FileSystem, name, partBuffer)
	if err != nil {
		return err
	}
	whole := false
	defer func() { // also if the job's code ends the goroutine
		if !whole {
			out.abandon(w.cfg.FileSystem, name)
		}
	}()
	if err := run(out); err != nil {
		return err
	}
	whole = true
	if err := e.patiently(out.close); err != nil {
		_ = w.cfg.FileSystem.Remove(w.ctx, name) // the attempt has failed
		return fmt.Errorf("write %s: %w", name, err)
	}
	e.t.counters.get(counter).Add(out.size)
	return nil
}

const (
	// syncPatience is how long a file may take to become durable.
	syncPatience = 5 * time.Minute
	aliveEvery   = time.Second
)

// patiently runs something that may take longer than a task without progress is
// granted, through no fault of the task's.
func (e *execution) patiently(run func() error) error {
	done := make(chan error, 1)
	go func() { done <- run() }()
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for range int(syncPatience / aliveEvery) {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			e.t.Progress()
		}
	}
	return <-done
}
