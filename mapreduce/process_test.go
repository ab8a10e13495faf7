package mapreduce

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// This file runs real processes over TCP, which are killed: this test binary,
// started again with the role to play in its environment.

const (
	roleEnv = "MAPREDUCE_TEST_ROLE"
	addrEnv = "MAPREDUCE_TEST_ADDR"
	dirEnv  = "MAPREDUCE_TEST_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		go func() { // to end with the test, however that ends
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
		if err := play(role, os.Getenv(addrEnv), os.Getenv(dirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testutil.RareGC()
	os.Exit(m.Run())
}

// processJob is a job that takes a while and writes all kinds of files.
func processJob() Definition {
	slow := &slowCount{pause: 10 * time.Millisecond}
	job := talkative(slow.pause)
	job.Name = "slow"
	job.Reduce = func(t *Task, word string, at iter.Seq[string], emit func(string)) error {
		if err := slow.sleep(t); err != nil {
			return err
		}
		return talkative(0).Reduce(t, word, at, emit)
	}
	return job
}

// fatalJob ends the process of a worker at one line.
func fatalJob() Definition {
	return picky(func(_ *Task, what string) error {
		if os.Getenv(roleEnv) != "" && what != "line" {
			os.Exit(7)
		}
		return fmt.Errorf("cannot take %s", what)
	})
}

// anyProgram is a job that runs what its arguments say.
var anyProgram = Command{Name: "any", FromArgs: true}

// roleJobs returns the jobs that the processes know.
var roleJobs = func(string) []Definition { return []Definition{processJob(), fatalJob(), anyProgram} }

// processTimeout is after what silence a worker counts as dead.
const processTimeout = time.Second

// play is what a process does.
func play(role, addr, dir string) error {
	jobs, err := NewRegistry(roleJobs(dir)...)
	if err != nil {
		return err
	}
	ctx := context.Background()
	files := Dir(dir)
	if role == "coordinator" {
		c, err := StartCoordinator(ctx, CoordinatorConfig{
			Transport: &transport.TCP{}, Addr: addr, Jobs: jobs, FileSystem: files,
			Dir: filepath.Join(dir, "journal"), WorkerTimeout: processTimeout,
		})
		if err != nil {
			return err
		}
		return c.Wait(ctx)
	}
	w, err := StartWorker(ctx, WorkerConfig{
		Transport: &transport.TCP{}, Addr: "127.0.0.1:0", Coordinators: []string{addr}, Jobs: jobs, FileSystem: files,
		Slots: 1, Dir: filepath.Join(dir, role),
	})
	if err != nil {
		return err
	}
	return w.Wait(ctx)
}

// processes are the processes of a cluster.
type processes struct {
	t    *testing.T
	addr string
	dir  string
	up   map[string]*exec.Cmd
}

func newProcesses(t *testing.T, roles ...string) *processes {
	t.Helper()
	p := &processes{t: t, addr: testutil.FreeAddrs(t, 1)[0], dir: t.TempDir(), up: make(map[string]*exec.Cmd)}
	t.Cleanup(func() {
		for role := range p.up {
			p.kill(role)
		}
	})
	for _, role := range roles {
		p.start(role)
	}
	return p
}

func (p *processes) start(role string) {
	p.t.Helper()
	cmd := p.command(role)
	if _, err := cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.up[role] = cmd
}

// command is what starts a process.
func (p *processes) command(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, addrEnv+"="+p.addr, dirEnv+"="+p.dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// kill is kill -9.
func (p *processes) kill(role string) {
	_ = p.up[role].Process.Kill()
	_ = p.up[role].Wait()
	delete(p.up, role)
}

// TestProcessesAreKilled kills workers and the coordinator with kill -9 while a job
// runs, and starts them again. The output is that of a sequential run.
func TestProcessesAreKilled(t *testing.T) {
	p := newProcesses(t, "coordinator", "worker0", "worker1", "worker2")
	input := testInput(150)
	files := Dir(p.dir)
	write(t, files, "input", string(input["input"].Data))
	spec := testSpec(input, 15, 3)
	want := sequentialTree(t, processJob(), spec, ReadOnly(input))

	client, err := NewClient(ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{p.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	id, err := client.Submit(t.Context(), "slow", spec)
	if err != nil {
		t.Fatal(err)
	}
	reach := func(maps, reduces int) {
		t.Helper()
		testutil.Eventually(t, time.Minute, func() bool {
			s, err := client.Status(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return s.State.Ended() || s.Maps.Completed >= maps && s.Reduces.Completed+s.Reduces.Running >= reduces
		}, fmt.Sprintf("%d maps and %d reduces", maps, reduces))
	}
	reach(3, 0)
	p.kill("worker1")
	reach(6, 0)
	p.kill("coordinator")
	p.start("coordinator")
	p.start("worker1")
	reach(10, 0)
	p.kill("worker0")
	reach(15, 1)
	p.kill("worker2") // with the output of maps that reduces still need
	p.kill("coordinator")
	p.start("worker2")
	p.start("coordinator")

	if _, err := client.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	checkTree(t, "killed", files, want)
}

// TestRecordEndsProcesses has records whose map ends its process, which is started
// again each time. They are found out and skipped.
func TestRecordEndsProcesses(t *testing.T) {
	p := newProcesses(t, "coordinator")
	input := testInput(20)
	files := Dir(p.dir)
	write(t, files, "input", string(input["input"].Data))
	spec := skipSpec()
	want := sequentialOutput(t, fatalJob(), spec, ReadOnly(input))

	stop, deaths := make(chan struct{}), make(chan int)
	for i := range 2 {
		go func() {
			for n := 0; ; n++ {
				if ended := p.runOnce(fmt.Sprint("worker", i), stop); !ended {
					deaths <- n
					return
				}
			}
		}()
	}
	client, err := NewClient(ClientConfig{Transport: &transport.TCP{}, Coordinators: []string{p.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	id, err := client.Submit(t.Context(), "places", spec)
	if err != nil {
		t.Fatal(err)
	}
	result, err := client.Wait(t.Context(), id)
	close(stop)
	if n := <-deaths + <-deaths; n < 4 {
		t.Errorf("only %d processes have ended", n)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Skipped) != 3 {
		t.Errorf("skipped %v", result.Skipped)
	}
	for partition, name := range result.Files {
		if got, err := read(t, files, name); err != nil || got != want[partition] {
			t.Errorf("%s has %.200q, %v, want %.200q", name, got, err, want[partition])
		}
	}
}

// runOnce runs a process until it ends, or until it is killed because stop is
// closed. It reports whether it has ended by itself.
func (p *processes) runOnce(role string, stop <-chan struct{}) bool {
	cmd := p.command(role)
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Error(err)
		return false
	}
	defer stdin.Close()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ends is no matter
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-stop:
		_ = cmd.Process.Kill()
		<-ended
		return false
	}
}
