//go:build unix

package mapreduce

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// sh is a program that a shell understands.
func sh(script string) []string { return []string{"sh", "-c", script} }

// shell runs a script over an input and returns its output.
func shell(t *testing.T, script string, input []byte) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return string(out)
}

// streamed runs a command over files, sequentially and on a cluster, and returns the
// output files, which must be the same.
func streamed(t *testing.T, c Command, spec Spec, input fstest.MapFS) (parts []string, result *Result) {
	t.Helper()
	c.Name = cmp.Or(c.Name, "command")
	spec.Output = "out"
	if spec.Input == nil {
		spec.Input = []string{"*"}
	}
	want := sequentialOutput(t, c, spec, ReadOnly(input))
	files := newMemoryFiles()
	result, err := Run(t.Context(), c, spec, RunConfig{FileSystem: files, Input: ReadOnly(input), Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	checkSameOutput(t, c.Name, files, result, want)
	return want, result
}

// failure runs a command that must fail, and returns why it does.
func failure(t *testing.T, c Command, spec Spec) error {
	t.Helper()
	c.Name, spec.Input, spec.Output = "command", []string{"in"}, "out"
	cfg := RunConfig{FileSystem: newMemoryFiles(), Input: ReadOnly(fstest.MapFS{"in": {Data: []byte("one\ntwo\nthree\n")}})}
	_, serr := RunSequential(t.Context(), c, spec, cfg)
	if serr == nil {
		t.Fatalf("%q: a sequential run succeeds", c.Mapper)
	}
	if left, err := cfg.FileSystem.Glob(t.Context(), "out/*"); len(left) > 0 || err != nil {
		t.Errorf("a run that failed has left %q, %v", left, err)
	}
	_, err := Run(t.Context(), c, spec, cfg)
	if err == nil {
		t.Fatalf("%q: a run succeeds", c.Mapper)
	}
	return errors.Join(serr, err)
}

// bytesOfAllKinds are lines in which there is everything but a newline.
func bytesOfAllKinds(lines int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for range lines {
		for range r.IntN(20) {
			c := byte(r.IntN(256))
			if c == '\n' || r.IntN(3) == 0 {
				c = '\t'
			}
			b = append(b, c)
		}
		b = append(b, '\n')
	}
	return b
}

// With one reduce, a job gives what a pipeline gives.
func TestCommandIsAPipeline(t *testing.T) {
	text := fstest.MapFS{}
	for i := range 5 {
		text[fmt.Sprint("text", i)] = &fstest.MapFile{Data: []byte(strings.Repeat(fmt.Sprintf("To be, or not to be: that is question %d\n\n\tx\r\n", i), 40))}
	}
	raw := fstest.MapFS{"raw": {Data: bytesOfAllKinds(3000)}}
	const words = `tr -cs 'A-Za-z' '\n' | tr A-Z a-z`
	for _, c := range []struct {
		name            string
		mapper, reducer string
		combiner        string
		input           fstest.MapFS
		few             bool // there is one split only
	}{
		{name: "count words", mapper: words, reducer: "uniq -c", input: text},
		{name: "sums", mapper: words + ` | awk '{print $0 "\t" 1}'`, reducer: `awk -F'\t' '{n[$1] += $2} END {for (w in n) print w, n[w] | "LC_ALL=C sort"}'`, input: text},
		{name: "sums, combined", mapper: words + ` | awk '{print $0 "\t" 1}'`,
			combiner: `awk -F'\t' '$1 != w {if (NR > 1) print w "\t" n; w = $1; n = 0} {n += $2} END {print w "\t" n}'`,
			reducer:  `awk -F'\t' '{n[$1] += $2} END {for (w in n) print w, n[w] | "LC_ALL=C sort"}'`, input: text},
		{name: "all bytes", mapper: "cat", reducer: "cat", input: raw},
		{name: "lines are counted", mapper: "cat", reducer: "wc -l | tr -d ' '", input: raw},
		{name: "nothing is emitted", mapper: "cat >/dev/null", reducer: "cat", input: text},
		{name: "no newline at the end", mapper: "cat", reducer: "tr '\\n' ' '", input: text},
		{name: "more than it reads", mapper: `awk '{for (i = 0; i < 100; i++) print $0 "\t" i}'`, reducer: "cat", input: text},
		{name: "it reads a part", mapper: "head -n 3", reducer: "cat", input: raw, few: true},
		{name: "a reducer reads a part", mapper: "cat", reducer: "head -n 3", input: raw},
		{name: "an empty file", mapper: "cat", reducer: "wc -l | tr -d ' '", input: fstest.MapFS{"empty": {}}},
		{name: "no newline in the input", mapper: "cat", reducer: "cat", input: fstest.MapFS{"one": {Data: []byte("last")}}},
	} {
		var all []byte
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range c.input {
				if !yield(name) {
					return
				}
			}
		}) {
			all = append(all, c.input[name].Data...)
		}
		want := shell(t, fmt.Sprintf("(%s) | sort -s -t '\t' -k 1,1 | (%s)", c.mapper, c.reducer), all)
		job := Command{Name: "pipeline", Mapper: sh(c.mapper), Reducer: sh(c.reducer)}
		if c.combiner != "" {
			job.Combiner = sh(c.combiner)
		}
		spec := Spec{SplitBytes: 3000}
		if c.few {
			spec.SplitBytes = 1 << 20
		}
		got, _ := streamed(t, job, spec, c.input)
		if got[0] != want {
			t.Errorf("%s: got %.300q, a shell %.300q", c.name, got[0], want)
		}
	}
}

