package mapreduce

import (
	"encoding"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
	"github.com/trilith-go/trilith/rpc"
)

// The methods of a coordinator, and of a worker (Fetch).
const (
	methodRegister  = "mapreduce.Register"
	methodPoll      = "mapreduce.Poll"
	methodDone      = "mapreduce.Done"
	methodLocate    = "mapreduce.Locate"
	methodUnfetched = "mapreduce.Unfetched"
	methodAnnounce  = "mapreduce.Announce"
	methodSubmit    = "mapreduce.Submit"
	methodResubmit  = "mapreduce.Resubmit"
	methodStatus    = "mapreduce.Status"
	methodJobs      = "mapreduce.Jobs"
	methodCancel    = "mapreduce.Cancel"
	methodFetch     = "mapreduce.Fetch"
)

// errUnregistered tells a worker to register: the coordinator is new, or took it
// for dead.
const errUnregistered = rpc.Code("mapreduce: worker is not registered with this coordinator")

// errDismissed tells a worker to stop: the coordinator has no more work, for good.
const errDismissed = rpc.Code("mapreduce: worker is dismissed")

// message is what travels, both ways.
type message interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

var _ = []message{
	(*registerReq)(nil), (*registerResp)(nil), (*pollReq)(nil), (*pollResp)(nil), (*doneReq)(nil), (*doneResp)(nil),
	(*locateReq)(nil), (*locateResp)(nil), (*unfetchedReq)(nil), (*announceReq)(nil), (*submitReq)(nil), (*resubmitReq)(nil), (*submitResp)(nil),
	(*statusReq)(nil), (*statusResp)(nil), (*jobsResp)(nil), (*cancelReq)(nil), (*fetchReq)(nil),
}

// registerReq makes a worker known to a coordinator.
type registerReq struct {
	worker workerRow
	code   fingerprint
	holds  []Attempt // of maps whose output it can serve
}

func (m *registerReq) AppendBinary(dst []byte) ([]byte, error) {
	dst = m.worker.append(dst)
	dst = wire.AppendString(dst, m.code.build)
	dst = appendUvarints(dst, uint64(len(m.code.jobs)))
	for _, j := range m.code.jobs {
		dst = wire.AppendString(dst, j)
	}
	return appendAttempts(dst, m.holds), nil
}

func (m *registerReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.worker.decode(&d)
	m.code.build = d.String()
	m.code.jobs = make([]string, min(d.Count(1), maxJobs))
	for i := range m.code.jobs {
		m.code.jobs[i] = d.String()
	}
	m.holds = decodeAttempts(&d)
	return d.Finish()
}

type registerResp struct {
	id    workerID
	epoch uint64
	hold  time.Duration // for which a poll may be held back
}

func (m *registerResp) AppendBinary(dst []byte) ([]byte, error) {
	return appendUvarints(dst, uint64(m.id), m.epoch, uint64(m.hold)), nil
}

func (m *registerResp) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.id, m.epoch, m.hold = decodeWorkerID(&d), d.Uvarint(), time.Duration(d.Int(maxInt))
	return d.Finish()
}

// pollReq is a worker's sign of life. The answer is held back until there is
// something to say, or for a while.
type pollReq struct {
	id      workerID
	epoch   uint64
	zombies [2]int
	doing   []progress
	jobs    []JobID // for which it holds something
}

func (m *pollReq) AppendBinary(dst []byte) ([]byte, error) {
	dst = appendUvarints(dst, uint64(m.id), m.epoch, uint64(m.zombies[0]), uint64(m.zombies[1]), uint64(len(m.doing)))
	for _, p := range m.doing {
		dst = appendUvarints(appendAttempt(dst, p.attempt), p.count, p.record)
		dst = wire.AppendString(p.counters.append(wire.AppendBool(dst, p.fetched)), p.log)
	}
	return appendJobs(dst, m.jobs), nil
}

func (m *pollReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.id, m.epoch = decodeWorkerID(&d), d.Uvarint()
	m.zombies = [2]int{d.Int(maxSlots), d.Int(maxSlots)}
	m.doing = make([]progress, d.Count(7))
	for i := range m.doing {
		m.doing[i] = progress{decodeAttempt(&d), d.Uvarint(), d.Uvarint(), d.Bool(), decodeCounts(&d), d.String()}
	}
	m.jobs = decodeJobs(&d)
	return d.Finish()
}

