package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// This file runs the program in processes of its own, which are killed.

// programEnv makes the test binary the program itself.
const programEnv = "WORDCOUNT_TEST_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		if name := os.Getenv(holdEnv); name != "" {
			jobs.WordCount.Map = holding(jobs.WordCount.Map, name)
		}
		die, _ := strconv.ParseInt(os.Getenv(dieEnv), 10, 64)
		local.Files = &fate{FileSystem: local.Files, die: die, waitFor: os.Getenv(commitEnv)}
		main()
	}
	os.Exit(m.Run())
}

// holdEnv names a file for which the first map waits: the job does not end before.
const holdEnv = "WORDCOUNT_TEST_WAITS_FOR"

type mapFunc = func(*mapreduce.Task, mapreduce.Record, func(string, int)) error

func holding(count mapFunc, name string) mapFunc {
	return func(t *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
		if t.Index() == 0 && line.Offset == 0 {
			if err := awaitFile(t.Context(), name, t.Progress); err != nil {
				return err
			}
		}
		return count(t, line, emit)
	}
}

// awaitFile waits until there is a file.
func awaitFile(ctx context.Context, name string, progress func()) error {
	if !testutil.Until(ctx, func() bool { progress(); return exists(name) }) {
		return context.Cause(ctx)
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

const (
	// dieEnv says at which file that it commits a coordinator dies.
	dieEnv = "WORDCOUNT_TEST_DIES_AT_COMMIT"
	// commitEnv names a file for which each commit waits.
	commitEnv = "WORDCOUNT_TEST_COMMITS_WAIT_FOR"
)

// A fate is what happens to a coordinator that commits files.
type fate struct {
	mapreduce.FileSystem
	die     int64  // it is killed at this commit; 0: at none
	waitFor string // for this file each waits; "": for none
	commits atomic.Int64
}

// Commit implements mapreduce.FileSystem.
func (f *fate) Commit(ctx context.Context, temporary, final string) error {
	if n := f.commits.Add(1); f.die > 0 && n >= f.die {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			return err
		}
		<-ctx.Done() // it takes a moment
		return context.Cause(ctx)
	}
	if f.waitFor != "" {
		if err := awaitFile(ctx, f.waitFor, func() {}); err != nil {
			return err
		}
	}
	return f.FileSystem.Commit(ctx, temporary, final)
}

// A process is the program, in one of its own.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{}
}

// startProcess starts the program with something in its environment.
func startProcess(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	p.Env = append(append(os.Environ(), programEnv+"=1"), env...)
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // the status tells
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it may have ended
		<-p.ended
	})
	return p
}

// end waits for the end of a process.
func (p *process) end(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		t.Fatalf("%q does not end", p.Args[1:])
	}
}

// result waits for the end of a process, and returns what became of it.
func (p *process) result(t *testing.T) (status int, stdout, stderr string) {
	t.Helper()
	p.end(t, time.Minute)
	return p.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()
}

