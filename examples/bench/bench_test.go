package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/internal/testutil"
)

var loadMetrics = []string{"calls/s", "MB/s", "p50_us", "p99_us", "p999_us", "allocs"}

// TestMain also is what the processes run that the subjects of mapreduce start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == taskArg {
		main()
	}
	testutil.RareGC()
	os.Exit(m.Run())
}

// measured measures subjects for a moment, and for longer where the machine was too busy for
// any of them to get something done in that.
func measured(t *testing.T, s *suite, kase string, subjects []string, p plan) []result {
	t.Helper()
	for ; ; p.turn *= 4 {
		results, err := s.measure(t.Context(), kase, subjects, p)
		if err != nil {
			t.Fatal(err)
		}
		none := func(r result) bool { return len(r.metrics) > 0 && r.metrics[0].value <= 0 }
		if p.turn > 10*time.Second || !slices.ContainsFunc(results, none) {
			return results
		}
	}
}

// TestEveryCall runs each subject on each case of rpc for a moment: it sets up, answers
// every caller at least once, each with its own response (which the callers
// check), and stops. How much fits into the moment is not for a test to say.
func TestEveryCall(t *testing.T) {
	for _, kase := range rpcSuite.cases {
		t.Run(kase, func(t *testing.T) {
			p := plan{rounds: 1, turn: 20 * time.Millisecond, warmup: 5 * time.Millisecond}
			results, err := rpcSuite.measure(t.Context(), kase, rpcSuite.subjects, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if got := metricNames(r); !slices.Equal(got, loadMetrics) {
					t.Errorf("%s has metrics %v, want %v", r.subject, got, loadMetrics)
				}
			}
			if len(results) < 2 {
				t.Errorf("only %d subjects", len(results))
			}
		})
	}
}

func metricNames(r result) []string {
	var names []string
	for _, m := range r.metrics {
		names = append(names, m.name)
	}
	return names
}

func TestRunPrintsOneObjectALine(t *testing.T) {
	var out, errs bytes.Buffer
	args := strings.Fields("-suite rpc -json -cases echo64/conc1 -subjects limit -duration 20ms -rounds 2")
	if err := run(t.Context(), args, &out, &errs); err != nil {
		t.Fatal(err)
	}
	var metrics []string
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if m["suite"] != "rpc" || m["name"] != "echo64/conc1/limit" || len(m) != 4 {
			t.Errorf("line %q", line)
		}
		if _, ok := m["value"].(float64); !ok {
			t.Errorf("line %q has no value", line)
		}
		metrics = append(metrics, m["metric"].(string))
	}
	if !slices.Equal(metrics, loadMetrics) {
		t.Errorf("metrics %v, want %v", metrics, loadMetrics)
	}
}

func TestRunPrintsATable(t *testing.T) {
	var out, errs bytes.Buffer
	args := strings.Fields("-cases echo64/conc1 -duration 20ms -rounds 1")
	if err := run(t.Context(), args, &out, &errs); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^ +echo64/conc1 +calls/s +MB/s +p50_us +p99_us +p999_us +allocs +of limit$`,
		`(?m)^ +netrpc( +[0-9'.]+){7}$`,
		`(?m)^ +limit( +[0-9'.]+){6} +1\.00$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no line matches %s in\n%s", want, out.String())
		}
	}
}

func TestParse(t *testing.T) {
	o, err := parse(strings.Fields("-cases echo64,stream -subjects limit -duration 1s -rounds 4"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"echo64/conc1", "echo64/conc64", "echo64/conc512", "stream"}; !slices.Equal(o.cases, want) {
		t.Errorf("cases %v, want %v", o.cases, want)
	}
	if o.plan.turn != 250*time.Millisecond {
		t.Errorf("turns of %v, want 250ms", o.plan.turn)
	}
	if o, err = parse(strings.Fields("-suite mapreduce -cases terasort -subjects limit,sort"), nil); err != nil {
		t.Fatal(err)
	}
	if o.plan.rounds != 1 || o.size != 512<<20 || !slices.Equal(o.cases, []string{"terasort", "terasort-spill"}) {
		t.Errorf("defaults of mapreduce: %+v", o)
	}
	if o, err = parse(strings.Fields("-suite vmft -cases clone"), nil); err != nil {
		t.Fatal(err)
	}
	if o.plan.rounds != 5 || o.size != 1<<30 {
		t.Errorf("defaults of vmft: %+v", o)
	}
}

func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-suite disk":          `"disk"`,
		"-cases echo65":        `"echo65"`,
		"-cases echo64,,":      `"echo64,,"`,
		"-subjects limits":     `"limits"`,
		"-duration 0s":         "positive",
		"-duration fast":       "fast",
		"-rounds -1":           "positive",
		"-size 0":              "-size 0",
		"-speed":               "-speed",
		"rpc":                  `"rpc"`,
		"-json -suite rpc all": `"all"`,
	} {
		_, err := parse(strings.Fields(args), nil)
		if local.Status("bench", "", err, io.Discard) != local.ExitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %s", args, err, want)
		}
	}
	var usage bytes.Buffer
	if _, err := parse([]string{"-help"}, &usage); !errors.Is(err, flag.ErrHelp) || !strings.Contains(usage.String(), "-subjects") {
		t.Errorf("-help: error %v and %q", err, usage.String())
	}
}

// TestHistogram compares percentiles with those of the sorted durations.
func TestHistogram(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 0))
	var a, b histogram
	var all []time.Duration
	for i := range 100_000 {
		// From nanoseconds to seconds, each order of magnitude as often.
		d := time.Duration(1) << r.UintN(31)
		d += time.Duration(r.Int64N(int64(d)))
		all = append(all, d)
		if i%2 == 0 {
			a.add(d)
		} else {
			b.add(d)
		}
	}
	a.merge(&b)
	slices.Sort(all)
	for _, p := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 0.99999} {
		got, want := a.percentile(p), all[int(p*float64(len(all)))]
		if diff := float64(got-want) / float64(want); diff < -0.016 || diff > 0.016 {
			t.Errorf("seed %d: percentile %v is %v, want %v", seed, p, got, want)
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	for b := range buckets {
		if got := bucket(floor(b)); got != b && floor(b) <= longest {
			t.Fatalf("the floor of bucket %d, %v, is in bucket %d", b, floor(b), got)
		}
		if b > 0 && floor(b) <= floor(b-1) {
			t.Fatalf("bucket %d begins at %v, the one before at %v", b, floor(b), floor(b-1))
		}
	}
	var h histogram
	h.add(-1)
	h.add(24 * time.Hour)
	if h.percentile(0) != 0 || h.percentile(0.5) < longest-time.Second {
		t.Errorf("extremes count as %v and %v", h.percentile(0), h.percentile(0.5))
	}
	if got := new(histogram).percentile(0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestMedians(t *testing.T) {
	turn := func(a, b float64) []metric { return []metric{{"a", a}, {"b", b}} }
	got := medians([][]metric{turn(3, 10), turn(1, 30), turn(2, 20)})
	if want := turn(2, 20); !slices.Equal(got, want) {
		t.Errorf("medians of three %v, want %v", got, want)
	}
	got = medians([][]metric{turn(3, 10), turn(1, 30)})
	if want := turn(2, 20); !slices.Equal(got, want) {
		t.Errorf("medians of two %v, want %v", got, want)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 9.876: "9.88", 45.67: "45.7", 123.4: "123", 1234567: "1'234'567", 99999: "99'999"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %q, want %q", v, got, want)
		}
	}
}
