package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// CoordinatorConfig configures a Coordinator. Transport, Addr, Jobs and FileSystem
// are required; the zero value of every other field means its default.
type CoordinatorConfig struct {
	// Transport and Addr are where workers and clients are served.
	Transport transport.Transport
	Addr      string

	// Jobs are the jobs that can be submitted: the same as the workers have.
	Jobs *Registry
	// FileSystem takes the output, and holds the input unless Input is set. It
	// must be the same as the workers'.
	FileSystem FileSystem
	// Input holds the input. Default: FileSystem.
	Input FileSystem

	// Dir is the directory of the journal, for this coordinator alone. With it, a
	// coordinator that is started again on the same directory goes on with the
	// jobs. Default none: the state is lost with the process.
	Dir string
	// OpenLog returns the log that the state is kept in, which Close closes if it
	// is an io.Closer. Default: a journal in Dir, or memory. A node of package vmft is a
	// log too: then this coordinator leads, or stands by, as its node does.
	OpenLog func(Machine) (Log, error)

	// Cluster and Secret are as in rpc.ServerConfig.
	Cluster string
	Secret  []byte

	// History is how many jobs that have ended the status page shows; with Dir, it
	// still does after a restart. Default DefaultHistory.
	History int

	// WorkerTimeout is how long a worker may be silent before it counts as dead.
	// Workers give signs of life five times as often, up to one a second, and a fifth
	// of it, up to two seconds, is the age at which an attempt may get a backup: jobs
	// that take only seconds want a shorter one. Default 10 s.
	WorkerTimeout time.Duration
	// Grace is how long the workers of an earlier coordinator may take to register
	// with this one before what they held is done again. Default: WorkerTimeout.
	Grace time.Duration

	// Build identifies the code: workers of another are refused. Default: a hash
	// of this process's binary.
	Build string
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger

	disk vfs.FS // holds Dir; the operating system's unless a test says otherwise
}

// Defaults of a CoordinatorConfig.
const (
	DefaultWorkerTimeout = 10 * time.Second
	DefaultHistory       = 100

	maxHistory = 10_000
)

