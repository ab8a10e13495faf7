package mapreduce

import (
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// submitReq submits a job. The token is the client's own: a submission that is
// repeated finds the job of the first.
type submitReq struct {
	token string
	name  string
	spec  Spec
}

func (m *submitReq) AppendBinary(dst []byte) ([]byte, error) {
	return m.spec.append(wire.AppendString(wire.AppendString(dst, m.token), m.name)), nil
}

func (m *submitReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.token, m.name = d.String(), d.String()
	m.spec.decode(&d)
	return d.Finish()
}

// resubmitReq submits a job again that was aborted. However often it is repeated, it
// is submitted once.
type resubmitReq struct{ id JobID }

func (m *resubmitReq) AppendBinary(dst []byte) ([]byte, error) {
	return appendUvarints(dst, uint64(m.id)), nil
}

func (m *resubmitReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.id = JobID(d.Uvarint())
	return d.Finish()
}

type submitResp struct{ id JobID }

func (m *submitResp) AppendBinary(dst []byte) ([]byte, error) {
	return appendUvarints(dst, uint64(m.id)), nil
}

func (m *submitResp) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.id = JobID(d.Uvarint())
	return d.Finish()
}

// statusReq asks how a job is doing. The answer is held back until the job has
// ended, or for a while.
type statusReq struct {
	id   JobID
	hold time.Duration
}

func (m *statusReq) AppendBinary(dst []byte) ([]byte, error) {
	return appendUvarints(dst, uint64(m.id), uint64(m.hold)), nil
}

func (m *statusReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.id, m.hold = JobID(d.Uvarint()), time.Duration(d.Int(maxInt))
	return d.Finish()
}

type statusResp struct{ status JobStatus }

func (m *statusResp) AppendBinary(dst []byte) ([]byte, error) { return m.status.append(dst), nil }

func (m *statusResp) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.status.decode(&d)
	return d.Finish()
}

// jobsResp is how all jobs are doing that the coordinator knows.
type jobsResp struct{ jobs []JobStatus }

func (m *jobsResp) AppendBinary(dst []byte) ([]byte, error) {
	dst = appendUvarints(dst, uint64(len(m.jobs)))
	for i := range m.jobs {
		dst = m.jobs[i].append(dst)
	}
	return dst, nil
}

func (m *jobsResp) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.jobs = make([]JobStatus, min(d.Count(19), maxJobsRunning+maxJobsKept))
	for i := range m.jobs {
		m.jobs[i].decode(&d)
	}
	return d.Finish()
}

func (s *JobStatus) append(dst []byte) []byte {
	dst = wire.AppendString(appendUvarints(dst, uint64(s.ID), uint64(s.State)), s.Name)
	dst = wire.AppendString(wire.AppendString(wire.AppendString(dst, s.Output), s.Failure), s.Waiting)
	for _, p := range [...]*TaskProgress{&s.Maps, &s.Reduces} {
		dst = appendUvarints(dst, uint64(p.Total), uint64(p.Running), uint64(p.Completed))
	}
	dst = appendUvarints(dst, uint64(s.InputBytes), uint64(s.InputDone), uint64(s.SideFiles))
	dst = appendCounters(wire.AppendTime(wire.AppendTime(dst, s.Submitted), s.Ended), s.Counters)
	dst = appendUvarints(dst, uint64(s.Backups.Started), uint64(s.Backups.Won))
	dst = appendUvarints(dst, uint64(s.Resubmits), uint64(s.Successor), uint64(len(s.Input)))
	for _, pattern := range s.Input {
		dst = wire.AppendString(dst, pattern)
	}
	return appendSkipped(dst, s.Skipped)
}

func (s *JobStatus) decode(d *wire.Decoder) {
	s.ID, s.State, s.Name = JobID(d.Uvarint()), JobState(d.Int(int(JobAborted))), d.String()
	s.Output, s.Failure, s.Waiting = d.String(), d.String(), d.String()
	for _, p := range [...]*TaskProgress{&s.Maps, &s.Reduces} {
		*p = TaskProgress{d.Int(maxInt), d.Int(maxInt), d.Int(maxInt)}
	}
	s.InputBytes, s.InputDone, s.SideFiles = int64(d.Int(maxInt)), int64(d.Int(maxInt)), d.Int(maxJobFiles)
	s.Submitted, s.Ended = d.Time(), d.Time()
	s.Counters = decodeCounters(d)
	s.Backups = Backups{d.Int(maxInt), d.Int(maxInt)}
	s.Resubmits, s.Successor = d.Int(maxResubmits), JobID(d.Uvarint())
	if n := min(d.Count(1), maxPatterns); n > 0 {
		s.Input = make([]string, n)
	}
	for i := range s.Input {
		s.Input[i] = d.String()
	}
	s.Skipped = decodeSkipped(d)
}

type cancelReq struct {
	id     JobID
	reason string
}

func (m *cancelReq) AppendBinary(dst []byte) ([]byte, error) {
	return wire.AppendString(appendUvarints(dst, uint64(m.id)), m.reason), nil
}

func (m *cancelReq) UnmarshalBinary(src []byte) error {
	d := wire.NewDecoder(src)
	m.id, m.reason = JobID(d.Uvarint()), d.String()
	return d.Finish()
}
