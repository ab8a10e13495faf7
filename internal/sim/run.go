package sim

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "run this seed only, and trace it")
	seedsFlag = flag.Int("sim.seeds", 0, "run this many seeds, instead of what each test says")
	traceFlag = flag.Uint64("sim.trace", 0, "with -sim.seed: trace from this step on")
	stepFlag  = flag.Uint64("sim.step", 0, "with -sim.seed: stop after this step")
)

// tail is how many steps before a failure are shown.
const tail = 40

// Run runs the seeds 1 to seeds, on all processors. For each, build adds nodes
// and checks to an empty world; worlds are built concurrently and share nothing.
// Run fails the test at the first failure that it finds, with the last steps of
// its trace and the command that repeats it. It returns what happened in all
// seeds together.
//
// With -sim.seed it runs this seed only and prints its trace, and skips what the
// test asserts of many seeds.
func Run[M any](t testing.TB, seeds int, cfg Config, build func(w *World[M])) Stats {
	t.Helper()
	if *seedFlag != 0 {
		runOne(t, *seedFlag, cfg, build)
		t.SkipNow()
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	failure, stats := Search(seeds, cfg, build)
	if failure != nil {
		t.Fatalf("%v\n%s\nrepeat it with: %s",
			failure, story(failure, cfg, build), command(t.Name(), failure.Seed, back(failure.Step)))
	}
	return stats
}

func back(step uint64) uint64 { return max(step, tail) - tail }

// command is what runs a seed of a test again, from the root of the module.
func command(test string, seed, from uint64) string {
	var names []string // of subtests each by itself, as -run has it
	for name := range strings.SplitSeq(test, "/") {
		names = append(names, "^"+regexp.QuoteMeta(name)+"$")
	}
	return fmt.Sprintf("go test %s -v -run '%s' -sim.seed=%d -sim.trace=%d", here(), strings.Join(names, "/"), seed, from)
}

// here is the package under test, which go test runs in its directory, as the go command
// names it at the root of the module.
func here() string {
	dir, err := os.Getwd()
	for root := dir; err == nil; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			rel, err := filepath.Rel(root, dir)
			if err != nil {
				break
			}
			return strings.TrimSuffix("./"+filepath.ToSlash(rel), "/.")
		}
		if root == filepath.Dir(root) {
			break
		}
	}
	return "." // a binary that was taken elsewhere
}

// runOne traces one seed.
func runOne[M any](t testing.TB, seed uint64, cfg Config, build func(w *World[M])) {
	t.Helper()
	w, err := New[M](seed, cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Trace(os.Stdout, *traceFlag)
	fmt.Printf("seed %d: %+v\n", seed, w.profile)
	if failure := attempt(w, build, *stepFlag); failure != nil {
		t.Fatal(failure)
	}
	fmt.Printf("seed %d: %d steps, no failure\n", seed, w.Steps())
}

// story runs the seed of a failure again and returns the end of its trace.
func story[M any](f *Failure, cfg Config, build func(w *World[M])) string {
	w, err := New[M](f.Seed, cfg)
	if err != nil {
		return err.Error()
	}
	var out bytes.Buffer
	w.Trace(&out, back(f.Step))
	again := attempt(w, build, 0)
	if again == nil || again.Step != f.Step || again.Err.Error() != f.Err.Error() {
		fmt.Fprintf(&out, "the second run ended otherwise, something in it is not deterministic: %v\n", again)
	}
	return out.String()
}

// attempt builds and runs a world. A panic is a failure like any other.
func attempt[M any](w *World[M], build func(w *World[M]), steps uint64) (failure *Failure) {
	defer func() {
		if p := recover(); p != nil {
			w.failf("panic: %v\n%s", p, debug.Stack())
			failure = w.failure
		}
	}()
	build(w)
	for w.Step() {
		if steps > 0 && w.Steps() >= steps {
			break
		}
	}
	return w.failure
}

// repeatEvery is how often Search runs a seed twice, to see that a seed
// determines a run.
const repeatEvery = 64

// Search is Run without a test: it returns the failure, if one was found. Of
// those it finds it returns the one with the least seed, but it does not look at
// further seeds once it has one.
func Search[M any](seeds int, cfg Config, build func(w *World[M])) (*Failure, Stats) {
	if err := cfg.validate(); err != nil {
		return &Failure{Err: err}, Stats{}
	}
	var (
		next  atomic.Uint64
		stop  atomic.Bool
		mu    sync.Mutex // guards first and total
		first *Failure
		total Stats
		wg    sync.WaitGroup
	)
	for range min(runtime.GOMAXPROCS(0), seeds) {
		wg.Go(func() {
			w := &World[M]{cfg: cfg.withDefaults()}
			var sum Stats
			var found *Failure
			for !stop.Load() {
				seed := next.Add(1)
				if seed > uint64(seeds) {
					break
				}
				w.reset(seed)
				found = attempt(w, build, 0)
				sum.Add(w.stats)
				if found == nil && seed%repeatEvery == 1 {
					found = repeated(w, build)
				}
				if found != nil {
					stop.Store(true)
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total.Add(sum)
			if found != nil && (first == nil || found.Seed < first.Seed) {
				first = found
			}
		})
	}
	wg.Wait()
	return first, total
}

// repeated runs the world's seed again and fails if the run is another one.
func repeated[M any](w *World[M], build func(w *World[M])) *Failure {
	steps, digest := w.stats.Steps, w.digest
	w.reset(w.seed)
	if f := attempt(w, build, 0); f != nil {
		return f
	}
	if w.stats.Steps == steps && w.digest == digest {
		return nil
	}
	return &Failure{w.seed, w.stats.Steps, time.Duration(w.now),
		fmt.Errorf("two runs of one seed differ: %d steps and digest %x, then %d and %x", steps, digest, w.stats.Steps, w.digest)}
}