// With several reduces, lines with one key meet, and each partition is sorted.
func TestCommandPartitions(t *testing.T) {
	input := fstest.MapFS{"in": {Data: bytesOfAllKinds(2000)}}
	parts, result := streamed(t, Command{Mapper: []string{"cat"}, Reducer: []string{"cat"}}, Spec{Reduces: 4, SplitBytes: 5000}, input)
	seen := make(map[string]int)
	var lines []string
	for p, part := range parts {
		last := ""
		for line := range strings.Lines(part) {
			key, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if at, ok := seen[key]; ok && at != p || key < last {
				t.Fatalf("key %q is in partition %d after %q, and was in %d", key, p, last, at)
			}
			seen[key], last = p, key
			lines = append(lines, line)
		}
	}
	want := slices.Sorted(strings.Lines(string(input["in"].Data)))
	if slices.Sort(lines); !slices.Equal(lines, want) {
		t.Error("the lines are not those of the input")
	}
	n := int64(len(want))
	for _, name := range []string{CounterMapRecordsIn, CounterMapRecordsOut, CounterReduceRecsIn, CounterReduceRecsOut} {
		if result.Counters[name] != n {
			t.Errorf("%s is %d, want %d", name, result.Counters[name], n)
		}
	}
	if got := result.Counters[CounterReduceKeysIn]; got != int64(len(seen)) {
		t.Errorf("%d keys, want %d", got, len(seen))
	}
}

// Keys of several fields are sorted by all of them, and partitioned by the first.
func TestCommandKeyFields(t *testing.T) {
	var in strings.Builder
	for i := range 300 {
		fmt.Fprintf(&in, "%c::%02d::%d\n", 'a'+i%7, i*37%100, i)
	}
	in.WriteString("short\na::x\n")
	input := fstest.MapFS{"in": {Data: []byte(in.String())}}
	parts, result := streamed(t, Command{
		Mapper: []string{"cat"}, Reducer: []string{"cat"}, Separator: "::", KeyFields: 2, PartitionFields: 1,
	}, Spec{Reduces: 3, SplitBytes: 1000}, input)
	seen := make(map[string]int)
	for p, part := range parts {
		last := []string{""}
		for line := range strings.Lines(part) {
			fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "::", 3)
			if at, ok := seen[fields[0]]; ok && at != p || slices.Compare(fields[:min(2, len(fields))], last) < 0 {
				t.Fatalf("%q is in partition %d after %q; its first field was in %d", line, p, last, at)
			}
			seen[fields[0]], last = p, fields[:min(2, len(fields))]
		}
	}
	if len(seen) != 8 || result.Counters[CounterReduceRecsIn] != 302 {
		t.Errorf("%d first fields in %d lines", len(seen), result.Counters[CounterReduceRecsIn])
	}
}

