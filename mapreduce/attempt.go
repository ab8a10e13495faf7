package mapreduce

import (
	"encoding/binary"
	"fmt"
	"math"
)

// TaskKind tells map from reduce.
type TaskKind uint8

// The kinds of tasks.
const (
	MapTask TaskKind = iota
	ReduceTask
)

// String returns "map" or "reduce".
func (k TaskKind) String() string {
	if k == ReduceTask {
		return "reduce"
	}
	return "map"
}

// Attempt identifies one execution of a task: no two executions, in whatever
// process and after whatever crash, have the same. The sequential runner's is
// the zero Attempt.
type Attempt struct {
	Epoch uint64 // the coordinator's, which rises with each start
	N     uint64 // counts the attempts that coordinators of all epochs granted
}

// String returns the attempt as it is shown in names of files and in logs.
func (a Attempt) String() string { return fmt.Sprintf("%d-%d", a.Epoch, a.N) }

// taskName returns a task as it is named in errors.
func taskName(kind TaskKind, index int) string { return fmt.Sprintf("%v task %d", kind, index) }

const maxInt = math.MaxInt

// appendUvarints appends numbers, each as an unsigned varint.
func appendUvarints(dst []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// JobID names a submitted job. A coordinator issues them, from 1 on, and none
// twice.
type JobID uint64

// JobState is what a submitted job is doing. Legal transitions:
//
//	running    → committing  all reduces, or all maps of a job without, have completed; their files get their final names
//	running    → failed      a task failed too often, or the job cannot go on at all
//	running    → cancelled
//	running    → aborted     the coordinator is another, and the job wishes to end with the old one
//	committing → succeeded   all files have their final names
//	committing → failed      a file could not be committed
type JobState uint8

// The states of a job.
const (
	JobRunning JobState = iota
	JobCommitting
	JobSucceeded
	JobFailed
	JobCanceled
	JobAborted
)

// Ended reports whether nothing more happens to the job.
func (s JobState) Ended() bool { return s >= JobSucceeded }

// String returns the state in a word.
func (s JobState) String() string {
	names := [...]string{"running", "committing", "succeeded", "failed", "cancelled", "aborted"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// Backups counts second attempts of tasks that would have ended late.
type Backups struct {
	Started int `json:"started"`
	Won     int `json:"won"` // that completed their task before the first attempt did
}
