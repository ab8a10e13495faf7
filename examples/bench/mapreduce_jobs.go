package main

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/bench/internal/limits"
	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/mapreduce"
)

// A jobKind is a job that is measured: written with the library as a user would write
// it, and as a limit.
type jobKind struct {
	name    string
	records bool // the input is records, otherwise text
	reduces int
	ordered order
	limit   func(input, output, pattern string) error
}

// These end the names of jobs that write what those without such endings do.
const (
	noCombiner = "-nocombiner"
	byLine     = "-lines"
)

// order is in which order the lines of the output have to be.
type order int

const (
	keysInFile order = iota // by their keys, in each file; the files differ in how many there are
	keysInAll               // by their keys, one file after the other
	exactly                 // there is only one way
)

var (
	wordcount = &jobKind{
		name: "wordcount", reduces: 4, ordered: keysInFile,
		limit: func(input, output, _ string) error { return limits.WordCount(input, output) },
	}
	wordcountPlain = &jobKind{
		name: "wordcount" + noCombiner, reduces: 4, ordered: keysInFile,
		limit: func(input, output, _ string) error { return limits.WordCount(input, output) },
	}
	terasort = &jobKind{
		name: jobs.TeraSort.Name, records: true, reduces: 8, ordered: keysInAll,
		limit: func(input, output, _ string) error { return limits.Sort(input, output) },
	}
	grep = &jobKind{
		name: "grep", reduces: 1, ordered: exactly,
		limit: limits.Grep,
	}
	grepLines = &jobKind{
		name: "grep" + byLine, reduces: 1, ordered: exactly,
		limit: limits.Grep,
	}
	// hello has a single record, and says when it comes.
	hello = &jobKind{name: "hello", reduces: 1, ordered: exactly}
)

// patternArg names the argument of grep.
const patternArg = "pattern"

// definitions are the jobs by name.
var definitions = map[string]mapreduce.Definition{
	wordcount.name:      countWords(wordcount.name, mapreduce.Add[int]),
	wordcountPlain.name: countWords(wordcountPlain.name, nil),
	terasort.name:       jobs.TeraSort,
	grep.name:           findLines,
	grepLines.name:      matchLines,
	hello.name:          sayHello,
}

// countWords counts words as limits.WordCount does.
func countWords(name string, combine func(a, b int) int) mapreduce.Definition {
	return mapreduce.Job[string, int, int]{
		Name:  name,
		Input: mapreduce.Text{Reuse: true},
		Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
			text := line.Text()
			for i := 0; i < len(text); {
				if space[text[i]] {
					i++
					continue
				}
				from := i
				for i++; i < len(text) && !space[text[i]]; i++ {
				}
				emit(text[from:i], 1)
			}
			return nil
		},
		Combine: combine,
		Reduce:  mapreduce.Sum[string, int],
	}
}

// space says which bytes are between words.
var space = [256]bool{' ': true, '\t': true, '\n': true, '\v': true, '\f': true, '\r': true}

// findLines emits the lines that contain the pattern, with where they begin: it searches
// blocks of lines, and finds the line only where the pattern is.
var findLines = grepBy(grep.name, mapreduce.Text{Reuse: true, Blocks: true},
	func(t *mapreduce.Task, block mapreduce.Record, emit func(int64, []byte)) error {
		text, pattern := block.Text(), t.Arg(patternArg)
		for at := 0; at < len(text); {
			i := strings.Index(text[at:], pattern)
			if i < 0 {
				break
			}
			i += at
			from, to := strings.LastIndexByte(text[:i], '\n')+1, len(text)
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				to = i + n
			}
			emit(block.Offset+int64(from), block.Value[from:to])
			at = to + 1
		}
		return nil
	})

// matchLines does the same with each line as a record.
var matchLines = grepBy(grepLines.name, mapreduce.Text{Reuse: true},
	func(t *mapreduce.Task, line mapreduce.Record, emit func(int64, []byte)) error {
		if strings.Contains(line.Text(), t.Arg(patternArg)) {
			emit(line.Offset, line.Value)
		}
		return nil
	})

// grepBy returns a job that writes the lines that find emits, in their order.
func grepBy(name string, input mapreduce.Text, find func(*mapreduce.Task, mapreduce.Record, func(int64, []byte)) error) mapreduce.Definition {
	return mapreduce.Job[int64, []byte, []byte]{
		Name:   name,
		Input:  input,
		Map:    find,
		Reduce: mapreduce.Values[int64, []byte],
		Format: func(dst []byte, _ int64, line []byte) []byte { return append(append(dst, line...), '\n') },
	}
}

// The counters of hello: the time, in nanoseconds, of the only call of each function.
const (
	counterMapped  = "mapped"
	counterReduced = "reduced"
)

var sayHello = mapreduce.Job[string, int, int]{
	Name: hello.name,
	Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
		t.Counter(counterMapped).Add(time.Now().UnixNano())
		emit(line.Text(), 1)
		return nil
	},
	Reduce: func(t *mapreduce.Task, _ string, ones iter.Seq[int], emit func(int)) error {
		for one := range ones {
			emit(one)
		}
		t.Counter(counterReduced).Add(time.Now().UnixNano())
		return nil
	},
}

// newSpec returns what a run of a job works on.
func newSpec(t *task) mapreduce.Spec {
	spec := mapreduce.Spec{
		Input: []string{mapreduce.QuotePattern(t.inputName())}, Output: outputName, Reduces: t.kind().reduces, NoBackups: t.NoBackups,
	}
	if t.Job == grep.name || t.Job == grepLines.name {
		spec.Args = map[string]string{patternArg: t.Pattern}
	}
	return spec
}

// sampled adds the bounds to the spec of a job whose output is in order as a whole.
func sampled(ctx context.Context, t *task, spec mapreduce.Spec) (mapreduce.Spec, error) {
	if t.kind().ordered != keysInAll {
		return spec, nil
	}
	bounds, err := mapreduce.SampleBounds(ctx, definitions[t.Job], spec, t.inputFiles())
	spec.Bounds = bounds
	return spec, err
}
