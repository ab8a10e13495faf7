package mapreduce

import (
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// command says what a logged command does. All but cmdLead carry the epoch of the
// coordinator that proposed them, and have no effect in another: a coordinator
// that was replaced decides nothing any more.
type command uint8

const (
	cmdLead command = iota + 1
	cmdJoin
	cmdDead
	cmdSubmit
	cmdAssign
	cmdComplete
	cmdFailed
	cmdLost
	cmdEnd
	cmdYield
)

// status is the first byte of a command's output.
type status uint8

const (
	statusOK          status = iota
	statusStale              // it is about something that is no more; nothing was done
	statusFull               // a limit is reached
	statusOutputTaken        // another job writes into the directory
	statusMalformed          // it could not be decoded
	statusSpent              // the job was submitted again as often as it allows
)

// assignment is a task for a worker.
type assignment struct {
	task   taskRef
	worker workerID
	backup bool // the task runs already, elsewhere
}

// maxBatch bounds the assignments, or losses, of one command.
const maxBatch = 1 << 10

// maxRefIndex bounds the index of a task in a command; whether there is such a
// task is up to the table.
const maxRefIndex = 1 << 31

func appendCommand(dst []byte, c command, epoch uint64) []byte {
	return appendUvarints(append(dst, byte(c)), epoch)
}

func appendRef(dst []byte, r taskRef) []byte {
	return appendUvarints(dst, uint64(r.job), uint64(r.kind), uint64(r.index))
}

func decodeRef(d *wire.Decoder) taskRef {
	return taskRef{JobID(d.Uvarint()), TaskKind(d.Int(int(ReduceTask))), d.Int(maxRefIndex)}
}

func appendAttempt(dst []byte, a Attempt) []byte { return appendUvarints(dst, a.Epoch, a.N) }

func decodeAttempt(d *wire.Decoder) Attempt { return Attempt{d.Uvarint(), d.Uvarint()} }

func decodeWorkerID(d *wire.Decoder) workerID { return workerID(d.Int(1<<32 - 1)) }

// append appends what a submission says of the job.
func (j *job) append(dst []byte) []byte {
	dst = wire.AppendString(dst, j.token)
	dst = wire.AppendString(dst, j.name)
	dst = wire.AppendString(dst, j.build)
	dst = j.spec.append(appendUvarints(dst, uint64(j.predecessor)))
	dst = appendUvarints(dst, uint64(len(j.splits)))
	for i := range j.splits {
		dst = j.splits[i].append(dst)
	}
	return dst
}

func (j *job) decode(d *wire.Decoder) {
	j.token, j.name, j.build, j.predecessor = d.String(), d.String(), d.String(), JobID(d.Uvarint())
	j.spec.decode(d)
	n := d.Count(2)
	if n > maxSplits {
		d.Fail("%d splits", n)
		return
	}
	j.splits = make([]Split, n)
	for i := range j.splits {
		j.splits[i].decode(d)
	}
}

func (s *Split) append(dst []byte) []byte {
	dst = appendUvarints(dst, uint64(len(s.Pieces)))
	for _, p := range s.Pieces {
		dst = wire.AppendString(dst, p.Name)
		dst = appendUvarints(dst, uint64(p.Offset), uint64(p.Length))
	}
	dst = wire.AppendBytes(dst, s.Data)
	dst = appendUvarints(dst, uint64(len(s.hosts)))
	for _, h := range s.hosts {
		dst = wire.AppendString(dst, h)
	}
	return dst
}

// bytes returns the size of all pieces.
func (s *Split) bytes() int64 {
	var n int64
	for i := range s.Pieces {
		n += s.Pieces[i].Length
	}
	return n
}

func (s *Split) decode(d *wire.Decoder) {
	if n := d.Count(3); n > 0 {
		s.Pieces = make([]Piece, n)
	}
	for i := range s.Pieces {
		s.Pieces[i] = Piece{d.String(), int64(d.Int(maxInt)), int64(d.Int(maxInt))}
	}
	if b := d.Bytes(); len(b) > 0 {
		s.Data = append([]byte(nil), b...)
	}
	if n := d.Count(1); n > 0 {
		s.hosts = make([]string, n)
	}
	for i := range s.hosts {
		s.hosts[i] = d.String()
	}
}

// apply carries out a command and appends its output to dst: a status, and what
// the command returns besides.
func (t *tasks) apply(at time.Time, cmd, dst []byte) []byte {
	d := wire.NewDecoder(cmd)
	c := command(d.Byte())
	epoch := d.Uvarint()
	if d.Err() != nil {
		return append(dst, byte(statusMalformed))
	}
	if c == cmdLead {
		return append(dst, byte(t.lead(at, epoch)))
	}
	if epoch != t.epoch {
		return append(dst, byte(statusStale))
	}
	switch c {
	case cmdJoin:
		return t.applyJoin(&d, dst)
	case cmdSubmit:
		return t.applySubmit(at, &d, dst)
	case cmdAssign:
		return t.applyAssign(&d, dst)
	}
	return append(dst, byte(t.applyEvent(at, c, &d)))
}

func (t *tasks) applyJoin(d *wire.Decoder, dst []byte) []byte {
	var w workerRow
	w.decode(d)
	if d.Finish() != nil {
		return append(dst, byte(statusMalformed))
	}
	id, st := t.join(w)
	return appendUvarints(append(dst, byte(st)), uint64(id))
}

func (t *tasks) applySubmit(at time.Time, d *wire.Decoder, dst []byte) []byte {
	j := &job{}
	j.decode(d)
	if d.Finish() != nil {
		return append(dst, byte(statusMalformed))
	}
	id, st := t.submit(at, j)
	return appendUvarints(append(dst, byte(st)), uint64(id))
}

func (t *tasks) applyAssign(d *wire.Decoder, dst []byte) []byte {
	batch := make([]assignment, min(d.Count(5), maxBatch))
	for i := range batch {
		batch[i] = assignment{decodeRef(d), decodeWorkerID(d), d.Bool()}
	}
	if d.Finish() != nil {
		return append(dst, byte(statusMalformed))
	}
	for _, a := range batch {
		t.assign(a)
	}
	return append(dst, byte(statusOK))
}

// applyEvent carries out the commands that return a status and nothing else.
func (t *tasks) applyEvent(at time.Time, c command, d *wire.Decoder) status {
	var do func() status
	switch c {
	case cmdDead:
		id := decodeWorkerID(d)
		marks := make([]mark, d.Count(4))
		for i := range marks {
			marks[i] = mark{decodeAttempt(d), decodeSpan(d)}
		}
		do = func() status { return t.dead(at, id, marks) }
	case cmdComplete:
		ref, a, sizes, c, files := decodeRef(d), decodeAttempt(d), append([]byte(nil), d.Bytes()...), decodeCounts(d), decodeFiles(d)
		do = func() status { return t.complete(at, ref, a, sizes, c, files) }
	case cmdFailed:
		a, text, record := decodeAttempt(d), d.String(), d.Uvarint()
		do = func() status { return t.failed(at, a, text, record) }
	case cmdLost:
		ref, a, count, text := decodeRef(d), decodeAttempt(d), d.Bool(), d.String()
		do = func() status { return t.lost(at, ref, a, count, text) }
	case cmdEnd:
		id, to, text := JobID(d.Uvarint()), JobState(d.Int(int(JobCanceled))), d.String()
		do = func() status { return t.end(at, id, to, text) }
	case cmdYield:
		a := decodeAttempt(d)
		do = func() status { return t.yield(a) }
	default:
		return statusMalformed
	}
	if d.Finish() != nil {
		return statusMalformed
	}
	return do()
}

func commandLead(epoch uint64) []byte { return appendCommand(nil, cmdLead, epoch) }

func commandDead(epoch uint64, id workerID, marks []mark) []byte {
	dst := appendUvarints(appendCommand(nil, cmdDead, epoch), uint64(id), uint64(len(marks)))
	for _, m := range marks {
		dst = m.at.append(appendAttempt(dst, m.attempt))
	}
	return dst
}

func commandJoin(epoch uint64, w *workerRow) []byte {
	return w.append(appendCommand(nil, cmdJoin, epoch))
}

func commandSubmit(epoch uint64, j *job) []byte {
	return j.append(appendCommand(nil, cmdSubmit, epoch))
}

func commandAssign(epoch uint64, batch []assignment) []byte {
	dst := appendUvarints(appendCommand(nil, cmdAssign, epoch), uint64(len(batch)))
	for _, a := range batch {
		dst = wire.AppendBool(appendUvarints(appendRef(dst, a.task), uint64(a.worker)), a.backup)
	}
	return dst
}

func commandComplete(epoch uint64, ref taskRef, a Attempt, sizes []byte, c counts, files []string) []byte {
	dst := appendAttempt(appendRef(appendCommand(nil, cmdComplete, epoch), ref), a)
	return appendFiles(c.append(wire.AppendBytes(dst, sizes)), files)
}

func commandFailed(epoch uint64, a Attempt, text string, record uint64) []byte {
	dst := appendAttempt(appendCommand(nil, cmdFailed, epoch), a)
	return appendUvarints(wire.AppendString(dst, text[:min(len(text), maxErrorBytes)]), record)
}

func commandLost(epoch uint64, ref taskRef, a Attempt, count bool, text string) []byte {
	dst := appendAttempt(appendRef(appendCommand(nil, cmdLost, epoch), ref), a)
	return wire.AppendString(wire.AppendBool(dst, count), text[:min(len(text), maxErrorBytes)])
}

func commandEnd(epoch uint64, id JobID, to JobState, text string) []byte {
	dst := appendUvarints(appendCommand(nil, cmdEnd, epoch), uint64(id), uint64(to))
	return wire.AppendString(dst, text[:min(len(text), maxErrorBytes)])
}

func commandYield(epoch uint64, a Attempt) []byte {
	return appendAttempt(appendCommand(nil, cmdYield, epoch), a)
}