// Bounds divide the keys that a mapper emits into ranges.
func TestCommandSampleBounds(t *testing.T) {
	input := testInput(4000)
	input["in"] = &fstest.MapFile{Data: []byte(shell(t, "cut -d ' ' -f 2-", input["input"].Data))} // that begins with a number
	delete(input, "input")
	job := Command{Name: "sort", Mapper: sh("tr a-z A-Z"), Reducer: []string{"cat"}}
	spec := Spec{Input: []string{"in"}, Output: "out", Reduces: 4, SplitBytes: 8000}
	bounds, err := SampleBounds(t.Context(), job, spec, ReadOnly(input))
	if err != nil {
		t.Fatal(err)
	}
	spec.Bounds = bounds
	parts, _ := streamed(t, job, spec, input)
	want := shell(t, "tr a-z A-Z | sort -s -t '\t' -k 1,1", input["in"].Data)
	if got := strings.Join(parts, ""); got != want {
		t.Error("the parts together are not sorted")
	}
	for p, part := range parts {
		if n := strings.Count(part, "\n"); n < 300 {
			t.Errorf("part %d has %d lines of 4000", p, n)
		}
	}
}

// What the environment tells a program.
func TestCommandEnvironment(t *testing.T) {
	const show = `echo "$TRILITH_JOB $mapreduce_job_name $TRILITH_TASK_KIND $mapreduce_task_ismap $TRILITH_TASK $mapreduce_task_partition $TRILITH_REDUCES $mapreduce_job_reduces $TRILITH_INPUT_FILE $mapreduce_map_input_file $TRILITH_ARG_a_b [$TRILITH_ATTEMPT$mapreduce_task_attempt_id]" | sed 's/\[[0-9]*-[0-9]*\]/attempt/'`
	input := fstest.MapFS{"f": {Data: []byte("x\n")}}
	// Attempts differ between runs, so they are taken out.
	parts, _ := streamed(t, Command{Name: "env", Mapper: sh("cat >/dev/null; " + strings.ReplaceAll(show, "[0-9]*-[0-9]*", "[^]]*")),
		Reducer: sh("cat; " + strings.ReplaceAll(show, "[0-9]*-[0-9]*", "[^]]*"))}, Spec{Args: map[string]string{"a.b": "v w"}}, input)
	want := "env env map true 0 0 1 1 f f v w attempt\nenv env reduce false 0 0 1 1   v w attempt\n"
	if parts[0] != want {
		t.Errorf("got %q, want %q", parts[0], want)
	}
}

// A mapper reads the whole split, or a file of it.
func TestCommandPerFile(t *testing.T) {
	input := fstest.MapFS{"a": {Data: []byte("1\n2\n")}, "b": {Data: []byte("3\n")}, "c": {}, "d": {Data: []byte("4\n5\n6\n")}}
	count := Command{Mapper: sh(`echo "$TRILITH_INPUT_FILE	$(wc -l)" | tr -d ' '`), Reducer: []string{"cat"}}
	if parts, _ := streamed(t, count, Spec{}, input); parts[0] != "a\t6\n" {
		t.Errorf("a mapper for the split gives %q", parts[0])
	}
	count.PerFile = true
	if parts, _ := streamed(t, count, Spec{}, input); parts[0] != "a\t2\nb\t1\nd\t3\n" {
		t.Errorf("a mapper for each file gives %q", parts[0])
	}
	count.Mapper = sh(`head -n 1`)
	if parts, _ := streamed(t, count, Spec{}, input); parts[0] != "1\n3\n4\n" {
		t.Errorf("the first lines are %q", parts[0])
	}
}