// assigned is all that a worker needs to know of an attempt that it is to begin.
type assigned struct {
	order
	token string // of the job
	name  string // of the job
	maps  int    // M
	spec  Spec
	split Split // of a map
	care  care
}

// last returns the kind of the job's tasks that write the output.
func (a *assigned) last() TaskKind { return a.spec.last() }

// tasks returns how many tasks of its kind the job has.
func (a *assigned) tasks() int {
	if a.task.kind == MapTask {
		return a.maps
	}
	return a.spec.Reduces
}

type pollResp struct {
	begin []assigned
	stop  []Attempt
	over  []JobID
}

// maxBeginBytes bounds what is to begin in one answer, but for the first one.
const maxBeginBytes = 4 << 20

// AppendBinary leaves out what there is no room for: as nothing is remembered of what
// a worker was told, it is told that when it polls again, which it does at once.
func (m *pollResp) AppendBinary(dst []byte) ([]byte, error) {
	var begin []byte
	n := 0
	for i := range m.begin {
		a := &m.begin[i]
		next := appendRef(appendAttempt(begin, a.attempt), a.task)
		next = wire.AppendString(wire.AppendString(next, a.token), a.name)
		next = appendUvarints(next, uint64(a.maps))
		next = a.care.append(a.split.append(a.spec.append(next)))
		if n > 0 && len(next) > maxBeginBytes {
			break
		}
		begin = next
		n++
	}
	dst = append(appendUvarints(dst, uint64(n)), begin...)
	return appendJobs(appendAttempts(dst, m.stop), m.over), nil
}

func (m *pollResp) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.begin = make([]assigned, min(d.Count(16), 2*maxSlots))
	for i := range m.begin {
		a := &m.begin[i]
		a.attempt, a.task = decodeAttempt(&d), decodeRef(&d)
		a.token, a.name, a.maps = d.String(), d.String(), d.Int(maxSplits)
		a.spec.decode(&d)
		a.split.decode(&d)
		a.care.decode(&d)
	}
	m.stop, m.over = decodeAttempts(&d), decodeJobs(&d)
	return d.Finish()
}

// doneReq says that an attempt has done its task, or failed.
type doneReq struct {
	attempt Attempt
	task    taskRef
	sizes   []byte // of a map's regions
	counts  counts
	files   []string // that it has written besides its output
	failed  bool
	text    string // why it failed
	record  uint64 // 1 + the record that it failed in, or 0
	log     string // the end of what it has logged
}

func (m *doneReq) AppendBinary(dst []byte) ([]byte, error) {
	dst = m.counts.append(wire.AppendBytes(appendRef(appendAttempt(dst, m.attempt), m.task), m.sizes))
	dst = appendFiles(dst, m.files)
	dst = appendUvarints(wire.AppendString(wire.AppendBool(dst, m.failed), m.text), m.record)
	return wire.AppendString(dst, m.log), nil
}

func (m *doneReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.attempt, m.task = decodeAttempt(&d), decodeRef(&d)
	m.sizes, m.counts, m.files = append([]byte(nil), d.Bytes()...), decodeCounts(&d), decodeFiles(&d)
	m.failed, m.text, m.record, m.log = d.Bool(), d.String(), d.Uvarint(), d.String()
	return d.Finish()
}

// doneResp says whether the attempt's output counts, and whether the files do that it
// has written besides: those of a map do also when its output is lost, and do not
// when an earlier execution has won with some.
type doneResp struct{ counts, files bool }

func (m *doneResp) AppendBinary(dst []byte) ([]byte, error) {
	return wire.AppendBool(wire.AppendBool(dst, m.counts), m.files), nil
}

func (m *doneResp) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.counts, m.files = d.Bool(), d.Bool()
	return d.Finish()
}

// locateReq asks where the output of maps is, as far as it has changed since a
// position. The answer is held back until something has, or for a while.
type locateReq struct {
	job       JobID
	partition int
	since     int
}