func (c CoordinatorConfig) withDefaults() (CoordinatorConfig, error) {
	var err error
	switch {
	case c.Transport == nil:
		err = fmt.Errorf("%w: CoordinatorConfig.Transport is missing", ErrConfig)
	case c.Addr == "":
		err = fmt.Errorf("%w: CoordinatorConfig.Addr is missing", ErrConfig)
	case c.Jobs == nil:
		err = fmt.Errorf("%w: CoordinatorConfig.Jobs is missing", ErrConfig)
	case c.FileSystem == nil:
		err = fmt.Errorf("%w: CoordinatorConfig.FileSystem is missing", ErrConfig)
	case c.WorkerTimeout < 0:
		err = fmt.Errorf("%w: CoordinatorConfig.WorkerTimeout is negative", ErrConfig)
	case c.Grace < 0:
		err = fmt.Errorf("%w: CoordinatorConfig.Grace is negative", ErrConfig)
	case c.History < 0 || c.History > maxHistory:
		err = fmt.Errorf("%w: CoordinatorConfig.History is %d, not 1 to %d", ErrConfig, c.History, maxHistory)
	case c.Dir != "" && c.OpenLog != nil:
		err = fmt.Errorf("%w: CoordinatorConfig.Dir and OpenLog are both set", ErrConfig)
	}
	if err != nil {
		return c, err
	}
	if c.Input == nil {
		c.Input = c.FileSystem
	}
	if c.WorkerTimeout == 0 {
		c.WorkerTimeout = DefaultWorkerTimeout
	}
	if c.Grace == 0 {
		c.Grace = c.WorkerTimeout
	}
	if c.History == 0 {
		c.History = DefaultHistory
	}
	if c.disk == nil {
		c.disk = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.OpenLog == nil {
		c.OpenLog = func(m Machine) (Log, error) {
			return statelog.Open(statelog.Config{Machine: m, Dir: c.Dir, FS: c.disk, Logger: c.Logger})
		}
	}
	c.Build, err = buildID(c.Build)
	return c, err
}

// hold returns for how long a poll may be held back: a fraction of the time after
// which the silence of a worker means its death.
func (c *CoordinatorConfig) hold() time.Duration { return min(c.WorkerTimeout/5, time.Second) }

// backupAge returns how old an attempt is at least that gets a backup: by then its
// worker has told of it.
func (c *CoordinatorConfig) backupAge() time.Duration {
	return min(c.WorkerTimeout/5, defaultBackupAge)
}

// Coordinator hands out tasks and keeps the books. Its state, the task table, is a
// Machine in a Log; what it does about it is decided by the schedule; this shell
// serves workers and clients, and commits files.
type Coordinator struct {
	cfg    CoordinatorConfig
	log    rpc.ServiceLog
	ledger *ledger
	store  *historyStore // nil without a directory; record's alone
	server *rpc.Server
	addr   net.Addr
	code   fingerprint

	cancel context.CancelCauseFunc
	done   chan struct{} // closed when run has returned
	err    error         // why; set before done is closed

	mu        sync.Mutex // guards what follows
	dismissed map[workerID]bool
	closed    bool
}

// StartCoordinator starts a coordinator. It serves as soon as its log lets it
// lead; ctx bounds the start only.
func StartCoordinator(ctx context.Context, cfg CoordinatorConfig) (*Coordinator, error) {
	fail := func(err error) (*Coordinator, error) {
		return nil, &Error{Op: "start coordinator", On: cfg.Addr, Err: err}
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return fail(err)
	}
	c := &Coordinator{cfg: cfg, ledger: newLedger(), done: make(chan struct{}), code: cfg.Jobs.fingerprint(cfg.Build)}
	log, err := cfg.OpenLog(c.ledger)
	if err != nil {
		return fail(err)
	}
	c.log = rpc.ServiceLog{Log: log}
	c.openHistory() // the log has locked Dir
	if c.server, err = rpc.NewServer(rpc.ServerConfig{Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger}); err == nil {
		c.handle()
		c.addr, err = c.server.Listen(ctx, cfg.Transport, cfg.Addr)
	}
	if err != nil {
		return fail(errors.Join(err, c.log.Close()))
	}
	// What the coordinator does goes on beyond the ctx of its start.
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c.cancel = cancel
	go c.run(run)
	return c, nil
}

// Addr returns the address that is served.
func (c *Coordinator) Addr() string { return c.addr.String() }

// Wait blocks until the coordinator has ended, and returns why: nil after Close,
// otherwise what happened to its log.
func (c *Coordinator) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the coordinator. Jobs that have not ended stay in the journal.
func (c *Coordinator) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.done
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.cancel(ErrClosed)
	err := c.server.Close()
	<-c.done
	return errors.Join(err, c.log.Close())
}

// run leads whenever the log lets it.
func (c *Coordinator) run(ctx context.Context) {
	defer close(c.done)
	for {
		term, epoch, err := c.log.Lead(ctx)
		if err == nil {
			err = c.lead(ctx, term, epoch)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.cfg.Logger.Error("the coordinator has ended", "error", err)
			c.err = &Error{Op: "coordinate", On: c.Addr(), Err: err}
			return
		}
	}
}

// lead serves one term. The error is one after which there can be no other.
func (c *Coordinator) lead(ctx, term context.Context, epoch uint64) error {
	term, cancel := context.WithCancelCause(term)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	defer cancel(ErrClosed)
	if _, _, err := c.log.Propose(term, commandLead(epoch)); err != nil {
		return rpc.TermOver(term, err)
	}
	c.ledger.begin(scheduleConfig{workerTimeout: c.cfg.WorkerTimeout, grace: c.cfg.Grace, backupAge: c.cfg.backupAge()})
	defer c.ledger.finish()
	c.cfg.Logger.Info("leading", "epoch", epoch)
	var background sync.WaitGroup // commits and sweeps
	defer background.Wait()
	defer cancel(ErrClosed)
	c.refuseOtherBuilds(term, epoch)
	background.Go(func() { c.record(term) })
	tick := time.NewTicker(max(c.cfg.WorkerTimeout/checkEvery, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-term.Done():
			return nil
		case <-c.ledger.kick:
		case <-tick.C:
		}
		if err := c.act(term, epoch, &background); err != nil {
			return rpc.TermOver(term, err)
		}
	}
}

