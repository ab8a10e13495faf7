package jobs

import (
	"github.com/trilith-go/trilith/mapreduce"
)

// The records of TeraSort, and the keys that they begin with.
const (
	RecordBytes = 100
	KeyBytes    = 10
)

// TeraSort takes keys off records and puts them on again; it is the order of keys
// that sorts, and Spec.Bounds with several reduces.
var TeraSort = mapreduce.Job[[]byte, []byte, []byte]{
	Name:  "terasort",
	Input: mapreduce.FixedRecords(RecordBytes).Reuse(),
	Map: func(_ *mapreduce.Task, r mapreduce.Record, emit func(key, rest []byte)) error {
		emit(r.Value[:KeyBytes], r.Value[KeyBytes:])
		return nil
	},
	Reduce: mapreduce.Values[[]byte, []byte],
	Format: func(dst, key, rest []byte) []byte { return append(append(dst, key...), rest...) },
}
