package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/mapreduce"
)

var coordinatorRole = role{
	name:    "coordinator",
	summary: "hands out the tasks of jobs to workers",
	details: `
With -journal it keeps its state on disk: started again on the same directory, also
after a crash, it goes on with its jobs, and keeps what workers have completed.

With -standby it is one of two, or more, as masters can be ("trilith help master"):

  coordinator -listen host1:7000 -node host1:7010 -standby host2:7010 -lock /shared/lock
  coordinator -listen host2:7000 -node host2:7010 -standby host1:7010 -lock /shared/lock

Workers and clients are given the addresses of both, host1:7000,host2:7000.
`,
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var c coordinatorFlags
		c.define(f)
		c.root.define(f)
		c.standby.Define(f, "coordinator")
		f.StringVar(&c.listen, "listen", "127.0.0.1:7000", "serve workers and clients at this `address`; port 0 is any")
		f.StringVar(&c.journal, "journal", "", "keep the state in this `directory` (default: in memory only)")
		definePrograms(f, &c.programs)
		f.StringVar(&c.status, "status", "", statusUsage)
		f.DurationVar(&c.timeout, "worker-timeout", mapreduce.DefaultWorkerTimeout, "how long a worker may be silent before it counts as dead")
		return c.run
	},
}

const statusUsage = "serve a status page for browsers at this `address`; whoever reaches it can read it"

type coordinatorFlags struct {
	clusterFlags
	standby standby.Flags
	root    rootFlag
	listen  string
	journal string
	status  string
	timeout time.Duration
	// programs says that jobs may run any programs.
	programs bool
}

func definePrograms(f *flag.FlagSet, programs *bool) {
	f.BoolVar(programs, "programs", false, "have the job streaming too, by which whoever can submit jobs can run any program on the workers; the same for the coordinator and all workers")
}

func (c *coordinatorFlags) run(ctx context.Context, args []string, out output) (err error) {
	switch {
	case len(args) > 0:
		return local.BadUsage("unexpected argument %q", args[0])
	case c.timeout <= 0:
		return local.BadUsage("-worker-timeout is %v, it must be positive", c.timeout)
	}
	if err := c.standby.Check(); err != nil {
		return err
	}
	cl, err := c.open("coordinator", true, out)
	if err != nil {
		return err
	}
	files, closeFiles, err := c.root.open(ctx, cl, hostOf(c.listen))
	if err != nil {
		return err
	}
	defer closeFiles()
	registry, err := jobs.Registry(c.programs)
	if err != nil {
		return err
	}
	cfg := mapreduce.CoordinatorConfig{
		Transport: cl.transport, Addr: c.listen, Jobs: registry, FileSystem: files, Dir: c.journal,
		WorkerTimeout: c.timeout, Cluster: cl.id, Secret: cl.secret, Logger: cl.logger,
	}
	var node *standby.Node // nil: it is the only coordinator
	if c.standby.On() {
		cfg.OpenLog = func(machine mapreduce.Machine) (_ mapreduce.Log, err error) {
			node, err = c.standby.Start(ctx, cl.node("coordinator", c.journal), machine)
			return node, err
		}
		cfg.Dir = ""
	}
	coordinator, err := mapreduce.StartCoordinator(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, coordinator.Close()) }()
	fmt.Fprintf(out.stdout, "coordinator at %s\n", coordinator.Addr())
	closePage, err := servePage(ctx, c.status, withNode(coordinator.StatusHandler(), node), out)
	if err != nil {
		return err
	}
	defer closePage()
	defer watchNode(ctx, node, out)()
	if err := coordinator.Wait(ctx); ctx.Err() == nil {
		return err
	}
	switch {
	case node != nil:
		fmt.Fprintln(out.stdout, "coordinator ends; the other one goes on")
	case c.journal == "":
		fmt.Fprintln(out.stdout, "coordinator ends; the jobs are lost that have not")
	default:
		fmt.Fprintln(out.stdout, "coordinator ends; start it again to go on with its jobs")
	}
	return nil
}

// servePage serves a status page until closePage is called. Without an address there is
// none.
func servePage(ctx context.Context, addr string, page http.Handler, out output) (closePage func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("-status: %w", err)
	}
	server := &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends by Close
	}()
	fmt.Fprintf(out.stdout, "status page at http://%s/\n", l.Addr())
	return func() {
		_ = server.Close() // nobody waits for the rest of a page
		<-served
	}, nil
}