// A program may write as much as it likes before it reads, and the other way round;
// a line may be large.
func TestCommandDoesNotBlock(t *testing.T) {
	const many = 300_000
	input := fstest.MapFS{"in": {Data: bytes.Repeat([]byte("0123456789\n"), many)}, "long": {Data: append(bytes.Repeat([]byte("x"), 5<<20), '\n')}}
	parts, _ := streamed(t, Command{
		Mapper:  sh(`yes before | head -n 300000; cat`),
		Reducer: sh(`sort -r | uniq -c | awk '{print $1, length($2)}'`),
	}, Spec{SplitBytes: 64 << 20}, input)
	if want := fmt.Sprintf("1 %d\n%d 6\n%d 10\n", 5<<20, many, many); parts[0] != want {
		t.Errorf("got %q, want %q", parts[0], want)
	}
}

func TestCommandLineTooLong(t *testing.T) {
	err := failure(t, Command{Mapper: sh(fmt.Sprintf("head -c %d /dev/zero", MaxRecordBytes+1)), Reducer: []string{"cat"}}, Spec{MaxAttempts: 1})
	if !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// A program that fails fails the attempt, with what it said.
func TestCommandFails(t *testing.T) {
	cat := []string{"cat"}
	for _, c := range []struct {
		job  Command
		says []string
	}{
		{Command{Mapper: sh("cat; echo cannot go on >&2; exit 3"), Reducer: cat}, []string{`map task 0`, `mapper "sh -c cat;`, "exit status 3", "\ncannot go on"}},
		{Command{Mapper: cat, Reducer: sh("exit 4")}, []string{`reduce task 0`, `reducer "sh -c exit 4"`, "exit status 4, and nothing on its standard error"}},
		{Command{Mapper: sh("kill -9 $$"), Reducer: cat}, []string{"signal: killed"}},
		{Command{Mapper: sh("kill -9 $$"), Reducer: cat, IgnoreExitStatus: true}, []string{"signal: killed"}},
		{Command{Mapper: sh("seq 100000 >&2; exit 1"), Reducer: cat}, []string{"…\n99", "\n99999\n100000"}},
		{Command{Mapper: sh("for i in $(seq 300); do echo reporter:counter:g,$i,1 >&2; done"), Reducer: cat}, []string{"one more than the"}},
	} {
		err := failure(t, c.job, Spec{MaxAttempts: 2})
		for _, says := range c.says {
			if n := strings.Count(err.Error(), says); n != 2 {
				t.Errorf("%q %q: the errors say %q %d times, not once each:\n%.3000s", c.job.Mapper, c.job.Reducer, says, n, err)
			}
		}
	}
	_, err := Run(t.Context(), Command{Name: "c", Mapper: cat, Combiner: sh("exit 5"), Reducer: cat}, Spec{Input: []string{"in"}, Output: "out", MaxAttempts: 1},
		RunConfig{FileSystem: newMemoryFiles(), Input: ReadOnly(fstest.MapFS{"in": {Data: []byte("x\n")}})})
	if err == nil || !strings.Contains(err.Error(), `combiner "sh -c exit 5": exit status 5`) {
		t.Error(err)
	}
	grep := Command{Mapper: []string{"grep", "nothing"}, Reducer: cat, IgnoreExitStatus: true}
	if parts, _ := streamed(t, grep, Spec{}, fstest.MapFS{"in": {Data: []byte("one\n")}}); parts[0] != "" {
		t.Errorf("got %q", parts[0])
	}
}

// What is wrong with a command is found before anything runs.
func TestCommandIsChecked(t *testing.T) {
	cat := []string{"cat"}
	good := Command{Name: "c", Mapper: cat, Reducer: cat}
	for says, change := range map[string]func(*Command){
		"Command.Name has 0 bytes":      func(c *Command) { c.Name = "" },
		"Command.Mapper is missing":     func(c *Command) { c.Mapper = nil },
		"goes with a Reducer only":      func(c *Command) { c.Reducer, c.Combiner = nil, cat },
		`"no-such-program"`:             func(c *Command) { c.Mapper = []string{"no-such-program"} },
		"/no/such/reducer":              func(c *Command) { c.Reducer = []string{"/no/such/reducer"} },
		`"no-such-combiner"`:            func(c *Command) { c.Combiner = []string{"no-such-combiner"} },
		"Command.Separator":             func(c *Command) { c.Separator = "a\n" },
		"Command.KeyFields is -1":       func(c *Command) { c.KeyFields = -1 },
		"Command.PartitionFields is 3":  func(c *Command) { c.KeyFields, c.PartitionFields = 2, 3 },
		"zero byte":                     func(c *Command) { c.Reducer = []string{"cat", "\x00"} },
		"more than 4096 words":          func(c *Command) { c.Reducer = make([]string, 5000) },
		"Command.KeyFields is 1001, no": func(c *Command) { c.FromArgs, c.KeyFields = true, 1001 },
	} {
		c := good
		change(&c)
		if _, err := NewRegistry(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
}

// A job may leave it to its arguments what it runs.
func TestCommandFromArgs(t *testing.T) {
	any := Command{Name: "any", FromArgs: true}
	input := fstest.MapFS{"in": {Data: []byte("b-2-x\na-1-y\nb-1-z\n")}}
	parts, _ := streamed(t, any, Spec{Args: map[string]string{
		CommandArgMapper: "tr a-z 'A-Z'", CommandArgReducer: `sh -c "cat; exit 3"`, CommandArgSeparator: "-", CommandArgKeyFields: "2",
		CommandArgPartitionFields: "1", CommandArgExitIsFailure: "false", CommandArgPerFile: "true", "other": "any",
	}}, input)
	if want := "A-1-Y\nB-1-Z\nB-2-X\n"; parts[0] != want {
		t.Errorf("got %q, want %q", parts[0], want)
	}
	for says, args := range map[string]map[string]string{
		"Mapper is missing":    {CommandArgReducer: "cat"},
		"with a Reducer only":  {CommandArgMapper: "cat", CommandArgReducer: "NONE", CommandArgCombiner: "cat"},
		"no-such-program":      {CommandArgMapper: "no-such-program", CommandArgReducer: "cat"},
		"a quote is not":       {CommandArgMapper: "tr 'a", CommandArgReducer: "cat"},
		`"many"`:               {CommandArgMapper: "cat", CommandArgReducer: "cat", CommandArgKeyFields: "many"},
		`"perhaps"`:            {CommandArgMapper: "cat", CommandArgReducer: "cat", CommandArgExitIsFailure: "perhaps"},
		"zero byte":            {CommandArgMapper: "cat", CommandArgReducer: "cat", "x": "\x00"},
		"PartitionFields is 2": {CommandArgMapper: "cat", CommandArgReducer: "cat", CommandArgPartitionFields: "2"},
	} {
		spec := Spec{Input: []string{"in"}, Output: "out", Args: args}
		cfg := RunConfig{FileSystem: newMemoryFiles(), Input: ReadOnly(input)}
		for _, run := range []func(context.Context, Definition, Spec, RunConfig) (*Result, error){Run, RunSequential} {
			if _, err := run(t.Context(), any, spec, cfg); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v does not say %q", err, says)
			}
		}
		if _, err := SampleBounds(t.Context(), any, spec, cfg.Input); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("sampling: %v does not say %q", err, says)
		}
	}
}

// Without a reducer, what mappers write is the output.
func TestCommandMapOnly(t *testing.T) {
	input := fstest.MapFS{"a": {Data: bytesOfAllKinds(500)}, "b": {Data: []byte("b\tb\na\nno newline")}}
	mapper := `tr a-z A-Z`
	want := shell(t, mapper, slices.Concat(input["a"].Data, input["b"].Data)) + "\n" // the mapper gets whole lines
	for _, c := range []struct {
		job  Command
		args map[string]string
	}{
		{Command{Mapper: sh(mapper)}, nil},
		{Command{FromArgs: true}, map[string]string{CommandArgMapper: mapper}},
		{Command{FromArgs: true, Mapper: []string{"cat"}, Reducer: []string{"cat"}}, map[string]string{CommandArgMapper: mapper, CommandArgReducer: "NONE"}},
	} {
		parts, result := streamed(t, c.job, Spec{SplitBytes: 1000, Args: c.args}, input)
		if got := strings.Join(parts, ""); got != want || len(parts) < 4 {
			t.Errorf("%+v: got %d parts, %.300q, want %.300q", c.job, len(parts), got, want)
		}
		if n := result.Counters[CounterMapRecordsOut]; n != 503 || result.Reduces != 0 {
			t.Errorf("%d lines, %d reduces", n, result.Reduces)
		}
	}
}

// Peers whose commands differ in anything that matters refuse each other.
func TestCommandFingerprint(t *testing.T) {
	cat := []string{"cat"}
	good := Command{Name: "c", Mapper: cat, Reducer: cat}
	seen := make(map[string]bool)
	for i, change := range []func(*Command){
		func(*Command) {}, func(c *Command) { c.Version = "2" }, func(c *Command) { c.Mapper = []string{"cat", "-u"} },
		func(c *Command) { c.Reducer = []string{"cat -u"} }, func(c *Command) { c.Combiner = cat },
		func(c *Command) { c.Separator = "," }, func(c *Command) { c.KeyFields = 2 }, func(c *Command) { c.KeyFields, c.PartitionFields = 2, 1 },
		func(c *Command) { c.PerFile = true }, func(c *Command) { c.IgnoreExitStatus = true }, func(c *Command) { c.FromArgs = true },
		func(c *Command) { c.Input = FixedRecords(8) },
	} {
		c := good
		change(&c)
		r, err := NewRegistry(c)
		if err != nil {
			// Programs of which "cat -u" is the name are not there, and need not be.
			d := &definition{name: c.Name, version: c.Version, types: c.fingerprint()}
			r = &Registry{jobs: map[string]*definition{"c": d}}
		}
		f := r.fingerprint("build").jobs[0]
		if seen[f] {
			t.Errorf("change %d does not show in %s", i, f)
		}
		seen[f] = true
	}
}

// Lines for the reporter count, and are no part of what a program says.
func TestCommandReports(t *testing.T) {
	input := fstest.MapFS{"in": {Data: []byte("a\nb\nc\nd\n")}}
	job := Command{
		Mapper:  sh(`while read l; do echo "$l"; echo reporter:counter:my,lines,2 >&2; done; echo reporter:status:done >&2`),
		Reducer: sh(`cat; echo reporter:counter:my,reduces,1 >&2; echo reporter:counter:not,this >&2`),
	}
	_, result := streamed(t, job, Spec{SplitBytes: 4}, input)
	if result.Counters["my/lines"] != 8 || result.Counters["my/reduces"] != 1 {
		t.Errorf("counters are %v", result.Counters)
	}
}

// What a program says of its status is in the attempt's log, between what it says to
// people, and not in the error.
func TestCommandStatusIsLogged(t *testing.T) {
	c := &Command{Name: "command", Mapper: sh(`echo one >&2; echo reporter:status:half way >&2; echo two >&2; exit 3`)}
	task := &Task{ctx: t.Context(), spec: &Spec{}}
	p, err := c.start(task, "mapper", c.Mapper, "", func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
	if err != nil {
		t.Fatal(err)
	}
	if err := p.finish(); err == nil || !strings.HasSuffix(err.Error(), "\none\ntwo") {
		t.Errorf("the error is %v", err)
	}
	if log := task.log.tell(); log != "one\nhalf way\ntwo" {
		t.Errorf("the log is %q", log)
	}
}

// A program that counts what it is done with has bad records skipped; one that does
// not cannot tell which they are.
func TestCommandSkipsBadRecords(t *testing.T) {
	const counts = `echo reporter:counter:SkippingTaskCounters,%[1]s,0 >&2
		while IFS= read -r l; do
			case $l in *%[2]s*) echo cannot take "$l" >&2; exit 3;; esac
			printf '%%s\n' "$l"
			echo reporter:counter:SkippingTaskCounters,%[1]s,1 >&2
		done`
	var in strings.Builder
	for i := range 60 {
		fmt.Fprintf(&in, "line %d\n", i)
	}
	input := fstest.MapFS{"in": {Data: []byte(strings.ReplaceAll(strings.ReplaceAll(in.String(), "line 0\n", "bad 0\n"), "line 33\n", "bad 33\n"))}}
	job := Command{
		Mapper:  sh(fmt.Sprintf(counts, processedRecords, "bad")),
		Reducer: sh(fmt.Sprintf(counts, processedGroups, "17")),
	}
	parts, result := streamed(t, job, Spec{SkipBadRecords: 3, SplitBytes: 200}, input)
	if n := strings.Count(parts[0], "\n"); n != 57 || strings.Contains(parts[0], "17") || strings.Contains(parts[0], "bad") {
		t.Errorf("%d lines are left: %q", n, parts[0])
	}
	if len(result.Skipped) != 3 || result.Counters[CounterMapSkipped] != 2 || result.Counters[CounterReduceSkipped] != 1 {
		t.Errorf("skipped %v, counted %v", result.Skipped, result.Counters)
	}
	for _, s := range result.Skipped {
		if !strings.Contains(s.Error, "cannot take") {
			t.Errorf("%v does not say why", s)
		}
	}
	for _, mapper := range []string{"cat; exit 3", fmt.Sprintf(counts, processedRecords, "nothing") + "; exit 3"} {
		if err := failure(t, Command{Mapper: sh(mapper), Reducer: []string{"cat"}}, Spec{SkipBadRecords: 100, MaxAttempts: 2}); !strings.Contains(err.Error(), "failed 2 times") {
			t.Errorf("%q: %v", mapper, err)
		}
	}
}

// alive reports whether the process runs whose number is in a file.
func alive(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	// A process that nobody has waited for yet is dead too.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		_, state, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
	}
	return syscall.Kill(pid, 0) == nil
}

// lasting is a program that does nothing for long, as does another that it has
// started; their numbers are in files of dir.
func lasting(dir string) []string {
	return sh(fmt.Sprintf("sleep 1000 & echo $! >%[1]s/child.new; mv %[1]s/child.new %[1]s/child; echo $$ >%[1]s/parent.new; mv %[1]s/parent.new %[1]s/parent; wait", dir))
}

func checkGone(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"child", "parent"} {
		testutil.Eventually(t, 10*time.Second, func() bool { return !alive(t, filepath.Join(dir, name)) }, name+" is gone")
	}
}

