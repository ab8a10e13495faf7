package mapreducetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/mapreduce"
)

// ErrInput is matched by the errors of CheckInput.
var ErrInput = errors.New("mapreducetest: bad input")

const (
	// CheckInput divides an input into so many splits at most.
	maxCheckedSplits = 500
	// readersAtOnce read splits at the same time.
	readersAtOnce = 4
)

// splitSizes are the split sizes that CheckInput tries; those that would give too many
// splits are left out.
func splitSizes(total int64) []int64 {
	var sizes []int64
	for _, n := range []int64{1, 2, 3, 5, 16, 17, 100, maxCheckedSplits} {
		sizes = append(sizes, max(1, total/n), max(1, total/n+1))
	}
	for n := int64(1); n <= 64; n++ {
		if total/n <= maxCheckedSplits {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// CheckInput reads what patterns match in a file system, divided into splits of many
// sizes. The records must be the same as those of a single split: each once, in the
// same order, the same when a split is read again, also while others are read; what a
// record refers to does not change later; and a reader may stop early. Splits must be
// within Split's limits.
func CheckInput(ctx context.Context, in mapreduce.Input, fsys mapreduce.FileSystem, patterns ...string) error {
	c := &inputCheck{in: in, fsys: fsys, spec: mapreduce.Spec{Input: patterns, Output: "out"}}
	c.spec.SplitBytes = 1 << 50
	splits, err := c.split(ctx)
	if err != nil {
		return err
	}
	want, err := c.readAll(ctx, splits)
	if err != nil {
		return err
	}
	var total int64
	for _, s := range splits {
		for _, p := range s.Pieces {
			total += p.Length
		}
	}
	for _, size := range splitSizes(total) {
		c.spec.SplitBytes = size
		if splits, err = c.split(ctx); err != nil {
			return err
		}
		got, err := c.readAll(ctx, splits)
		if err == nil {
			err = sameRecords(want, got)
		}
		if err == nil {
			err = c.stops(ctx, splits)
		}
		if err != nil {
			return fmt.Errorf("in %d splits, with Spec.SplitBytes %d: %w", len(splits), size, err)
		}
	}
	return nil
}

type inputCheck struct {
	in   mapreduce.Input
	fsys mapreduce.FileSystem
	spec mapreduce.Spec
}

func (c *inputCheck) split(ctx context.Context) ([]mapreduce.Split, error) {
	spec := c.spec
	splits, err := c.in.Splits(ctx, c.fsys, &spec)
	if err != nil {
		return nil, fmt.Errorf("mapreducetest: divide the input: %w", err)
	}
	again, err := c.in.Splits(ctx, c.fsys, &spec)
	if err != nil {
		return nil, fmt.Errorf("mapreducetest: divide the input again: %w", err)
	}
	if fmt.Sprint(splits) != fmt.Sprint(again) {
		return nil, fmt.Errorf("%w: Splits returns %.200v, and then %.200v", ErrInput, splits, again)
	}
	for i, s := range splits {
		if len(s.Data) > 64<<10 {
			return nil, fmt.Errorf("%w: split %d has %d bytes of Data", ErrInput, i, len(s.Data))
		}
		for _, p := range s.Pieces {
			f, size, err := c.fsys.Open(ctx, p.Name)
			if err != nil {
				return nil, fmt.Errorf("%w: a piece of split %d: %w", ErrInput, i, err)
			}
			if err := f.Close(); err != nil {
				return nil, err
			}
			if p.Offset < 0 || p.Length < 0 || p.Offset > size || p.Length > size-p.Offset {
				return nil, fmt.Errorf("%w: split %d has %d bytes from %d on of %s, which has %d", ErrInput, i, p.Length, p.Offset, p.Name, size)
			}
		}
	}
	return splits, nil
}

// readAll reads splits, several at a time, each twice, and returns all records.
func (c *inputCheck) readAll(ctx context.Context, splits []mapreduce.Split) ([]mapreduce.Record, error) {
	parts := make([][]mapreduce.Record, len(splits))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readersAtOnce)
	for i, split := range splits {
		group.Go(func() error {
			first, err := c.read(ctx, split)
			if err != nil {
				return fmt.Errorf("split %d: %w", i, err)
			}
			second, err := c.read(ctx, split)
			if err == nil {
				err = sameRecords(first, second)
			}
			if err != nil {
				return fmt.Errorf("split %d, read again: %w", i, err)
			}
			parts[i] = first
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []mapreduce.Record
	for _, part := range parts {
		all = append(all, part...)
	}
	return all, nil
}

// read reads a split, and checks that the memory of its records stays as it is.
func (c *inputCheck) read(ctx context.Context, split mapreduce.Split) ([]mapreduce.Record, error) {
	seed := maphash.MakeSeed()
	sum := func(r mapreduce.Record) uint64 { return maphash.Bytes(seed, r.Key) ^ maphash.Bytes(seed, r.Value) }
	var records []mapreduce.Record
	var sums []uint64
	for r, err := range c.in.Read(ctx, c.fsys, split) {
		if err != nil {
			return nil, fmt.Errorf("mapreducetest: read: %w", err)
		}
		records, sums = append(records, r), append(sums, sum(r))
	}
	for i, r := range records {
		if sum(r) != sums[i] {
			return nil, fmt.Errorf("%w: the memory of record %d was changed when later ones were read", ErrInput, i)
		}
	}
	return records, nil
}

// stops checks that reading can be ended early. An Input that goes on panics.
func (c *inputCheck) stops(ctx context.Context, splits []mapreduce.Split) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: a reader that stops early: %v", ErrInput, p)
		}
	}()
	for _, split := range splits[:min(len(splits), 3)] {
		for range c.in.Read(ctx, c.fsys, split) {
			break
		}
	}
	return nil
}

// sameRecords says where two lists of records part.
func sameRecords(want, got []mapreduce.Record) error {
	for i := range min(len(want), len(got)) {
		w, g := want[i], got[i]
		if w.File != g.File || w.Offset != g.Offset || !bytes.Equal(w.Key, g.Key) || !bytes.Equal(w.Value, g.Value) {
			return fmt.Errorf("%w: record %d is %s, not %s", ErrInput, i, showRecord(g), showRecord(w))
		}
	}
	if len(want) != len(got) {
		return fmt.Errorf("%w: %d records, not %d", ErrInput, len(got), len(want))
	}
	return nil
}

func showRecord(r mapreduce.Record) string {
	return fmt.Sprintf("%s:%d %.60q %.60q", r.File, r.Offset, r.Key, r.Value)
}
