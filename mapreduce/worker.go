package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// WorkerConfig configures a Worker. Transport, Addr, Coordinators, Jobs and
// FileSystem are required; the zero value of every other field means its default.
type WorkerConfig struct {
	// Transport listens and dials. Addr is where map output is served to other
	// workers; port 0 is any.
	Transport transport.Transport
	Addr      string
	// Advertise is the address that other workers dial. Default: the one that
	// Addr turned out to be.
	Advertise string
	// Coordinators are the addresses of one coordinator, or of several of which
	// one leads.
	Coordinators []string

	// Jobs are the jobs that can be run: the same as the coordinator has.
	Jobs *Registry
	// FileSystem takes the output, and holds the input unless Input is set.
	FileSystem FileSystem
	// Input holds the input. Default: FileSystem.
	Input FileSystem

	// Slots is how many tasks of each kind are run at a time. Default: the number
	// of processors that Go uses. At most 4096.
	Slots int
	// Memory is how many bytes tasks may use: for input and output buffers, for what
	// maps emit and for sorting it, for map output that waits to be fetched, and for
	// what reduces have fetched. Beyond it all goes to disk. What the job's functions
	// use comes on top, and so does what Go's collector has not collected yet: a
	// program that must stay within a limit sets it with debug.SetMemoryLimit, or
	// GOMEMLIMIT, somewhat above Memory. Default 1 GiB, at least 16 MiB for each slot.
	Memory int64
	// Dir is where files go that are too large for memory, for this worker alone.
	// Files that a worker which crashed has left there are removed. Default: a
	// directory in os.TempDir that Close removes, or, after a crash, the next worker
	// that makes one.
	Dir string
	// Host is the name of the machine, for a FileSystem that is a Locator.
	// Default: the host of Advertise.
	Host string
	// Rack is the name of what the machine has in common with those near it, so
	// that maps are run near their input: a host's rack is known from the workers
	// on it. Default: none.
	Rack string
	// Kinds are the kinds of tasks that the worker takes. Default: both.
	Kinds []TaskKind
	// Labels are what jobs may ask for by Spec.Labels: at most 32, of at most 128
	// bytes each. Default: none.
	Labels []string

	// Cluster and Secret are as in rpc.ServerConfig.
	Cluster string
	Secret  []byte

	// Build identifies the code, as in CoordinatorConfig.
	Build string
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger

	disk vfs.FS // holds Dir; the operating system's unless a test says otherwise
}

// DefaultMemory is the default of WorkerConfig.Memory: 1 GiB.
const DefaultMemory = 1 << 30

