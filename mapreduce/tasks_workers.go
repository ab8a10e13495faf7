package mapreduce

import (
	"fmt"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// workerRow is a worker that is not dead.
type workerRow struct {
	id     workerID
	token  string   // identifies the incarnation, so that it can register again
	addr   string   // where it serves its map output
	host   string   // the host it is on, for locality
	rack   string   // that the host is in, or empty
	slots  [2]int   // tasks of each kind that it runs at a time
	labels []string // as sortedLabels has them
}

const (
	// maxSlots bounds the tasks of one kind that a worker runs at a time.
	maxSlots = 1 << 12
	// maxLabels bounds the labels of a worker or a job, maxLabelBytes each of them.
	maxLabels     = 32
	maxLabelBytes = 128
)

// able reports whether a worker is one for tasks of a kind of a job.
func (w *workerRow) able(spec *Spec, kind TaskKind) bool {
	return w.slots[kind] > 0 && hasLabels(w.labels, spec.Labels)
}

// able is what decides who is given what.
func (t *tasks) able(w *workerRow, j *job, kind TaskKind) bool {
	return w.able(&j.spec, kind) || t.planted.ignoreLabels && w.slots[kind] > 0
}

// hasLabels reports whether all that are wanted are there. Both are sorted.
func hasLabels(has, wanted []string) bool {
	for _, label := range wanted {
		at, found := slices.BinarySearch(has, label)
		if !found {
			return false
		}
		has = has[at+1:]
	}
	return true
}

// sortedLabels returns a copy of labels in increasing order, each once.
func sortedLabels(labels []string) []string {
	sorted := slices.Clone(labels)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// checkLabels verifies that labels are sorted and within their bounds.
func checkLabels(labels []string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("has %d labels, the limit is %d", len(labels), maxLabels)
	}
	for i, label := range labels {
		if label == "" || len(label) > maxLabelBytes {
			return fmt.Errorf("has a label of %d bytes, not 1 to %d", len(label), maxLabelBytes)
		}
		if i > 0 && label <= labels[i-1] {
			return fmt.Errorf("is not in increasing order at %q", label)
		}
	}
	return nil
}

func appendLabels(dst []byte, labels []string) []byte {
	dst = appendUvarints(dst, uint64(len(labels)))
	for _, label := range labels {
		dst = wire.AppendString(dst, label)
	}
	return dst
}

func decodeLabels(d *wire.Decoder) (labels []string) {
	for range min(d.Count(1), maxLabels) {
		labels = append(labels, d.String())
	}
	if err := checkLabels(labels); d.Err() == nil && err != nil {
		d.Fail("%v", err)
	}
	return labels
}

// join adds a worker, or finds the incarnation that has joined before.
func (t *tasks) join(w workerRow) (workerID, status) {
	for _, known := range t.workers { // order-free: tokens are unique
		if known.token == w.token {
			return known.id, statusOK
		}
	}
	if len(t.workers) >= maxWorkers {
		return 0, statusFull
	}
	t.worker++
	w.id = t.worker
	t.workers[w.id] = &w
	t.notify(effect{kind: effectWorkerJoined, worker: w.id})
	return w.id, statusOK
}

// dead removes a worker. What it was running is lost, and so is the map output
// that it held, unless nobody needs it any more. marks say where its attempts were,
// as far as they have announced it.
func (t *tasks) dead(at time.Time, id workerID, marks []mark) status {
	if t.workers[id] == nil {
		return statusStale
	}
	t.takenAlong(id, marks)
	for _, a := range t.runningOf(id) {
		r, ok := t.running[a]
		if !ok {
			continue // it ended with its job, just now
		}
		t.stop(a)
		t.notify(effect{kind: effectFailure, task: r.taskRef, worker: id, attempt: a, text: "its worker died"})
		t.countLoss(at, r.taskRef, "its worker died")
	}
	if !t.planted.keepDeadOutput {
		for _, j := range t.order {
			t.loseOutputs(t.jobs[j], id)
		}
	}
	delete(t.workers, id)
	t.notify(effect{kind: effectWorkerGone, worker: id})
	return statusOK
}

func (w *workerRow) append(dst []byte) []byte {
	for _, text := range []string{w.token, w.addr, w.host, w.rack} {
		dst = wire.AppendString(dst, text)
	}
	return appendLabels(appendUvarints(dst, uint64(w.slots[MapTask]), uint64(w.slots[ReduceTask])), w.labels)
}

func (w *workerRow) decode(d *wire.Decoder) {
	w.token, w.addr, w.host, w.rack = d.String(), d.String(), d.String(), d.String()
	w.slots = [2]int{d.Int(maxSlots), d.Int(maxSlots)}
	w.labels = decodeLabels(d)
}
