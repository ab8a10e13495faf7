package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// programEnv makes the test binary the program itself.
const programEnv = "WORDCOUNT_TEST_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		if name := os.Getenv(holdEnv); name != "" {
			jobs.WordCount.Map = holding(jobs.WordCount.Map, name)
		}
		main()
	}
	os.Exit(m.Run())
}

// holdEnv names a file for which the first map waits: the job does not end before.
const holdEnv = "WORDCOUNT_TEST_WAITS_FOR"

type mapFunc = func(*mapreduce.Task, mapreduce.Record, func(string, int)) error

func holding(count mapFunc, name string) mapFunc {
	there := func() bool {
		_, err := os.Stat(name)
		return err == nil
	}
	return func(t *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
		for t.Index() == 0 && line.Offset == 0 && !there() {
			t.Progress()
			select {
			case <-time.After(10 * time.Millisecond):
			case <-t.Context().Done():
				return context.Cause(t.Context())
			}
		}
		return count(t, line, emit)
	}
}

// writeWords writes files for a job of several maps.
func writeWords(t *testing.T, dir string, files int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		text := strings.Repeat(fmt.Sprintf("so much depends upon file %c%c\n", 'a'+i%26, 'a'+i/26), 3000)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// The masters and the coordinators that lead are crashed while the job runs, and the output
// is that of a sequential run.
func TestChaos(t *testing.T) {
	dir := t.TempDir()
	input, chaos, oracle := filepath.Join(dir, "in"), filepath.Join(dir, "chaos"), filepath.Join(dir, "oracle")
	writeWords(t, input, 40)
	status, stdout, stderr := invoke(t, "-chaos", "-input", input, "-output", chaos, "-split", "1", "-reduce", "5")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, group := range []string{"master", "coordinator"} {
		_, rest, _ := strings.Cut(stdout, "fail-overs of the "+group+"; another led after")
		pauses, _, _ := strings.Cut(rest, "\n")
		crashes := strings.Count(stdout, group+"-0"+strings.Repeat(" ", 15-len(group+"-0"))+"crashes") + strings.Count(stdout, group+"-1"+strings.Repeat(" ", 15-len(group+"-0"))+"crashes")
		if n := strings.Count(pauses, " ms"); n != 2 || crashes != 2 {
			t.Errorf("%s: %d crashes, %d fail-overs, want 2\n%s", group, crashes, n, stdout)
		}
	}
	if n := strings.Count(stdout, "its claim was won"); n < 2+4 {
		t.Errorf("claims were won %d times, want 6 or more:\n%s", n, stdout)
	}
	if status, _, stderr := invoke(t, "-sequential", "-input", input, "-output", oracle, "-reduce", "5"); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if got, want := parts(t, chaos), parts(t, oracle); len(got) != 5 || !slices.Equal(got, want) {
		t.Errorf("under chaos the output is %.300q, the sequential run's is %.300q", got, want)
	}
}

// A process is the program, in one of its own.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{}
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	p.Env = append(os.Environ(), programEnv+"=1")
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
		return startProcess(t, "-coordinator", at[i], "-node", at[2+i], "-standby", at[2]+","+at[3], "-lock", lock, "-input", input, "-output", output, "-split", "1")
	}
	decided := func(n int) bool {
		records, err := filepath.Glob(filepath.Join(lock, "coordinator", "epoch-*"))
		return err == nil && len(records) >= n
	}
	first := coordinate(0)
	testutil.Eventually(t, time.Minute, func() bool { return decided(1) }, "the first leads")
	second := coordinate(1)
	testutil.Eventually(t, time.Minute, func() bool { return decided(2) }, "the second stands by")
	var workers []*process
	for range 2 {
		workers = append(workers, startProcess(t, "-worker", at[0]+","+at[1]))
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