// When a job is cancelled, its programs are killed with all that they have started.
func TestCommandIsKilled(t *testing.T) {
	run := map[string]func(context.Context, Definition, Spec, RunConfig) (*Result, error){"cluster": Run, "sequential": RunSequential}
	for name, job := range map[string]func(dir string) Command{
		"mapper":  func(dir string) Command { return Command{Mapper: lasting(dir), Reducer: []string{"cat"}} },
		"reducer": func(dir string) Command { return Command{Mapper: []string{"cat"}, Reducer: lasting(dir)} },
		"blocked": func(dir string) Command {
			return Command{Mapper: []string{"cat"}, Reducer: sh("head -n 1 >/dev/null; " + lasting(dir)[2])}
		},
	} {
		for how := range run {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				c := job(dir)
				c.Name = "lasting"
				_, err := run[how](ctx, c, Spec{Input: []string{"in"}, Output: "out"}, RunConfig{
					FileSystem: newMemoryFiles(), Input: ReadOnly(fstest.MapFS{"in": {Data: bytes.Repeat([]byte("line\n"), 100_000)}}),
				})
				done <- err
			}()
			testutil.Eventually(t, 20*time.Second, func() bool {
				_, err := os.Stat(filepath.Join(dir, "parent"))
				return err == nil
			}, name+" runs")
			if !alive(t, filepath.Join(dir, "child")) {
				t.Errorf("%s, %s: the child does not run", name, how)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			checkGone(t, dir)
		}
	}
}

