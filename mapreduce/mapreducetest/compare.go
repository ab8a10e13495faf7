package mapreducetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/trilith-go/trilith/mapreduce"
)

// ErrDiffers is matched by the error of a run that did not write what the
// sequential run writes.
var ErrDiffers = errors.New("mapreducetest: the output is not that of the sequential run")

// outcome is what a run of a job has led to.
type outcome struct {
	files  map[string][]byte // below the output directory, relative to it
	result *mapreduce.Result
}

// gather reads what a run has written. Files that begin with a dot are those of
// attempts, which nobody promises to be gone.
func gather(ctx context.Context, fsys mapreduce.FileSystem, dir string, result *mapreduce.Result) (*outcome, error) {
	files, err := readAll(ctx, fsys, path.Join(mapreduce.QuotePattern(dir), "**"))
	if err != nil {
		return nil, fmt.Errorf("mapreducetest: read the output: %w", err)
	}
	o := &outcome{files: make(map[string][]byte), result: result}
	for name, content := range files {
		if !strings.HasPrefix(path.Base(name), ".") {
			o.files[strings.TrimPrefix(name, dir+"/")] = content
		}
	}
	for _, name := range result.Files {
		if _, ok := files[name]; !ok {
			return nil, fmt.Errorf("%w: the result names %s, which is not there", ErrDiffers, name)
		}
	}
	return o, nil
}

// sequential runs a job in the obvious way.
func sequential(ctx context.Context, job mapreduce.Definition, spec mapreduce.Spec, input mapreduce.FileSystem) (*outcome, error) {
	files := NewMemory(nil)
	result, err := mapreduce.RunSequential(ctx, job, spec, mapreduce.RunConfig{FileSystem: files, Input: input})
	if err != nil {
		return nil, fmt.Errorf("mapreducetest: the sequential run: %w", err)
	}
	return gather(ctx, files, spec.Output, result)
}

// compare says in what a run differs from the sequential one, if in anything.
func (want *outcome) compare(got *outcome) error {
	var errs []error
	for _, name := range sortedNames(want.files) {
		if content, ok := got.files[name]; !ok {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		} else if !bytes.Equal(content, want.files[name]) {
			errs = append(errs, errors.New(diff(name, want.files[name], content)))
		}
	}
	for _, name := range sortedNames(got.files) {
		if _, ok := want.files[name]; !ok {
			errs = append(errs, fmt.Errorf("%s is there, %d bytes, which the sequential run does not write", name, len(got.files[name])))
		}
	}
	errs = append(errs, want.compareCounters(got), want.compareSkipped(got))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w:\n%w", ErrDiffers, err)
	}
	return nil
}

// sameCounters are the library's counters that do not depend on how a job is
// executed.
var sameCounters = []string{
	mapreduce.CounterMapRecordsIn, mapreduce.CounterMapBytesIn, mapreduce.CounterMapSkipped, mapreduce.CounterMapRecordsOut,
	mapreduce.CounterReduceKeysIn, mapreduce.CounterReduceSkipped, mapreduce.CounterReduceRecsOut, mapreduce.CounterReduceBytesOut,
	mapreduce.CounterMapSideOut, mapreduce.CounterReduceSideOut,
}

func (want *outcome) compareCounters(got *outcome) error {
	names := slices.Clone(sameCounters)
	for _, counters := range []map[string]int64{want.result.Counters, got.result.Counters} {
		for name := range counters {
			if !strings.HasPrefix(name, "map.") && !strings.HasPrefix(name, "reduce.") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var errs []error
	for _, name := range slices.Compact(names) {
		if w, g := want.result.Counters[name], got.result.Counters[name]; w != g {
			errs = append(errs, fmt.Errorf("counter %s is %d, in the sequential run %d", name, g, w))
		}
	}
	return errors.Join(errs...)
}

func (want *outcome) compareSkipped(got *outcome) error {
	places := func(o *outcome) []string {
		var s []string
		for _, r := range o.result.Skipped {
			s = append(s, fmt.Sprintf("record %d of %v task %d", r.Record, r.Kind, r.Index))
		}
		return slices.Sorted(slices.Values(s))
	}
	if w, g := places(want), places(got); !slices.Equal(w, g) {
		return fmt.Errorf("skipped are %q, in the sequential run %q", g, w)
	}
	return nil
}

const (
	// A diff shows so many lines before the first difference and from it on, each
	// up to so many bytes.
	diffBefore    = 2
	diffAfter     = 4
	diffLineBytes = 120
)

// diff describes where two contents of a file part.
func diff(name string, want, got []byte) string {
	same := 0
	for same < min(len(want), len(got)) && want[same] == got[same] {
		same++
	}
	line := bytes.LastIndexByte(want[:same], '\n') + 1 // where the line begins
	number := bytes.Count(want[:line], []byte{'\n'}) + 1
	var b strings.Builder
	fmt.Fprintf(&b, "%s differs in line %d, at byte %d; it has %d bytes, in the sequential run %d:", name, number, same, len(got), len(want))
	var before []string
	for common := want[:line]; len(common) > 0 && len(before) < diffBefore; {
		from := bytes.LastIndexByte(common[:len(common)-1], '\n') + 1
		before = append(before, fmt.Sprintf("\n    %6d  %s", number-len(before)-1, show(common[from:])))
		common = common[:from]
	}
	slices.Reverse(before)
	b.WriteString(strings.Join(before, ""))
	after := func(sign, who string, rest []byte) {
		n := 0
		for text := range bytes.Lines(rest) {
			fmt.Fprintf(&b, "\n  %s %6d  %s%s", sign, number+n, show(text), who)
			if n++; n == diffAfter {
				return
			}
			who = ""
		}
		if n < diffAfter {
			fmt.Fprintf(&b, "\n  %s %6d  (end of the file)%s", sign, number+n, who)
		}
	}
	after("-", "   ← sequential run", want[line:])
	after("+", "   ← this run", got[line:])
	return b.String()
}

// show returns a line as it can be printed.
func show(line []byte) string {
	text := bytes.TrimSuffix(line, []byte{'\n'})
	cut := ""
	if len(text) > diffLineBytes {
		text, cut = text[:diffLineBytes], "…"
	}
	for _, r := range string(text) {
		if r == utf8.RuneError || r < ' ' && r != '\t' {
			return fmt.Sprintf("%q%s", text, cut)
		}
	}
	return string(text) + cut
}

// splitsFor returns a Spec.SplitBytes that divides an input into some tasks.
func splitsFor(inputBytes int64, tasks int64) int64 { return cmp.Or(inputBytes/tasks, 1) }
