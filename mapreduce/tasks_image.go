package mapreduce

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// imageFormat names the format of commands and images. It changes with either.
const imageFormat = "mapreduce/6"

// freeze returns a copy of the table that shares with it what never changes: the
// specs, splits and sizes. Tasks are copied, some fifty bytes each.
func (t *tasks) freeze() *tasks {
	f := *t
	f.effects, f.observed = nil, false
	f.workers = make(map[workerID]*workerRow, len(t.workers))
	maps.Copy(f.workers, t.workers) // rows never change
	f.jobs = make(map[JobID]*job, len(t.jobs))
	for id, j := range t.jobs { // order-free: one map into another
		c := *j
		c.tally = j.tally.clone()
		c.claims = nil // the tasks say it
		for kind := range c.tasks {
			c.tasks[kind] = slices.Clone(j.tasks[kind])
		}
		f.jobs[id] = &c
	}
	f.order = slices.Clone(t.order)
	f.running = maps.Clone(t.running)
	return &f
}

var _ io.WriterTo = (*tasks)(nil)

// WriteTo writes the image of a frozen table. What runs is not written apart: the
// tasks say it.
func (t *tasks) WriteTo(w io.Writer) (int64, error) {
	out := bufio.NewWriterSize(w, 256<<10)
	var total int64
	put := func(b []byte) error {
		n, err := out.Write(b)
		total += int64(n)
		return err
	}
	buf := wire.AppendString(nil, imageFormat)
	buf = appendUvarints(buf, t.epoch, t.issued, uint64(t.worker), uint64(t.job), uint64(len(t.workers)))
	for _, id := range slices.Sorted(maps.Keys(t.workers)) {
		buf = t.workers[id].append(appendUvarints(buf, uint64(id)))
	}
	buf = appendUvarints(buf, uint64(len(t.order)))
	if err := put(buf); err != nil {
		return total, err
	}
	for _, id := range t.order {
		if err := t.jobs[id].writeImage(put); err != nil {
			return total, err
		}
	}
	return total, out.Flush()
}

func (j *job) writeImage(put func([]byte) error) error {
	buf := appendUvarints(nil, uint64(j.id))
	buf = wire.AppendBytes(buf, j.append(nil))
	buf = appendUvarints(buf, uint64(j.state))
	buf = wire.AppendString(buf, j.err)
	buf = wire.AppendTime(wire.AppendTime(buf, j.submitted), j.ended)
	buf = appendUvarints(buf, j.epoch, uint64(j.resubmitted), uint64(j.backups.Started), uint64(j.backups.Won), uint64(len(j.tally.names)))
	for _, name := range j.tally.names {
		buf = wire.AppendString(buf, name)
	}
	if err := put(buf); err != nil {
		return err
	}
	for kind := range j.tasks {
		for i := range j.tasks[kind] {
			task := &j.tasks[kind][i]
			buf = append(buf[:0], byte(task.state), task.failures, task.losses)
			buf = appendAttempt(appendUvarints(buf, uint64(task.worker)), task.attempt)
			buf = wire.AppendBytes(wire.AppendBytes(buf, task.sizes), task.counts)
			buf = task.files.append(task.backup.append(task.trouble.append(buf)))
			if err := put(buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore replaces the table by that of an image.
func (t *tasks) restore(r io.Reader) error {
	image, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	n := newTasks()
	d := wire.NewDecoder(image)
	if format := d.String(); d.Err() == nil && format != imageFormat {
		return fmt.Errorf("image of format %.40q, want %q", format, imageFormat)
	}
	n.epoch, n.issued, n.worker, n.job = d.Uvarint(), d.Uvarint(), decodeWorkerID(&d), JobID(d.Uvarint())
	for range d.Count(5) {
		w := &workerRow{id: decodeWorkerID(&d)}
		w.decode(&d)
		n.workers[w.id] = w
	}
	for range d.Count(8) {
		j := &job{}
		j.restore(&d)
		if d.Err() != nil {
			break
		}
		n.jobs[j.id] = j
		n.order = append(n.order, j.id)
		n.succeed(j)
		n.restoreRunning(j)
	}
	if err := d.Finish(); err != nil {
		return fmt.Errorf("image of the task table: %w", err)
	}
	if err := n.check(); err != nil {
		return fmt.Errorf("image of the task table: %w", err)
	}
	n.observed, n.planted = t.observed, t.planted
	*t = *n
	return nil
}

func (j *job) restore(d *wire.Decoder) {
	j.id = JobID(d.Uvarint())
	submission := wire.NewDecoder(d.Bytes())
	j.decode(&submission)
	if err := submission.Finish(); err != nil {
		d.Fail("job %d: %v", j.id, err)
	}
	j.state = JobState(d.Int(int(JobAborted)))
	j.err = d.String()
	j.submitted, j.ended = d.Time(), d.Time()
	j.epoch, j.resubmitted = d.Uvarint(), d.Int(maxResubmits)
	j.backups = Backups{d.Int(maxInt), d.Int(maxInt)}
	for range min(d.Count(1), maxCounters) {
		if name := d.String(); d.Err() == nil {
			if _, twice := j.tally.index[name]; twice {
				d.Fail("counter %.40q twice", name)
			}
			j.tally.define(name)
		}
	}
	for kind, n := range []int{len(j.splits), j.spec.Reduces} {
		if n > d.Len() {
			d.Fail("%d tasks", n)
			return
		}
		j.tasks[kind] = make([]task, n)
		for i := range j.tasks[kind] {
			task := &j.tasks[kind][i]
			task.state = taskState(d.Byte())
			if task.state > taskCompleted {
				d.Fail("task state %d", task.state)
			}
			task.failures, task.losses = d.Byte(), d.Byte()
			task.worker, task.attempt = decodeWorkerID(d), decodeAttempt(d)
			if sizes := d.Bytes(); len(sizes) > 0 {
				task.sizes = sizes // the image stays as long as the table does
			}
			if counted := d.Bytes(); len(counted) > 0 {
				task.counts = counted
			}
			if err := j.tally.add(task.counts, 1); err != nil {
				d.Fail("%v", err)
			}
			task.trouble, task.backup, task.files = decodeTrouble(d), decodeBackup(d), decodeFileSet(d)
			if err := j.claims.restore(taskRef{j.id, TaskKind(kind), i}, task.files); err != nil {
				d.Fail("%v", err)
			}
			if task.trouble != nil {
				j.skips += len(task.trouble.skipped)
			}
			if task.state == taskCompleted {
				j.completed[kind]++
			}
		}
	}
}

func (t *tasks) restoreRunning(j *job) {
	for kind := range j.tasks {
		for i := range j.tasks[kind] {
			if task := &j.tasks[kind][i]; task.state == taskRunning {
				ref := taskRef{j.id, TaskKind(kind), i}
				t.running[task.attempt] = runningAttempt{ref, task.worker}
				if b := task.backup; b != nil {
					t.running[b.attempt] = runningAttempt{ref, b.worker}
				}
			}
		}
	}
}

// append appends a backup to an image, or that there is none.
func (b *backup) append(dst []byte) []byte {
	if b == nil {
		return wire.AppendBool(dst, false)
	}
	return appendAttempt(appendUvarints(wire.AppendBool(dst, true), uint64(b.worker)), b.attempt)
}

func decodeBackup(d *wire.Decoder) *backup {
	if !d.Bool() {
		return nil
	}
	return &backup{decodeWorkerID(d), decodeAttempt(d)}
}