func (c WorkerConfig) withDefaults() (WorkerConfig, error) {
	bad := func(field, format string, args ...any) (WorkerConfig, error) {
		return c, fmt.Errorf("%w: WorkerConfig.%s %s", ErrConfig, field, fmt.Sprintf(format, args...))
	}
	if c.Slots == 0 {
		c.Slots = runtime.GOMAXPROCS(0)
	}
	if c.Memory == 0 {
		c.Memory = max(DefaultMemory, int64(c.Slots)*minSlotMemory)
	}
	switch {
	case c.Transport == nil:
		return bad("Transport", "is missing")
	case c.Addr == "":
		return bad("Addr", "is missing")
	case len(c.Coordinators) == 0:
		return bad("Coordinators", "is missing")
	case c.Jobs == nil:
		return bad("Jobs", "is missing")
	case c.FileSystem == nil:
		return bad("FileSystem", "is missing")
	case c.Slots < 0 || c.Slots > maxSlots:
		return bad("Slots", "is %d, not 1 to %d", c.Slots, maxSlots)
	case c.Memory < int64(c.Slots)*minSlotMemory:
		return bad("Memory", "is %d bytes, less than %d for each of %d slots", c.Memory, minSlotMemory, c.Slots)
	case slices.ContainsFunc(c.Kinds, func(k TaskKind) bool { return k > ReduceTask }):
		return bad("Kinds", "has what is neither MapTask nor ReduceTask")
	}
	c.Labels = sortedLabels(c.Labels)
	if err := checkLabels(c.Labels); err != nil {
		return bad("Labels", "%v", err)
	}
	if c.Input == nil {
		c.Input = c.FileSystem
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.disk == nil {
		c.disk = vfs.OS()
	}
	var err error
	c.Build, err = buildID(c.Build)
	return c, err
}

// slots returns how many tasks of each kind are run at a time.
func (c *WorkerConfig) slots() (slots [2]int) {
	for kind := range slots {
		if len(c.Kinds) == 0 || slices.Contains(c.Kinds, TaskKind(kind)) {
			slots[kind] = c.Slots
		}
	}
	return slots
}

// Worker runs tasks and serves the output of its maps to other workers.
type Worker struct {
	cfg    WorkerConfig
	token  string // of this incarnation
	addr   string
	server *rpc.Server
	client *rpc.Client // of the coordinator
	peers  *peers
	memory *budget
	store  *store
	disk   *scratch

	ctx    context.Context // ends with Close, or when the worker is dismissed or refused
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when everything has ended
	err    error         // why the worker ended by itself; set before done is closed
	tasks  sync.WaitGroup

	unanswered unanswered

	mu      sync.Mutex // guards what follows
	id      workerID
	running map[Attempt]*execution
	repoll  context.CancelFunc // ends the poll that is under way, for another to follow
	// draining is set when no more tasks are wanted.
	draining bool
}

// StartWorker starts a worker. It registers with the coordinator as soon as it can
// reach it, and warns its Logger while it cannot; that it is refused shows in Wait. ctx
// bounds the start only.
func StartWorker(ctx context.Context, cfg WorkerConfig) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, &Error{Op: "start worker", On: cfg.Addr, Err: err}
	}
	w := &Worker{
		cfg: cfg, token: newToken(), done: make(chan struct{}), running: make(map[Attempt]*execution),
		memory: newBudget(cfg.Memory, cfg.Slots), repoll: func() {},
	}
	// What the worker does goes on beyond the ctx of its start.
	w.ctx, w.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := w.start(ctx); err != nil {
		w.release()
		return nil, &Error{Op: "start worker", On: cfg.Addr, Err: err}
	}
	go w.run()
	return w, nil
}

