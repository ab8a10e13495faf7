package main

import (
	"context"
	"fmt"
	"path"
	"strconv"

	"github.com/trilith-go/trilith/mapreduce"
)

// chain runs the jobs, one after the other.
type chain struct {
	source     mapreduce.FileSystem // the tree whose packages are ranked
	files      mapreduce.FileSystem // what the jobs write, each into a directory of its own
	iterations int
	workers    int
	reduces    int
	done       func(job string) // told when a job has ended
}

// run runs all jobs and returns the name of the file in which the packages are in the
// order of their ranks.
func (c *chain) run(ctx context.Context) (string, error) {
	result, err := c.step(ctx, links, mapreduce.Spec{Input: []string{"**/*.go"}, Output: "links", Reduces: c.reduces}, c.source)
	if err != nil {
		return "", err
	}
	for i := range c.iterations {
		spec := mapreduce.Spec{
			Input: inputs(result), Output: fmt.Sprintf("rank-%03d", i+1), Reduces: c.reduces,
			Args: map[string]string{sunkArg: strconv.FormatInt(sunkShare(result), 10)},
		}
		if result, err = c.step(ctx, rank, spec, c.files); err != nil {
			return "", err
		}
	}
	result, err = c.step(ctx, order, mapreduce.Spec{Input: inputs(result), Output: "order", Reduces: 1}, c.files)
	if err != nil {
		return "", err
	}
	return result.Files[0], nil
}

// step runs a job.
func (c *chain) step(ctx context.Context, job mapreduce.Definition, spec mapreduce.Spec, input mapreduce.FileSystem) (*mapreduce.Result, error) {
	result, err := mapreduce.Run(ctx, job, spec, mapreduce.RunConfig{FileSystem: c.files, Input: input, Workers: c.workers})
	if err == nil && c.done != nil {
		c.done(path.Base(spec.Output))
	}
	return result, err
}

// inputs are patterns of what a job has written.
func inputs(result *mapreduce.Result) []string {
	var patterns []string
	for _, name := range result.Files {
		patterns = append(patterns, mapreduce.QuotePattern(name))
	}
	return patterns
}

// sunkShare returns what each package gets of the ranks of those that import nothing.
func sunkShare(result *mapreduce.Result) int64 {
	if result.Counters[packagesCounter] == 0 {
		return 0
	}
	return damped(result.Counters[sunkCounter]) / result.Counters[packagesCounter]
}