// A program that is silent for too long is killed, and its attempt has failed.
func TestCommandTimesOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Run(t.Context(), Command{Name: "lasting", Mapper: lasting(dir), Reducer: []string{"cat"}},
		Spec{Input: []string{"in"}, Output: "out", TaskTimeout: time.Second, MaxAttempts: 1},
		RunConfig{FileSystem: newMemoryFiles(), Input: ReadOnly(fstest.MapFS{"in": {Data: []byte("x\n")}})})
	if !errors.Is(err, ErrJobFailed) || !strings.Contains(err.Error(), "no progress for 1s") {
		t.Error(err)
	}
	checkGone(t, dir)
}

// What a program leaves behind is killed. If it keeps the output open, nobody knows
// what is to come, and the attempt has failed.
func TestCommandLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	input := fstest.MapFS{"in": {Data: []byte("x\n")}}
	dir := t.TempDir()
	script := fmt.Sprintf("cat; sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >%[1]s/child; echo $$ >%[1]s/parent", dir)
	if parts, _ := streamed(t, Command{Mapper: sh(script), Reducer: []string{"cat"}}, Spec{}, input); parts[0] != "x\n" {
		t.Errorf("got %q", parts[0])
	}
	checkGone(t, dir)
	if testing.Short() {
		return
	}
	script = fmt.Sprintf("cat; sleep 1000 & echo $! >%[1]s/child; echo $$ >%[1]s/parent", dir)
	if err := failure(t, Command{Mapper: sh(script), Reducer: []string{"cat"}}, Spec{MaxAttempts: 1}); !strings.Contains(err.Error(), errLeftover.Error()) {
		t.Error(err)
	}
	checkGone(t, dir)
}