// A coordinator is killed when it has given half of the files their names. Started again
// with the same arguments it goes on, and once more, it prints the result again.
func TestCoordinatorKilledInCommit(t *testing.T) {
	dir, addr := t.TempDir(), testutil.FreeAddrs(t, 1)[0]
	input, output, oracle := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "oracle")
	writeWords(t, input, 4)
	args := []string{"-coordinator", addr, "-journal", filepath.Join(dir, "journal"), "-input", input, "-output", output, "-reduce", "24"}
	worker := startProcess(t, nil, "-worker", addr)
	const at = 16 // 8 are committed at a time
	startProcess(t, []string{dieEnv + "=" + strconv.Itoa(at)}, args...).end(t, time.Minute)
	if names, err := filepath.Glob(filepath.Join(output, "part-*")); err != nil || len(names) == 0 || len(names) >= at {
		t.Fatalf("these of 24 files have their names when the coordinator is killed: %q, %v", names, err)
	}
	status, first, stderr := startProcess(t, nil, args...).result(t)
	if status != 0 || !strings.Contains(stderr, "job 1, which is in the journal") { // it may have ended before it was asked for
		t.Fatalf("started again: status %d, %s%s", status, first, stderr)
	}
	if status, stdout, stderr := worker.result(t); status != 0 {
		t.Errorf("the worker: status %d, %s%s", status, stdout, stderr)
	}
	if status, _, stderr := invoke(t, "-sequential", "-input", input, "-output", oracle, "-reduce", "24"); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if got, want := parts(t, output), parts(t, oracle); len(got) != 24 || !slices.Equal(got, want) {
		t.Errorf("the output is %.300q, the sequential run's is %.300q", got, want)
	}
	if status, again, stderr := startProcess(t, nil, args...).result(t); status != 0 || again != first || !strings.Contains(stderr, "has ended before") {
		t.Errorf("started once more: status %d, %s%s, want\n%s", status, again, stderr, first)
	}
	if err := os.WriteFile(filepath.Join(input, "0"), []byte("one more\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(input, "1")); err != nil {
		t.Fatal(err)
	}
	if status, again, stderr := startProcess(t, nil, args...).result(t); status != 0 || again != first {
		t.Errorf("with input that has changed: status %d, %s%s, want\n%s", status, again, stderr, first)
	}
	for flag, value := range map[string]string{"-input": filepath.Join(input, "*0*"), "-reduce": "23"} {
		other := slices.Clone(args)
		other[slices.Index(args, flag)+1] = value
		status, stdout, stderr := startProcess(t, nil, other...).result(t)
		if status != local.ExitFailed || !strings.Contains(stderr, "from "+filepath.Join(input, "**")+" to 24 partitions; these arguments say ") || !strings.Contains(stderr, value) {
			t.Errorf("with %s %s: status %d, %s%s", flag, value, status, stdout, stderr)
		}
	}
	args[3] = filepath.Join(dir, "another")
	if status, stdout, stderr := startProcess(t, nil, args...).result(t); status != local.ExitFailed || !strings.Contains(stderr, "is not empty") {
		t.Errorf("with another journal: status %d, %s%s", status, stdout, stderr)
	}
}

