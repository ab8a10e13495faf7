package main

import (
	"context"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/mapreduce"
)

// sortRecords sorts the input of spec in a cluster in this process.
func sortRecords(ctx context.Context, spec mapreduce.Spec, cfg mapreduce.RunConfig) (*mapreduce.Result, error) {
	bounds, err := mapreduce.SampleBounds(ctx, jobs.TeraSort, spec, cfg.FileSystem)
	if err != nil {
		return nil, err
	}
	spec.Bounds = bounds
	return mapreduce.Run(ctx, jobs.TeraSort, spec, cfg)
}