// proposalsAtOnce bounds the proposals of one step that share a sync of the log.
const proposalsAtOnce = 64

// act does what the schedule wants until it wants no more.
func (c *Coordinator) act(term context.Context, epoch uint64, background *sync.WaitGroup) error {
	for {
		actions := c.ledger.step()
		if len(actions) == 0 {
			return nil
		}
		var proposals errgroup.Group
		proposals.SetLimit(proposalsAtOnce)
		for _, a := range actions {
			switch {
			case a.commit != 0:
				background.Go(func() { c.commit(term, epoch, a.commit) })
			case a.sweep != 0:
				background.Go(func() { c.sweep(term, a.sweep) })
			default:
				proposals.Go(func() error {
					_, _, err := c.log.Propose(term, a.command)
					return err
				})
			}
		}
		if err := proposals.Wait(); err != nil {
			return err
		}
	}
}

// refuseOtherBuilds fails the jobs that another binary has begun: half of their
// tasks would be done by other code than the rest. Those that have all their output
// need no code any more.
func (c *Coordinator) refuseOtherBuilds(term context.Context, epoch uint64) {
	var others []JobID
	c.ledger.mu.Lock()
	for _, id := range c.ledger.tasks.order {
		if j := c.ledger.tasks.jobs[id]; j.state == JobRunning && j.build != c.cfg.Build {
			others = append(others, id)
		}
	}
	c.ledger.mu.Unlock()
	for _, id := range others {
		why := "the coordinator was restarted with another binary; submit the job again"
		// If that fails the term is over.
		_, _, _ = c.log.Propose(term, commandEnd(epoch, id, JobFailed, why))
	}
}

// propose proposes a command of the present epoch and returns its status and what
// else it returns.
func (c *Coordinator) propose(ctx context.Context, command func(epoch uint64) []byte) (status, []byte, error) {
	var epoch uint64
	if err := c.leading(func(s *schedule) { epoch = s.epoch }); err != nil {
		return 0, nil, err
	}
	_, out, err := c.log.Propose(ctx, command(epoch))
	if err != nil {
		var not interface{ NotLogged() bool }
		if errors.As(err, &not) && not.NotLogged() {
			return 0, nil, rpc.Refuse(err)
		}
		return 0, nil, rpc.Uncertain(err)
	}
	if len(out) == 0 {
		return 0, nil, fmt.Errorf("the log returned nothing for a command")
	}
	return status(out[0]), out[1:], nil
}

// errNotLeading makes callers try again, here or elsewhere.
var errNotLeading = rpc.Refuse(fmt.Errorf("%w: the coordinator does not lead at present", rpc.ErrUnavailable))

// leading calls f with the schedule, under the ledger's lock.
func (c *Coordinator) leading(f func(s *schedule)) error {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	if c.ledger.schedule == nil {
		return errNotLeading
	}
	f(c.ledger.schedule)
	return nil
}

// confirm waits until what was read is safe to tell.
func (c *Coordinator) confirm(ctx context.Context) error {
	if _, err := c.log.Confirm(ctx); err != nil {
		return rpc.Refuse(err)
	}
	return nil
}

// await calls f with the schedule until it reports true, again after each change
// of key, but not for longer than hold. What f has read is safe to tell when
// await returns.
func (c *Coordinator) await(ctx context.Context, key watchKey, hold time.Duration, f func(s *schedule) (done bool, err error)) error {
	timeout := time.NewTimer(hold)
	defer timeout.Stop()
	for waiting := true; ; {
		var changed <-chan struct{}
		var done bool
		var ferr error
		err := c.leading(func(s *schedule) {
			done, ferr = f(s)
			if !done && ferr == nil {
				changed = c.ledger.watch(key)
			}
		})
		if err = errors.Join(err, ferr); err != nil {
			return err
		}
		if done || !waiting {
			return c.confirm(ctx)
		}
		select {
		case <-changed:
		case <-timeout.C:
			waiting = false
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