var workerRole = role{
	name:    "worker",
	summary: "runs the tasks that a coordinator hands out",
	details: `
On SIGINT or SIGTERM it takes no more tasks, completes those that it runs, and serves
the output of its maps until their jobs have ended, but not for longer than -drain.
`,
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var w workerFlags
		w.define(f)
		w.root.define(f)
		f.StringVar(&w.listen, "listen", "127.0.0.1:0", "serve other workers at this `address`; port 0 is any")
		f.StringVar(&w.advertise, "advertise", "", "the `address` that other workers dial (default: that of -listen)")
		f.StringVar(&w.rack, "rack", "", "the `name` of the rack that the machine is in")
		f.Var(&w.labels, "labels", "what jobs may ask for with -labels, separated by `commas`")
		f.StringVar(&w.only, "only", "", "take tasks of this `kind` only: map or reduce (default: both)")
		f.IntVar(&w.slots, "slots", 0, "run so many `tasks` of each kind at a time (default: one a processor)")
		f.Int64Var(&w.memory, "memory", mapreduce.DefaultMemory>>20, "use so many `MiB` for data, then go to disk")
		definePrograms(f, &w.programs)
		f.StringVar(&w.scratch, "scratch", "", "the `directory` for what is too large for memory, for this worker alone (default: a temporary one)")
		f.DurationVar(&w.drain, "drain", time.Minute, "how long to go on after the first signal for what others need")
		return w.run
	},
}

type workerFlags struct {
	clientFlags
	root      rootFlag
	listen    string
	advertise string
	rack      string
	labels    listFlag
	only      string
	slots     int
	memory    int64
	scratch   string
	drain     time.Duration
	programs  bool
}

// kinds returns what -only means.
func (w *workerFlags) kinds() []mapreduce.TaskKind {
	switch w.only {
	case mapreduce.MapTask.String():
		return []mapreduce.TaskKind{mapreduce.MapTask}
	case mapreduce.ReduceTask.String():
		return []mapreduce.TaskKind{mapreduce.ReduceTask}
	}
	return nil
}

func (w *workerFlags) run(ctx context.Context, args []string, out output) error {
	addrs, err := w.addrs()
	switch {
	case err != nil:
		return err
	case len(args) > 0:
		return local.BadUsage("unexpected argument %q", args[0])
	case w.only != "" && w.only != mapreduce.MapTask.String() && w.only != mapreduce.ReduceTask.String():
		return local.BadUsage("-only is %q, not map or reduce", w.only)
	case w.slots < 0:
		return local.BadUsage("-slots is %d, it cannot be negative", w.slots)
	case w.memory <= 0:
		return local.BadUsage("-memory is %d, it must be positive", w.memory)
	case w.drain < 0:
		return local.BadUsage("-drain is %v, it cannot be negative", w.drain)
	}
	cl, err := w.open("worker", true, out)
	if err != nil {
		return err
	}
	files, closeFiles, err := w.root.open(ctx, cl, hostOf(cmp.Or(w.advertise, w.listen)))
	if err != nil {
		return err
	}
	defer closeFiles()
	registry, err := jobs.Registry(w.programs)
	if err != nil {
		return err
	}
	defer local.LimitMemory(w.memory << 20)()
	worker, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: cl.transport, Addr: w.listen, Advertise: w.advertise, Coordinators: addrs, Jobs: registry, FileSystem: files,
		Rack: w.rack, Labels: w.labels, Kinds: w.kinds(), Slots: w.slots, Memory: w.memory << 20, Dir: w.scratch, Cluster: cl.id, Secret: cl.secret, Logger: cl.logger,
	})
	if err != nil {
		return err
	}
	defer worker.Close()
	fmt.Fprintf(out.stdout, "worker at %s\n", worker.Addr())
	if err := worker.Wait(ctx); ctx.Err() == nil {
		return err
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.drain)
	defer cancel()
	fmt.Fprintf(out.stdout, "worker ends when nobody needs it any more, in at most %v\n", w.drain)
	if err := worker.Drain(patience); patience.Err() == nil {
		return err
	}
	return fmt.Errorf("it was still needed after %v; what it held is done again by others", w.drain)
}
