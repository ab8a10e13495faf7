package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// This file sorts with a coordinator and worker processes, this test binary with a
// role to play in its environment, which are killed again and again while they work.

var (
	killSize  = flag.Uint64("kill.size", 64, "sort so many `MB` while processes are killed")
	killEvery = flag.Duration("kill.every", 250*time.Millisecond, "kill a worker after each of these `times`")
)

const (
	roleEnv = "TERASORT_TEST_ROLE"
	addrEnv = "TERASORT_TEST_ADDR"
	dirEnv  = "TERASORT_TEST_DIR"
	paceEnv = "TERASORT_TEST_PACE"

	killWorkers = 4
	kills       = 10 // of workers; the coordinator is killed once
	killSplits  = 64
	killReduces = 6
	// killPatience is after what silence a worker counts as dead.
	killPatience = 2 * time.Second
	killMemory   = 64 << 20
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	go func() { // to end with the test, however that ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	if err := play(role, os.Getenv(addrEnv), os.Getenv(dirEnv)); err != nil {
		fmt.Fprintln(os.Stderr, role, err)
		os.Exit(1)
	}
}

// paceRecords is after how many records a paced map waits.
const paceRecords = 1000

// killedFile is made when all processes have been killed that are to be.
const killedFile = "killed"

// pacedSort is jobs.TeraSort, slowed down to pace a record: however fast the machine is, the
// job lasts about as long as its processes are killed. However slow it is, the first map
// does not end before.
func pacedSort(pace time.Duration, dir string) mapreduce.Definition {
	job := jobs.TeraSort
	killed := func() bool {
		_, err := os.Stat(filepath.Join(dir, killedFile))
		return err == nil
	}
	job.Map = func(t *mapreduce.Task, r mapreduce.Record, emit func(key, rest []byte)) error {
		for wait := r.Offset/recordBytes%paceRecords == 0; wait; wait = r.Offset == 0 && !killed() {
			t.Progress()
			select {
			case <-time.After(paceRecords * pace):
			case <-t.Context().Done():
				return context.Cause(t.Context())
			}
		}
		return jobs.TeraSort.Map(t, r, emit)
	}
	return job
}

// play is what a process does.
func play(role, addr, dir string) error {
	pace, err := time.ParseDuration(os.Getenv(paceEnv))
	if err != nil {
		return err
	}
	jobs, err := mapreduce.NewRegistry(pacedSort(pace, dir))
	if err != nil {
		return err
	}
	ctx := context.Background()
	files := mapreduce.Dir(dir)
	if role == "coordinator" {
		c, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
			Transport: &transport.TCP{}, Addr: addr, Jobs: jobs, FileSystem: files,
			Dir: filepath.Join(dir, "journal"), WorkerTimeout: killPatience,
		})
		if err != nil {
			return err
		}
		return c.Wait(ctx)
	}
	w, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: &transport.TCP{}, Addr: "127.0.0.1:0", Coordinators: []string{addr}, Jobs: jobs, FileSystem: files,
		Slots: 1, Memory: killMemory, Dir: filepath.Join(dir, role),
	})
	if err != nil {
		return err
	}
	return w.Wait(ctx)
}

// processes are those of a cluster.
type processes struct {
	t   *testing.T
	env []string
	up  map[string]*exec.Cmd
}

func (p *processes) start(role string) {
	p.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), p.env...), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	_, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.up[role] = cmd
}

// kill is kill -9.
func (p *processes) kill(role string) {
	cmd := p.up[role]
	delete(p.up, role)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it says that it was killed
}

// TestSortSurvivesKills sorts while one of four workers is killed by kill -9 every now
// and then, ten times, and the coordinator once; all are started again. The validator
// accepts the result.
func TestSortSurvivesKills(t *testing.T) {
	dir, addr := t.TempDir(), testutil.FreeAddrs(t, 1)[0]
	input, err := generate(t.Context(), filepath.Join(dir, "records"), 1, *killSize*1e6/recordBytes)
	if err != nil {
		t.Fatal(err)
	}
	// All workers together take as long as the kills at least.
	pace := kills * *killEvery * killWorkers / time.Duration(input.records)
	p := &processes{t: t, up: make(map[string]*exec.Cmd), env: []string{addrEnv + "=" + addr, dirEnv + "=" + dir, paceEnv + "=" + pace.String()}}
	t.Cleanup(func() {
		for role := range p.up {
			p.kill(role)
		}
	})
	p.start("coordinator")
	for i := range killWorkers {
		p.start(fmt.Sprint("worker", i))
	}
	spec := mapreduce.Spec{Input: []string{"records"}, Output: "sorted", Reduces: killReduces, SplitBytes: int64(*killSize) * 1e6 / killSplits}
	if spec.Bounds, err = mapreduce.SampleBounds(t.Context(), jobs.TeraSort, spec, mapreduce.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	client, err := mapreduce.NewClient(mapreduce.ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	begin := time.Now()
	id, err := client.Submit(t.Context(), jobs.TeraSort.Name, spec)
	if err != nil {
		t.Fatal(err)
	}
	p.torment(client, id)
	if err := os.WriteFile(filepath.Join(dir, killedFile), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	result, err := client.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("sorted %v in %v, while %d workers and a coordinator were killed", &input, time.Since(begin).Round(time.Millisecond), kills)
	var sorted []string
	for _, name := range result.Files {
		sorted = append(sorted, filepath.Join(dir, filepath.FromSlash(name)))
	}
	s, err := summarize(t.Context(), sorted)
	if err == nil {
		err = s.sorts(&input)
	}
	if err != nil {
		t.Errorf("not a sorted version of the input: %v", err)
	}
}

// torment kills workers in turn, and the coordinator half-way, while the job runs.
func (p *processes) torment(client *mapreduce.Client, id mapreduce.JobID) {
	p.t.Helper()
	tick := time.NewTicker(*killEvery)
	defer tick.Stop()
	for n := range kills {
		<-tick.C
		s, err := client.Status(p.t.Context(), id)
		if err != nil {
			p.t.Fatal(err)
		}
		if s.State.Ended() {
			p.t.Fatalf("after %d kills: %v %s; nothing was tested", n, s, s.Failure)
		}
		if n == kills/2 {
			p.kill("coordinator")
			p.start("coordinator")
		}
		victim := fmt.Sprint("worker", n%killWorkers)
		p.kill(victim)
		p.start(victim)
	}
}