func (m *locateReq) AppendBinary(dst []byte) ([]byte, error) {
	return appendUvarints(dst, uint64(m.job), uint64(m.partition), uint64(m.since)), nil
}

func (m *locateReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.job, m.partition, m.since = JobID(d.Uvarint()), d.Int(maxReduces), d.Int(maxInt)
	return d.Finish()
}

// locateLimit bounds the changes in one answer.
const locateLimit = 1 << 13

type locateResp struct {
	changed []location
	next    int
}

func (m *locateResp) AppendBinary(dst []byte) ([]byte, error) {
	// There are many changes and few addresses: each is written once.
	var addrs []string
	places := make(map[string]uint64)
	for _, l := range m.changed {
		if _, known := places[l.addr]; !known {
			places[l.addr] = uint64(len(addrs))
			addrs = append(addrs, l.addr)
		}
	}
	dst = appendUvarints(dst, uint64(m.next), uint64(len(addrs)))
	for _, addr := range addrs {
		dst = wire.AppendString(dst, addr)
	}
	dst = appendUvarints(dst, uint64(len(m.changed)))
	for _, l := range m.changed {
		dst = appendAttempt(appendUvarints(dst, uint64(l.index)), l.attempt)
		dst = append(appendUvarints(dst, places[l.addr]), l.size)
	}
	return dst, nil
}

func (m *locateResp) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.next = d.Int(maxInt)
	addrs := make([]string, d.Count(1))
	for i := range addrs {
		addrs[i] = d.String()
	}
	m.changed = make([]location, d.Count(5))
	for i := range m.changed {
		l := location{index: d.Int(maxSplits), attempt: decodeAttempt(&d)}
		if place := d.Int(maxInt); place < len(addrs) {
			l.addr = addrs[place]
		} else {
			d.Fail("address %d of %d", place, len(addrs))
		}
		l.size = d.Byte()
		m.changed[i] = l
	}
	return d.Finish()
}

// unfetchedReq says that a reduce attempt could not have the output of a map
// attempt.
type unfetchedReq struct {
	reducer Attempt
	task    taskRef
	attempt Attempt
}

func (m *unfetchedReq) AppendBinary(dst []byte) ([]byte, error) {
	return appendAttempt(appendRef(appendAttempt(dst, m.reducer), m.task), m.attempt), nil
}

func (m *unfetchedReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.reducer, m.task, m.attempt = decodeAttempt(&d), decodeRef(&d), decodeAttempt(&d)
	return d.Finish()
}

// fetchReq asks a worker for one region of each of several map outputs. The
// stream that answers has, for each in turn, a byte, fetchFound or fetchMissing,
// and in the first case the length of the region, 8 bytes, little end first, and
// the region.
type fetchReq struct {
	partition int
	attempts  []Attempt
}

const (
	fetchFound   = 1
	fetchMissing = 2
)

func (m *fetchReq) AppendBinary(dst []byte) ([]byte, error) {
	return appendAttempts(appendUvarints(dst, uint64(m.partition)), m.attempts), nil
}

func (m *fetchReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.partition, m.attempts = d.Int(maxReduces), decodeAttempts(&d)
	return d.Finish()
}

func appendAttempts(dst []byte, attempts []Attempt) []byte {
	dst = appendUvarints(dst, uint64(len(attempts)))
	for _, a := range attempts {
		dst = appendAttempt(dst, a)
	}
	return dst
}

func decodeAttempts(d *wire.Decoder) []Attempt {
	attempts := make([]Attempt, d.Count(2))
	for i := range attempts {
		attempts[i] = decodeAttempt(d)
	}
	return attempts
}

func appendJobs(dst []byte, jobs []JobID) []byte {
	dst = appendUvarints(dst, uint64(len(jobs)))
	for _, id := range jobs {
		dst = appendUvarints(dst, uint64(id))
	}
	return dst
}

func decodeJobs(d *wire.Decoder) []JobID {
	jobs := make([]JobID, d.Count(1))
	for i := range jobs {
		jobs[i] = JobID(d.Uvarint())
	}
	return jobs
}
