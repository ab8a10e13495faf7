package mapreduce

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/trilith-go/trilith/internal/wire"
	"github.com/trilith-go/trilith/rpc"
)

// SkippedRecord is a record of the input, or a key and its values, that was left
// out because the job's code failed on it more than once.
type SkippedRecord struct {
	Kind   TaskKind
	Index  int    // of the task
	Record uint64 // its number in the task, from 0: of a record in the split, of a key in the partition
	Error  string // of the last attempt, cut short
}

// String returns all of it.
func (s SkippedRecord) String() string {
	return fmt.Sprintf("record %d of %s: %s", s.Record, taskName(s.Kind, s.Index), s.Error)
}

// recordStride is how many records an attempt announces at a time, where it does
// not know that one of them is fatal.
const recordStride = 256

// recordWatch follows which record of its input the job's code has: the number
// survives whatever the code does. Its methods are called on one goroutine, but at
// is read by others.
//
// An error or a panic is reported with the record it came from. A record that takes
// the process with it cannot be reported, so after such a death an attempt tells
// the coordinator where it is before it goes on, in strides; after another one in a
// stride, before each record in it. The next death names the record.
type recordWatch struct {
	care
	on        bool
	announce  func(span) error // returns when the coordinator knows
	skipped   func()           // counts
	next      uint64           // record
	announced uint64           // records before it are
	at        atomic.Uint64    // 1 + the record that the job's code has, or 0
}

// enter is called before the job's code gets the next record. It reports whether
// the record is to be skipped.
func (w *recordWatch) enter() (skip bool, err error) {
	if !w.on {
		return false, nil
	}
	n, skip := w.pass()
	if skip {
		return true, nil
	}
	if w.careful && n >= w.announced {
		s := w.stride(n)
		if err := w.announce(s); err != nil {
			return false, fmt.Errorf("announce a record: %w", err)
		}
		w.announced = s.from + s.n
	}
	w.at.Store(n + 1)
	return false, nil
}

// pass is called for each record, and returns its number and whether it is to be
// skipped. Where nobody knows when the job's code has it, that is all.
func (w *recordWatch) pass() (n uint64, skip bool) {
	n = w.next
	w.next++
	for len(w.skip) > 0 && w.skip[0] <= n {
		skip = w.skip[0] == n
		w.skip = w.skip[1:]
	}
	if skip {
		w.skipped()
	}
	return n, skip
}

// blame says which record the job's code has, 1 + its number, or that none is to
// blame if it fails: 0.
func (w *recordWatch) blame(at uint64) {
	if w.on {
		w.at.Store(at)
	}
}

// stride returns what is to be announced before record n.
func (w *recordWatch) stride(n uint64) span {
	switch end := w.near.from + w.near.n; {
	case n >= w.near.from && n < end:
		return span{n, 1}
	case n < w.near.from:
		return span{n, min(recordStride, w.near.from-n)}
	}
	return span{n, recordStride}
}

// leave is called when the job's code is done with a record, and has not failed.
func (w *recordWatch) leave() { w.blame(0) }

// end is called when there are no more records.
func (w *recordWatch) end() error {
	if !w.careful || !w.on {
		return nil
	}
	return w.announce(span{})
}

// watch makes an attempt's task follow its records, if bad ones are to be skipped.
func (t *Task) watch(c care, announce func(span) error) {
	name := CounterMapSkipped
	if t.kind == ReduceTask {
		name = CounterReduceSkipped
	}
	r := &t.records
	r.on, r.care, r.announce = t.spec.SkipBadRecords > 0, c, announce
	r.skipped = func() { t.counters.get(name).Add(1) }
}

// announce tells the coordinator where an attempt is.
func (w *Worker) announce(e *execution, at span) error {
	_, err := rpc.Call[rpc.Empty](e.ctx, w.client.AtLeastOnce(), methodAnnounce, &announceReq{e.attempt, at})
	return err
}

// announceReq says which records an attempt is about to work on.
type announceReq struct {
	attempt Attempt
	at      span
}

func (m *announceReq) AppendBinary(dst []byte) ([]byte, error) {
	return m.at.append(appendAttempt(dst, m.attempt)), nil
}

func (m *announceReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.attempt, m.at = decodeAttempt(&d), decodeSpan(&d)
	return d.Finish()
}

func (c *Coordinator) announced(_ context.Context, req *announceReq) (*rpc.Empty, error) {
	known := false
	if err := c.leading(func(s *schedule) { known = s.announced(req.attempt, req.at) }); err != nil {
		return nil, err
	}
	if !known {
		return nil, errStopped
	}
	return &rpc.Empty{}, nil
}

// skipped returns the records that a job skips.
func (j *job) skipped() []SkippedRecord {
	if j.skips == 0 {
		return nil
	}
	var found []SkippedRecord
	for kind := range j.tasks {
		for i := range j.tasks[kind] {
			found = append(found, j.tasks[kind][i].trouble.list(TaskKind(kind), i)...)
		}
	}
	return found
}

func (t *trouble) list(kind TaskKind, index int) (found []SkippedRecord) {
	if t == nil {
		return nil
	}
	for _, b := range t.skipped {
		found = append(found, SkippedRecord{kind, index, b.record, b.text})
	}
	return found
}

func appendSkipped(dst []byte, skipped []SkippedRecord) []byte {
	dst = appendUvarints(dst, uint64(len(skipped)))
	for _, s := range skipped {
		dst = wire.AppendString(appendUvarints(dst, uint64(s.Kind), uint64(s.Index), s.Record), s.Error)
	}
	return dst
}

func decodeSkipped(d *wire.Decoder) []SkippedRecord {
	var skipped []SkippedRecord
	for range min(d.Count(4), maxSkips) {
		skipped = append(skipped, SkippedRecord{TaskKind(d.Int(int(ReduceTask))), d.Int(maxInt), d.Uvarint(), d.String()})
	}
	return skipped
}
