package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/trilith-go/trilith/examples/bench/internal/corpus"
	"github.com/trilith-go/trilith/internal/probe"
	"github.com/trilith-go/trilith/mapreduce"
)

// A task is what a process does that this program starts of itself, so that its memory
// and its garbage are its own.
type task struct {
	Role  string
	Job   string
	Input string
	// Dir is a directory for this task, Output what it writes: a file, or a directory
	// in Dir.
	Dir     string
	Output  string
	Pattern string // of grep
	Profile string // a file for a CPU profile, or ""

	Generate string // what kind of input
	Size     int64  // of it

	Workers       int           // of a cluster
	Memory        int64         // that the library may use; 0 is its default
	Budget        float64       // the same as a multiple of the input's size, of which openJob makes Memory
	WorkerTimeout time.Duration // 0 is the default
	NoBackups     bool
	Slow          bool // one of the workers is slow
	Kill          bool // one of the workers is killed, after KillAfter
	KillAfter     time.Duration

	Coordinator string // that a worker works for

	Node *gfsNode  // instead of all that: the process is one of a gfs cluster
	Vmft *vmftNode // or one of a pair of vmft
	Ftvm *ftvmNode // or one with a virtual machine
}

// The roles.
const (
	roleGenerate   = "generate"
	roleLimit      = "limit"
	roleSort       = "sort"
	roleSequential = "sequential"
	roleLocal      = "local"
	roleMemory     = "memory"
	roleProcesses  = "processes"
	roleWorker     = "worker"
	roleFill       = "fill"
)

// outputName is what jobs write to in their directory.
const outputName = "output"

// A report is how a task went.
type report struct {
	Took        time.Duration
	CPU         time.Duration // of all processes, from the first to the last moment
	Peak        int64         // bytes
	Shuffled    int64
	Spilled     int64
	FirstRecord time.Duration // of hello, from the beginning to Map
	Result      time.Duration // of hello, from Reduce to the end
}

// taskArg is the first argument of a process that does a task, which is the second.
const taskArg = "task"

// cancelPatience is how long a process may take to end when it is told to.
const cancelPatience = 10 * time.Second

// spawn does the task in a process of its own.
func (t *task) spawn(ctx context.Context) (*report, error) {
	cmd, err := t.command(ctx)
	if err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", t.Role, err, bytes.TrimSpace(errs.Bytes()))
	}
	r := &report{}
	if err := json.Unmarshal(out.Bytes(), r); err != nil {
		return nil, fmt.Errorf("%s: %w in %q", t.Role, err, out.Bytes())
	}
	r.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return r, nil
}

// command returns what starts a process for the task.
func (t *task) command(ctx context.Context) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, taskArg, string(arg))
	if t.Role != roleWorker { // which has nothing to clean up
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = cancelPatience
	}
	return cmd, nil
}

// taskContext returns the context of a process that does a task. Any number of signals
// ends it in good order, as one from a terminal comes twice: who has started the process
// gets it too, and passes it on.
func taskContext() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	return ctx
}

// doTask is main of a process that does a task.
func doTask(ctx context.Context, arg string, stdout io.Writer) error {
	var t task
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return fmt.Errorf("task %q: %w", arg, err)
	}
	if t.Node != nil {
		return t.Node.serve(ctx, os.Stdin, stdout)
	}
	if t.Vmft != nil {
		return t.Vmft.serve(ctx, os.Stdin, stdout)
	}
	if t.Ftvm != nil {
		return t.Ftvm.serve(ctx, os.Stdin, stdout)
	}
	if t.Profile != "" && t.Role != roleWorker {
		stop, err := startProfile(t.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	r, err := t.do(ctx)
	if err != nil {
		return err
	}
	if r.Peak == 0 {
		r.Peak = peak("self")
	}
	return json.NewEncoder(stdout).Encode(r)
}

func (t *task) do(ctx context.Context) (*report, error) {
	switch t.Role {
	case roleGenerate:
		return &report{}, t.generate()
	case roleLimit:
		begin := time.Now()
		err := t.kind().limit(t.Input, t.Output, t.Pattern)
		return &report{Took: time.Since(begin)}, err
	case roleSort:
		return t.sort(ctx)
	case roleSequential:
		return t.run(ctx, mapreduce.RunSequential)
	case roleLocal:
		return t.run(ctx, mapreduce.Run)
	case roleMemory:
		return t.runInMemory(ctx)
	case roleProcesses:
		return t.runProcesses(ctx)
	case roleWorker:
		return &report{}, t.work(ctx)
	case roleFill:
		return &report{}, probe.FillMaster(ctx, t.Output, int(t.Size), coreName)
	}
	return nil, fmt.Errorf("no such role: %q", t.Role)
}

func (t *task) generate() error {
	switch t.Generate {
	case inputText:
		return corpus.Text(t.Output, t.Size, inputSeed)
	case inputRecords:
		return corpus.Records(t.Output, t.Size, inputSeed)
	}
	return os.WriteFile(t.Output, []byte("hello\n"), 0o666)
}

// sort does the job with the sort program.
func (t *task) sort(ctx context.Context) (*report, error) {
	cmd := exec.CommandContext(ctx, "sort", "--parallel=2", "-T", t.Dir, "-o", t.Output, t.Input)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return &report{Took: time.Since(begin), Peak: childPeak(cmd.ProcessState)}, nil
}

// kind returns what is known of the job.
func (t *task) kind() *jobKind {
	for _, k := range []*jobKind{wordcount, wordcountPlain, terasort, grep, grepLines, hello} {
		if k.name == t.Job {
			return k
		}
	}
	return nil
}

func (t *task) inputName() string                { return filepath.Base(t.Input) }
func (t *task) inputFiles() mapreduce.FileSystem { return mapreduce.Dir(filepath.Dir(t.Input)) }

// peak returns the greatest resident size that a process has had, in bytes: "self" is
// this one. It is 0 where the system does not tell.
func peak(pid string) int64 {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		// That is of this process's memory alone; what getrusage returns begins with
		// what its parent had.
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" && fields[2] == "kB" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
