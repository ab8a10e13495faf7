package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// mapreduceSuite measures whole jobs, each in a process of its own.
var mapreduceSuite = suite{
	name: "mapreduce",
	about: "whole jobs, each in a process of its own; peak_MiB is the sum of the greatest resident sizes of all processes " +
		"of a subject, cpu_s of their processor time, shuffle_MiB what maps have handed to reduces",
	cases:    names(jobCases),
	subjects: jobSubjects,
	baseline: func(kase string) string { return find(jobCases, kase).baseline },
	rounds:   1,
	works:    true,
	open:     openJob,
}

// The subjects, in the order in which they take turns: some need to know how long
// another took.
var jobSubjects = []string{
	"limit", "local", "memory", "tcp", "sequential", "sort", "in-memory", "spilling", "even", "backup", "none", "killed",
}

// A jobCase is a job, and which subjects do it in which way.
type jobCase struct {
	job      *jobKind
	baseline string
	ways     map[string]task // by subject
}

// everyWay is how the same job can be done. In tcp, the coordinator and each of two
// workers is a process.
var everyWay = map[string]task{
	"limit":      {Role: roleLimit},
	"local":      {Role: roleLocal},
	"memory":     {Role: roleMemory, Workers: 2},
	"tcp":        {Role: roleProcesses, Workers: 2},
	"sequential": {Role: roleSequential},
}

// jobCases are the cases. In those with faults, four worker processes do a terasort:
// one of them gets a tenth of the processor time, with backup tasks and without, or is
// killed half-way.
var jobCases = []named[jobCase]{
	{"wordcount", jobCase{wordcount, "limit", everyWay}},
	{"wordcount-nocombiner", jobCase{wordcountPlain, "limit", everyWay}},
	{"terasort", jobCase{terasort, "limit", with(everyWay, "sort", task{Role: roleSort})}},
	{"grep", jobCase{grep, "limit", everyWay}},
	{"grep-lines", jobCase{grepLines, "limit", everyWay}},
	{"terasort-spill", jobCase{terasort, "in-memory", map[string]task{
		"in-memory": {Role: roleLocal, Budget: 4},
		"spilling":  {Role: roleLocal, Budget: 0.25},
	}}},
	{"straggler", jobCase{terasort, "even", map[string]task{
		"even":   {Role: roleProcesses, Workers: 4, WorkerTimeout: faultTimeout},
		"backup": {Role: roleProcesses, Workers: 4, WorkerTimeout: faultTimeout, Slow: true},
		"none":   {Role: roleProcesses, Workers: 4, WorkerTimeout: faultTimeout, Slow: true, NoBackups: true},
	}}},
	{"kill", jobCase{terasort, "even", map[string]task{
		"even":   {Role: roleProcesses, Workers: 4, WorkerTimeout: faultTimeout},
		"killed": {Role: roleProcesses, Workers: 4, WorkerTimeout: faultTimeout, Kill: true},
	}}},
	{"startup", jobCase{hello, "", map[string]task{
		"local":  {Role: roleLocal},
		"memory": {Role: roleMemory, Workers: 2},
		"tcp":    {Role: roleProcesses, Workers: 2},
	}}},
}

// faultTimeout is after what silence a worker counts as dead in the cases with
// faults. The default, ten seconds, is for machines that are far away and busy; what
// the death of a worker costs is this time, and that of doing its work again. A fifth
// of it is after what time a task may get a backup, which for a job of three seconds
// must be well below one.
const faultTimeout = time.Second

func with(ways map[string]task, subject string, t task) map[string]task {
	more := map[string]task{subject: t}
	for s, t := range ways {
		more[s] = t
	}
	return more
}

// openJob sets up a subject for a case: it makes the input, unless another has made
// it before.
func openJob(ctx context.Context, kase, subject string, w *workspace) (cell, error) {
	c := find(jobCases, kase)
	t, ok := c.ways[subject]
	if !ok {
		return nil, nil
	}
	if t.Role == roleSort {
		if _, err := exec.LookPath("sort"); err != nil {
			return nil, nil // it is not installed
		}
	}
	input, err := w.input(ctx, c.job)
	if err != nil {
		return nil, err
	}
	t.Job, t.Input, t.Pattern, t.Profile = c.job.name, input.name, w.pattern, w.profile
	if t.Role == roleSort && !input.lines {
		return nil, nil // what is in it has no ends that sort would see
	}
	if t.Budget > 0 {
		t.Memory = max(int64(t.Budget*float64(input.size)), minBudget)
	}
	return &jobCell{w: w, kase: kase, subject: subject, job: c.job, task: t, input: input}, nil
}

// minBudget is the least memory that the library runs two tasks at a time in.
const minBudget = 32 << 20

// A jobCell does one job in one way, each turn in a new process and into a new
// directory.
type jobCell struct {
	w       *workspace
	kase    string
	subject string
	job     *jobKind
	task    task
	input   inputFile
	checked bool // the output is what the others have written
}

var _ cell = (*jobCell)(nil)

func (c *jobCell) Close() error { return nil }

// measure does the job once, however long that takes.
func (c *jobCell) measure(ctx context.Context, _, _ time.Duration) ([]metric, error) {
	dir, err := os.MkdirTemp(c.w.dir, "run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	t := c.task
	t.Dir, t.Output = dir, filepath.Join(dir, outputName)
	if t.Kill {
		if t.KillAfter = c.w.took[c.kase] / 2; t.KillAfter == 0 {
			return nil, fmt.Errorf("when half-way is, only the subject %q can tell, which has to be measured too", "even")
		}
	}
	r, err := t.spawn(ctx)
	if err != nil {
		return nil, err
	}
	if c.subject == "even" {
		c.w.took[c.kase] = r.Took
	}
	if !c.checked {
		if err := c.w.check(c.job, t.Output); err != nil {
			return nil, err
		}
		c.checked = true
	}
	if c.job == hello {
		return []metric{
			{"first_record_ms", r.FirstRecord.Seconds() * 1e3},
			{"result_ms", r.Result.Seconds() * 1e3},
			{"job_ms", r.Took.Seconds() * 1e3},
		}, nil
	}
	metrics := []metric{
		{"MB/s", float64(c.input.size) / 1e6 / r.Took.Seconds()},
		{"cpu_s", r.CPU.Seconds()},
		{"peak_MiB", float64(r.Peak) / (1 << 20)},
		{"shuffle_MiB", float64(r.Shuffled) / (1 << 20)},
	}
	if t.Memory > 0 {
		metrics = append(metrics, metric{"budget_MiB", float64(t.Memory) / (1 << 20)}, metric{"spilled_MiB", float64(r.Spilled) / (1 << 20)})
	}
	return metrics, nil
}
