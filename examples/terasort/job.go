package main

import (
	"context"
	"iter"

	"github.com/trilith-go/trilith/mapreduce"
)

// teraSort takes keys off records and puts them on again.
var teraSort = mapreduce.Job[[]byte, []byte, []byte]{
	Name:  "terasort",
	Input: mapreduce.FixedRecords(recordBytes),
	Map: func(_ *mapreduce.Task, r mapreduce.Record, emit func(key, rest []byte)) error {
		emit(r.Value[:keyBytes], r.Value[keyBytes:])
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ []byte, rests iter.Seq[[]byte], emit func([]byte)) error {
		for rest := range rests {
			emit(rest)
		}
		return nil
	},
	Format: func(dst, key, rest []byte) []byte { return append(append(dst, key...), rest...) },
}

// sortRecords sorts the input of spec in a cluster in this process.
func sortRecords(ctx context.Context, spec mapreduce.Spec, cfg mapreduce.RunConfig) (*mapreduce.Result, error) {
	bounds, err := mapreduce.SampleBounds(ctx, teraSort, spec, cfg.FileSystem)
	if err != nil {
		return nil, err
	}
	spec.Bounds = bounds
	return mapreduce.Run(ctx, teraSort, spec, cfg)
}
