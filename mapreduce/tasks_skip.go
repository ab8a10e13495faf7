package mapreduce

import (
	"cmp"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

const (
	// failuresToSkip is in how many attempts a record must have been fatal to be
	// skipped.
	failuresToSkip = 2
	// maxSkips bounds the records that a job may skip.
	maxSkips = 1000
	// maxSkipText bounds what is kept of why a record was skipped.
	maxSkipText = 400
)

// span are records of a task's input: n of them from one on. They are counted from
// 0, and are keys for a reduce. None means that nothing is known.
type span struct{ from, n uint64 }

func (s span) append(dst []byte) []byte { return appendUvarints(dst, s.from, s.n) }

func decodeSpan(d *wire.Decoder) span { return span{d.Uvarint(), d.Uvarint()} }

// trouble is what a task's attempts have come to grief at. It is never changed,
// only replaced.
type trouble struct {
	suspects []suspect   // records that were fatal, but not often enough
	skipped  []badRecord // by number
	careful  bool        // attempts say where they are before they go on: one has taken its worker with it
	near     span        // where the last one was that did
}

// suspect is a record in which attempts have ended.
type suspect struct {
	record   uint64
	failures int
}

// badRecord is a record that is skipped.
type badRecord struct {
	record uint64
	text   string // why
}

// copy returns a copy to be changed.
func (t *trouble) copy() *trouble {
	if t == nil {
		return &trouble{}
	}
	return &trouble{slices.Clone(t.suspects), slices.Clone(t.skipped), t.careful, t.near}
}

// suspect returns the trouble after another attempt has ended in a record: after
// enough of them it is skipped, if one more may be.
func (t *trouble) suspect(record uint64, text string, enough int, may bool) (next *trouble, skipped bool) {
	next = t.copy()
	place, known := slices.BinarySearchFunc(next.skipped, record, func(b badRecord, r uint64) int { return cmp.Compare(b.record, r) })
	if known {
		return next, false // by an attempt that did not know it yet
	}
	i := slices.IndexFunc(next.suspects, func(s suspect) bool { return s.record == record })
	if i < 0 {
		i = len(next.suspects)
		next.suspects = append(next.suspects, suspect{record: record})
	}
	next.suspects[i].failures++
	if next.suspects[i].failures < enough || !may {
		return next, false
	}
	next.suspects = slices.Delete(next.suspects, i, i+1)
	next.skipped = slices.Insert(next.skipped, place, badRecord{record, text[:min(len(text), maxSkipText)]})
	next.near = span{}
	return next, true
}

// suspect counts the end of an attempt against the record that it was in. When the
// record is skipped the task starts afresh: its failures are explained.
func (t *tasks) suspect(ref taskRef, record uint64, text string) {
	j, task := t.jobs[ref.job], t.task(ref)
	if j.state != JobRunning || j.spec.SkipBadRecords == 0 {
		return
	}
	enough := failuresToSkip
	if t.planted.skipAtOnce {
		enough = 1
	}
	var skipped bool
	task.trouble, skipped = task.trouble.suspect(record, text, enough, j.skips < j.spec.SkipBadRecords)
	if skipped {
		j.skips++
		task.failures, task.losses = 0, 0
	}
}

// mark says where an attempt was when its worker died.
type mark struct {
	attempt Attempt
	at      span
}

// takenAlong takes in where a worker's attempts were when it died. If one of them
// is known to the record it may have been that record; if several are, nobody can
// say which, and none is blamed.
func (t *tasks) takenAlong(id workerID, marks []mark) {
	exact := 0
	for _, m := range marks {
		if r, ok := t.running[m.attempt]; ok && r.worker == id && m.at.n == 1 {
			exact++
		}
	}
	for _, a := range t.runningOf(id) {
		ref := t.running[a].taskRef
		if t.jobs[ref.job].spec.SkipBadRecords == 0 {
			continue
		}
		task := t.task(ref)
		next := task.trouble.copy()
		next.careful = true
		i := slices.IndexFunc(marks, func(m mark) bool { return m.attempt == a })
		if i >= 0 && marks[i].at.n > 0 {
			next.near = marks[i].at
		}
		task.trouble = next
		if i >= 0 && marks[i].at.n == 1 && exact == 1 {
			t.suspect(ref, marks[i].at.from, "its worker died in it")
		}
	}
}

// care is what an attempt must know of those before it.
type care struct {
	skip    []uint64 // records, increasing
	careful bool     // it says where it is before it goes on
	near    span     // there, before each record
}

func (t *trouble) care() care {
	if t == nil {
		return care{}
	}
	c := care{careful: t.careful, near: t.near}
	for _, b := range t.skipped {
		c.skip = append(c.skip, b.record)
	}
	return c
}

func (c *care) append(dst []byte) []byte {
	dst = appendUvarints(c.near.append(wire.AppendBool(dst, c.careful)), uint64(len(c.skip)))
	return appendUvarints(dst, c.skip...)
}

func (c *care) decode(d *wire.Decoder) {
	c.careful, c.near = d.Bool(), decodeSpan(d)
	for range min(d.Count(1), maxSkips) {
		c.skip = append(c.skip, d.Uvarint())
	}
}

// append appends a trouble to an image, or that there is none.
func (t *trouble) append(dst []byte) []byte {
	if t == nil {
		return wire.AppendBool(dst, false)
	}
	dst = t.near.append(wire.AppendBool(wire.AppendBool(dst, true), t.careful))
	dst = appendUvarints(dst, uint64(len(t.suspects)))
	for _, s := range t.suspects {
		dst = appendUvarints(dst, s.record, uint64(s.failures))
	}
	dst = appendUvarints(dst, uint64(len(t.skipped)))
	for _, b := range t.skipped {
		dst = wire.AppendString(appendUvarints(dst, b.record), b.text)
	}
	return dst
}

func decodeTrouble(d *wire.Decoder) *trouble {
	if !d.Bool() {
		return nil
	}
	t := &trouble{careful: d.Bool(), near: decodeSpan(d)}
	for range d.Count(2) {
		t.suspects = append(t.suspects, suspect{d.Uvarint(), d.Int(maxInt)})
	}
	for i := range d.Count(2) {
		t.skipped = append(t.skipped, badRecord{d.Uvarint(), d.String()})
		if i > 0 && t.skipped[i].record <= t.skipped[i-1].record {
			d.Fail("skipped records are out of order")
		}
	}
	return t
}
