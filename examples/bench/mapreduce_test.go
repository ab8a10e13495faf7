package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/examples/bench/internal/corpus"
)

// testSize is that of inputs of which a job takes a moment.
const testSize = 400_000

func testWorkspace(t *testing.T, size int64, given string) *workspace {
	t.Helper()
	w, err := newWorkspace(size, given, "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestEveryJob runs each subject on each case of mapreduce: all do the same job, as
// their outputs are compared.
func TestEveryJob(t *testing.T) {
	w := testWorkspace(t, testSize, "")
	usual := []string{"MB/s", "cpu_s", "peak_MiB", "shuffle_MiB"}
	others := map[string][]string{
		"startup":        {"first_record_ms", "result_ms", "job_ms"},
		"terasort-spill": append(slices.Clone(usual), "budget_MiB", "spilled_MiB"),
	}
	for _, kase := range mapreduceSuite.cases {
		if testing.Short() && kase != "wordcount" && kase != "kill" {
			continue
		}
		t.Run(kase, func(t *testing.T) {
			results, err := mapreduceSuite.measure(t.Context(), kase, mapreduceSuite.subjects, plan{rounds: 1, work: w})
			if err != nil {
				t.Fatal(err)
			}
			want := usual
			if other := others[kase]; other != nil {
				want = other
			}
			base := mapreduceSuite.baseline(kase)
			for _, r := range results {
				if got := metricNames(r); !slices.Equal(got, want) {
					t.Errorf("%s has metrics %v, want %v", r.subject, got, want)
				}
				if r.metrics[0].value <= 0 {
					t.Errorf("%s: %+v", r.subject, r.metrics)
				}
				if r.subject == base {
					base = ""
				}
			}
			if base != "" || len(results) < 2 {
				t.Errorf("%d subjects, %q is not among them", len(results), base)
			}
		})
	}
	if got, want := len(w.outputs), 4; got != want && !testing.Short() { // wordcount, terasort, grep, hello
		t.Errorf("outputs of %d jobs were compared, want %d: %v", got, want, w.outputs)
	}
	for job, s := range w.outputs {
		if s.Lines == 0 {
			t.Errorf("the output of %s is empty", job)
		}
	}
}

// A subject whose output differs is found out: by a line, by its order, by what is
// missing.
func TestOutputsAreCompared(t *testing.T) {
	for _, c := range []struct {
		job   *jobKind
		first string
		same  []string
		other []string
	}{
		{wordcount, "a\t1\nb\t2\nc\t3\n", []string{"b\t2\n|a\t1\nc\t3\n", "|a\t1\nb\t2\nc\t3\n"}, []string{"a\t1\nb\t2\n", "b\t2\na\t1\nc\t3\n", "a\t1\nb\t3\nc\t3\n", "a\t1\na\t1\nb\t2\nc\t3\n"}},
		{grep, "b\na\n", []string{"b\n|a\n"}, []string{"a\nb\n", "b\n", "b\na\na\n"}},
		{terasort, record("b") + record("c\n"), []string{record("b") + "|" + record("c\n")}, []string{record("c\n") + "|" + record("b"), record("b"), record("b") + record("d\n")}},
	} {
		w := testWorkspace(t, testSize, "")
		check := func(text string) error { return w.check(c.job, writeParts(t, text)) }
		if err := check(c.first); err != nil {
			t.Fatal(err)
		}
		for _, text := range c.same {
			if err := check(text); err != nil {
				t.Errorf("%s: %q: %v", c.job.name, text, err)
			}
		}
		for _, text := range c.other {
			if err := check(text); err == nil {
				t.Errorf("%s: %q passes for %q", c.job.name, text, c.first)
			}
		}
	}
}

// record returns a record that begins like this.
func record(key string) string { return key + strings.Repeat(".", corpus.RecordBytes-len(key)) }

// writeParts writes part files, what | divides, or a single file.
func writeParts(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	parts := strings.Split(text, "|")
	for i, part := range parts {
		if err := os.WriteFile(filepath.Join(dir, "part-"+string(rune('0'+i))), []byte(part), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if len(parts) == 1 {
		return filepath.Join(dir, "part-0")
	}
	return dir
}

// A file of the user's is what all jobs work on, also one without a newline at its end
// and with bytes that only some programs would take for white space.
func TestGivenInput(t *testing.T) {
	name := filepath.Join(t.TempDir(), "given [1].txt")
	text := strings.Repeat("a rose is a rose\n\n \t is\u00a0a\u0085rose\r\nanticonstitutionnellement antidisestablishmentarianism antidisestablishmentarianist\n", 500) + "the last one has no end: a rose"
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	w := testWorkspace(t, testSize, name)
	for _, kase := range []string{"wordcount", "grep", "grep-lines"} {
		if _, err := mapreduceSuite.measure(t.Context(), kase, []string{"limit", "local", "sequential"}, plan{rounds: 1, work: w}); err != nil {
			t.Errorf("%s: %v", kase, err)
		}
	}
	if got := w.outputs[wordcount.name].Lines; got != 13 {
		t.Errorf("%d different words, want 13", got)
	}
	if _, err := mapreduceSuite.measure(t.Context(), "terasort", []string{"limit"}, plan{rounds: 1, work: w}); err == nil || !strings.Contains(err.Error(), "records of 100") {
		t.Errorf("terasort of a text: %v", err)
	}
}

func TestRunPrintsJobs(t *testing.T) {
	var out, errs bytes.Buffer
	if err := run(t.Context(), strings.Fields("-suite mapreduce -json -cases grep-lines -subjects local -size 1"), &out, &errs); err != nil {
		t.Fatal(err)
	}
	var metrics []string
	for line := range strings.Lines(out.String()) {
		var m struct {
			Suite, Name, Metric string
			Value               float64
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Suite != "mapreduce" || m.Name != "grep-lines/local" {
			t.Errorf("%v: %s", err, line)
		}
		metrics = append(metrics, m.Metric)
	}
	if want := []string{"MB/s", "cpu_s", "peak_MiB", "shuffle_MiB"}; !slices.Equal(metrics, want) {
		t.Errorf("metrics %v, want %v", metrics, want)
	}
}

// The same seed gives the same inputs, another gives others.
func TestInputs(t *testing.T) {
	for kind, make := range map[string]func(string, int64, uint64) error{"text": corpus.Text, "records": corpus.Records} {
		var got [3]string
		for i, seed := range []uint64{1, 1, 2} {
			name := filepath.Join(t.TempDir(), "input")
			if err := make(name, testSize, seed); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got[i] = string(content)
		}
		if got[0] != got[1] || got[0] == got[2] {
			t.Errorf("%s: one seed gives the same: %t, two seeds do: %t", kind, got[0] == got[1], got[0] == got[2])
		}
		lines := strings.Count(got[0], "\n")
		switch {
		case len(got[0]) < testSize || len(got[0]) > testSize+1000 || !strings.HasSuffix(got[0], "\n"):
			t.Errorf("%s: %d bytes for %d", kind, len(got[0]), testSize)
		case kind == "records" && lines*corpus.RecordBytes != len(got[0]):
			t.Errorf("%d lines in %d bytes of records", lines, len(got[0]))
		}
	}
}