// A job fails while it commits: the next coordinator says whose the output is that is there.
func TestSaysWhichJobFailedInCommit(t *testing.T) {
	dir, addr := t.TempDir(), testutil.FreeAddrs(t, 1)[0]
	input, output, spoiled := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "spoiled")
	writeWords(t, input, 1)
	args := []string{"-coordinator", addr, "-journal", filepath.Join(dir, "journal"), "-input", input, "-output", output}
	first := startProcess(t, []string{commitEnv + "=" + spoiled}, args...)
	startProcess(t, nil, "-worker", addr)
	awaitCommit(t, addr)
	if err := os.MkdirAll(filepath.Join(output, "part-00002", "in the way"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spoiled, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := first.result(t); status != local.ExitFailed {
		t.Fatalf("status %d, %s%s", status, stdout, stderr)
	}
	const want = "is not empty; choose another directory, or remove what is in it; job 1 in the journal, which wrote there, has ended as failed\n"
	if status, stdout, stderr := startProcess(t, nil, args...).result(t); status != local.ExitFailed || !strings.HasSuffix(stderr, want) {
		t.Errorf("started again: status %d, %s%s, want %q", status, stdout, stderr, want)
	}
}

// awaitCommit waits until the first job of a coordinator commits.
func awaitCommit(t *testing.T, addr string) {
	t.Helper()
	client, err := mapreduce.NewClient(mapreduce.ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	testutil.Eventually(t, time.Minute, func() bool {
		s, err := client.Status(t.Context(), 1)
		return err == nil && s.State == mapreduce.JobCommitting
	}, "the job commits")
}

// A worker is killed when its work is done and the job commits: it is never told that the job
// has ended. What comes out is printed when nobody waits for that any more.
func TestWorkerKilledInCommit(t *testing.T) {
	dir, addr := t.TempDir(), testutil.FreeAddrs(t, 1)[0]
	input, killed := filepath.Join(dir, "in"), filepath.Join(dir, "killed")
	writeWords(t, input, 4)
	coordinator := startProcess(t, []string{commitEnv + "=" + killed}, "-coordinator", addr, "-timeout", "1m", "-input", input)
	worker := startProcess(t, nil, "-worker", addr)
	awaitCommit(t, addr)
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(killed, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := startProcess(t, nil, "-worker", addr).result(t); status != 0 { // it is told
		t.Fatalf("another worker: status %d, %s%s", status, stdout, stderr)
	}
	if err := coordinator.Process.Signal(os.Interrupt); err != nil {
		t.Skip(err) // as on Windows
	}
	status, stdout, stderr := coordinator.result(t)
	if status != 0 || !strings.Contains(stdout, "72000 words, 9 different ones") || !strings.Contains(stderr, "workers were not told") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
}

// epochs returns how often it has been decided who leads.
func epochs(lock string) int {
	records, _ := filepath.Glob(filepath.Join(lock, "coordinator", "epoch-*")) // it is no bad pattern
	return len(records)
}

// The coordinator that leads is killed while the job runs: the one that stands by goes on,
// and prints what comes out.
func TestCoordinatorStandsBy(t *testing.T) {
	dir := t.TempDir()
	killed := filepath.Join(dir, "killed")
	t.Setenv(holdEnv, killed)
	input, output, oracle, lock := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "oracle"), filepath.Join(dir, "lock")
	writeWords(t, input, 60)
	if err := os.Mkdir(lock, 0o777); err != nil {
		t.Fatal(err)
	}
	at := testutil.FreeAddrs(t, 4)
	coordinate := func(i int) *process {
		return startProcess(t, nil, "-coordinator", at[i], "-node", at[2+i], "-standby", at[2]+","+at[3], "-lock", lock, "-input", input, "-output", output, "-split", "1")
	}
	decided := func(n int) bool { return epochs(lock) >= n }
	first := coordinate(0)
	testutil.Eventually(t, time.Minute, func() bool { return decided(1) }, "the first leads")
	second := coordinate(1)
	testutil.Eventually(t, time.Minute, func() bool { return decided(2) }, "the second stands by")
	var workers []*process
	for range 2 {
		workers = append(workers, startProcess(t, nil, "-worker", at[0]+","+at[1]))
	}
	client, err := mapreduce.NewClient(mapreduce.ClientConfig{Transport: &transport.TCP{}, Coordinators: at[:1]})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	testutil.Eventually(t, time.Minute, func() bool {
		s, err := client.Status(t.Context(), 1)
		return err == nil && s.Maps.Completed > 0
	}, "a map has completed")
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(killed, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	second.end(t, time.Minute)
	for _, w := range workers {
		w.end(t, time.Minute)
		if code := w.ProcessState.ExitCode(); code != 0 {
			t.Errorf("a worker exited with %d: %s", code, w.stderr.String())
		}
	}
	if code := second.ProcessState.ExitCode(); code != 0 || !strings.Contains(second.stderr.String(), "leads in epoch ") || !strings.Contains(second.stdout.String(), "words, ") {
		t.Errorf("the second exited with %d: %s%s", code, second.stdout.String(), second.stderr.String())
	}
	if status, _, stderr := invoke(t, "-sequential", "-input", input, "-output", oracle); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if got, want := parts(t, output), parts(t, oracle); len(got) != 4 || !slices.Equal(got, want) {
		t.Errorf("the output is %.300q, the sequential run's is %.300q", got, want)
	}
}

// The coordinator that leads is killed in its commit, and started again while the other one
// commits: it stands by, although there is output, and both print what comes out.
func TestCoordinatorStandsByAgain(t *testing.T) {
	dir, at := t.TempDir(), testutil.FreeAddrs(t, 4)
	input, output, lock, back := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "lock"), filepath.Join(dir, "back")
	writeWords(t, input, 4)
	if err := os.Mkdir(lock, 0o777); err != nil {
		t.Fatal(err)
	}
	coordinate := func(i int, env ...string) *process {
		return startProcess(t, env, "-coordinator", at[i], "-node", at[2+i], "-standby", at[2]+","+at[3], "-lock", lock, "-input", input, "-output", output, "-reduce", "24")
	}
	first := coordinate(0, dieEnv+"=16")
	testutil.Eventually(t, time.Minute, func() bool { return epochs(lock) >= 1 }, "the first leads")
	second := coordinate(1, commitEnv+"="+back)
	testutil.Eventually(t, time.Minute, func() bool { return epochs(lock) >= 2 }, "the second stands by")
	worker := startProcess(t, nil, "-worker", at[0]+","+at[1])
	first.end(t, time.Minute)
	testutil.Eventually(t, time.Minute, func() bool { return epochs(lock) >= 3 }, "the second leads")
	first = coordinate(0)
	testutil.Eventually(t, time.Minute, func() bool { return epochs(lock) >= 4 || exited(first) }, "the first stands by")
	if err := os.WriteFile(back, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{second, first, worker} {
		status, stdout, stderr := p.result(t)
		if status != 0 || p != worker && !strings.Contains(stdout, "72000 words, 9 different ones") {
			t.Errorf("%q: status %d, %s%s", p.Args[1:], status, stdout, stderr)
		}
	}
}

func exited(p *process) bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