// A program that is there when the worker starts, but not any more when a task does.
func TestCommandDisappears(t *testing.T) {
	program := filepath.Join(t.TempDir(), "mapper")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncat\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	cfg := RunConfig{
		FileSystem: newMemoryFiles(), Input: ReadOnly(fstest.MapFS{"in": {Data: []byte("x\n")}}),
		Started: func(*Coordinator) {
			if err := os.Remove(program); err != nil {
				t.Error(err)
			}
		},
	}
	job := Command{Name: "c", Mapper: sh("cat"), Reducer: []string{program}}
	_, err := Run(t.Context(), job, Spec{Input: []string{"in"}, Output: "out", MaxAttempts: 2}, cfg)
	if err == nil || !strings.Contains(err.Error(), program) || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

// A program does not outlive its worker, and its task is done elsewhere.
func TestCommandDiesWithItsWorker(t *testing.T) {
	p := newProcesses(t, "coordinator", "worker0")
	files := Dir(p.dir)
	write(t, files, "input", "one\ntwo\n")
	client, err := NewClient(ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{p.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	pid := filepath.Join(p.dir, "pid")
	first := fmt.Sprintf(`if [ -e %[1]s ]; then exec cat; fi; echo $$ >%[1]s.new; mv %[1]s.new %[1]s; exec sleep 1000`, pid)
	id, err := client.Submit(t.Context(), anyProgram.Name, Spec{Input: []string{"input"}, Output: "out", Args: map[string]string{
		CommandArgMapper: `sh -c "` + first + `"`, CommandArgReducer: "cat",
	}})
	if err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, time.Minute, func() bool { _, err := os.Stat(pid); return err == nil }, "the mapper runs")
	if !alive(t, pid) {
		t.Error("the mapper does not run")
	}
	p.kill("worker0")
	if runtime.GOOS == "linux" {
		testutil.Eventually(t, 10*time.Second, func() bool { return !alive(t, pid) }, "the mapper is gone")
	}
	p.start("worker1")
	result, err := client.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, files, result.Files[0]); err != nil || got != "one\ntwo\n" {
		t.Errorf("the output is %q, %v", got, err)
	}
}