// start opens everything that release closes.
func (w *Worker) start(ctx context.Context) (err error) {
	cfg := &w.cfg
	if w.disk, err = openScratch(cfg.disk, cfg.Dir); err != nil {
		return err
	}
	w.store = newStore(w.memory)
	w.peers = newPeers(rpc.ClientConfig{Transport: cfg.Transport, Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger})
	w.server, err = rpc.NewServer(rpc.ServerConfig{Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	rpc.HandleStream(w.server, methodFetch, w.serveFetch)
	addr, err := w.server.Listen(ctx, cfg.Transport, cfg.Addr)
	if err != nil {
		return err
	}
	w.addr = cfg.Advertise
	if w.addr == "" {
		w.addr = addr.String()
	}
	if cfg.Host == "" {
		if cfg.Host, _, err = net.SplitHostPort(w.addr); err != nil {
			cfg.Host = w.addr
		}
	}
	w.client, err = rpc.NewClient(rpc.ClientConfig{
		Transport: cfg.Transport, Addrs: cfg.Coordinators, Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger,
		Interceptors: []rpc.ClientInterceptor{w.watchRegister},
	})
	return err
}

// release closes what start has opened.
func (w *Worker) release() {
	w.cancel(ErrClosed)
	if w.server != nil {
		_ = w.server.Close()
	}
	if w.client != nil {
		_ = w.client.Close()
	}
	if w.peers != nil {
		w.peers.close()
	}
	if w.store != nil {
		w.store.close()
	}
	if w.disk != nil {
		w.disk.close()
	}
}

// Addr returns the address at which other workers fetch.
func (w *Worker) Addr() string { return w.addr }

// Wait blocks until the worker has ended, and returns why: nil after Close or
// Drain and when the coordinator dismissed it, or ErrFingerprint if it refused it.
func (w *Worker) Wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the worker. What it ran and held is lost: the coordinator has it done
// again elsewhere. It waits for the job's functions, whose contexts it ends.
func (w *Worker) Close() error {
	w.cancel(ErrClosed)
	<-w.done
	return nil
}

// run is a worker's life.
func (w *Worker) run() {
	defer close(w.done)
	err := w.serve()
	switch {
	case errors.Is(err, errDismissed):
		w.cfg.Logger.Info("dismissed")
	case errors.Is(err, errDrained):
		w.cfg.Logger.Info("drained")
	case w.ctx.Err() == nil:
		w.err = &Error{Op: "work", On: w.addr, Err: err}
		w.cfg.Logger.Error("the worker has ended", "error", err)
	}
	w.cancel(ErrClosed)
	w.tasks.Wait()
	w.release()
}

// serve registers and polls, again and again, until the worker's ctx ends or the
// coordinator wants it no more.
func (w *Worker) serve() error {
	for {
		session, err := w.register()
		if err == nil {
			err = w.poll(session)
		}
		switch {
		case w.ctx.Err() != nil:
			return context.Cause(w.ctx)
		case errors.Is(err, errUnregistered):
			w.cfg.Logger.Info("registering again")
		default:
			return err
		}
	}
}

// register makes the worker known to the coordinator that leads, however long it
// takes to find one. What still runs was given out by another, or to a worker
// taken for dead: nobody waits for it.
func (w *Worker) register() (*registerResp, error) {
	w.mu.Lock()
	for _, e := range w.running {
		e.stop(errUnregistered)
	}
	w.mu.Unlock()
	req := &registerReq{
		worker: workerRow{token: w.token, addr: w.addr, host: w.cfg.Host, rack: w.cfg.Rack, slots: w.cfg.slots(), labels: w.cfg.Labels},
		code:   w.cfg.Jobs.fingerprint(w.cfg.Build),
		holds:  w.store.attempts(),
	}
	resp, err := rpc.Call[registerResp](w.ctx, w.client.AtLeastOnce(), methodRegister, req)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.id = resp.id
	w.mu.Unlock()
	w.cfg.Logger.Info("registered", "id", resp.id, "epoch", resp.epoch)
	return resp, nil
}

// pollPatience is how much longer than the coordinator's hold an answer to a poll
// may take.
const pollPatience = 5 * time.Second

// poll asks for orders and carries them out, until the coordinator does not know
// the worker any more.
func (w *Worker) poll(session *registerResp) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
		req := &pollReq{id: session.id, epoch: session.epoch, jobs: w.store.jobs()}
		ctx, cancel := context.WithTimeout(w.ctx, session.hold+pollPatience)
		var draining bool
		req.doing, req.zombies, draining = w.doing(cancel)
		resp, err := rpc.Call[pollResp](ctx, w.client, methodPoll, req)
		ended := ctx.Err()
		cancel()
		if err != nil {
			w.retell(req.doing)
		}
		switch {
		case w.ctx.Err() != nil:
			return context.Cause(w.ctx)
		case errors.Is(err, errUnregistered), errors.Is(err, errDismissed):
			return err
		case err != nil && errors.Is(ended, context.Canceled):
			pause.Reset(0)
			continue
		case err != nil:
			w.cfg.Logger.Debug("poll", "error", err)
			w.answer(err)
			pause.Reset(session.hold / 10)
			continue
		}
		w.answer(nil)
		for _, a := range resp.stop {
			w.stop(a)
		}
		for i := range resp.begin {
			w.begin(&resp.begin[i])
		}
		for _, id := range resp.over {
			w.store.dropJob(id)
		}
		if draining && len(resp.begin) == 0 && w.drained() {
			return errDrained
		}
		pause.Reset(0)
	}
}

// doing returns how the attempts do that are wanted, how many run on that are not,
// and whether no more are wanted, in which case all slots count as taken. When that
// changes repoll is called.
func (w *Worker) doing(repoll context.CancelFunc) (doing []progress, zombies [2]int, draining bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.repoll = repoll
	for a, e := range w.running {
		if e.ctx.Err() != nil {
			zombies[e.task.kind]++
			continue
		}
		doing = append(doing, progress{a, e.t.progressed(), e.t.records.at.Load(), e.fetched.Load(), e.t.counters.counts(), e.t.log.tell()})
	}
	if w.draining {
		zombies = w.cfg.slots()
	}
	return doing, zombies, w.draining
}

// retell has logs told again that were told in vain.
func (w *Worker) retell(doing []progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range doing {
		if e := w.running[p.attempt]; e != nil && p.log != "" {
			e.t.log.retell()
		}
	}
}

func (w *Worker) stop(a Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.running[a]; e != nil {
		e.stop(errStopped)
	}
}
