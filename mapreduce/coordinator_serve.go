package mapreduce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// handle registers the methods.
func (c *Coordinator) handle() {
	rpc.Handle(c.server, methodRegister, c.register)
	rpc.Handle(c.server, methodPoll, c.poll)
	rpc.Handle(c.server, methodDone, c.taskDone)
	rpc.Handle(c.server, methodLocate, c.locate)
	rpc.Handle(c.server, methodUnfetched, c.unfetched)
	rpc.Handle(c.server, methodAnnounce, c.announced)
	rpc.Handle(c.server, methodSubmit, c.submit)
	rpc.Handle(c.server, methodResubmit, c.resubmit)
	rpc.Handle(c.server, methodStatus, c.status)
	rpc.Handle(c.server, methodJobs, c.jobs)
	rpc.Handle(c.server, methodCancel, c.cancelJob)
}

func (c *Coordinator) register(ctx context.Context, req *registerReq) (*registerResp, error) {
	if err := c.code.mismatch(req.code); err != nil {
		c.cfg.Logger.Warn("worker refused", "addr", req.worker.addr, "error", err)
		return nil, err
	}
	var epoch uint64
	st, out, err := c.propose(ctx, func(e uint64) []byte {
		epoch = e
		return commandJoin(e, &req.worker)
	})
	switch {
	case err != nil:
		return nil, err
	case st == statusFull:
		return nil, fmt.Errorf("%w: it has %d workers", ErrFull, maxWorkers)
	case st != statusOK:
		return nil, errNotLeading // any more
	}
	n, _ := binary.Uvarint(out)
	id := workerID(n)
	held := make(map[Attempt]bool, len(req.holds))
	for _, a := range req.holds {
		held[a] = true
	}
	err = c.leading(func(s *schedule) {
		s.confirm(time.Now(), id, func(a Attempt) bool { return held[a] })
	})
	if err != nil {
		return nil, err
	}
	c.ledger.poke()
	c.cfg.Logger.Info("worker registered", "id", id, "addr", req.worker.addr, "outputs", len(req.holds))
	return &registerResp{id: id, epoch: epoch, hold: c.cfg.hold()}, nil
}

func (c *Coordinator) poll(ctx context.Context, req *pollReq) (*pollResp, error) {
	if c.dismisses(req.id) {
		return nil, errDismissed
	}
	resp := &pollResp{}
	alive := false
	err := c.await(ctx, watchKey{worker: req.id}, c.cfg.hold(), func(s *schedule) (bool, error) {
		// The sign of life is of when the request came.
		if req.epoch != s.epoch || s.workers[req.id] == nil || !alive && !s.alive(time.Now(), req.id, req.zombies, req.doing) {
			return false, errUnregistered
		}
		if !alive {
			alive = true
			for _, p := range req.doing {
				c.ledger.log(p.attempt, p.log)
			}
			c.ledger.poke() // a slot may have become free
		}
		begin, stop := s.orders(req.id, req.doing)
		resp.stop, resp.over, resp.begin = stop, s.over(req.jobs), nil
		for _, o := range begin {
			j := s.tasks.jobs[o.task.job]
			a := assigned{order: o, token: j.token, name: j.name, maps: len(j.splits), spec: j.spec, care: s.tasks.task(o.task).trouble.care()}
			if o.task.kind == MapTask {
				a.split = j.splits[o.task.index]
			}
			resp.begin = append(resp.begin, a)
		}
		return len(begin)+len(stop)+len(resp.over) > 0 || c.dismissing(), nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *Coordinator) taskDone(ctx context.Context, req *doneReq) (*doneResp, error) {
	if req.log != "" { // first, for a failure is shown with the log
		if err := c.leading(func(*schedule) { c.ledger.log(req.attempt, req.log) }); err != nil {
			return nil, err
		}
	}
	var epoch uint64
	st, _, err := c.propose(ctx, func(e uint64) []byte {
		epoch = e
		if req.failed {
			return commandFailed(epoch, req.attempt, req.text, req.record)
		}
		return commandComplete(epoch, req.task, req.attempt, req.sizes, req.counts, req.files)
	})
	if err != nil {
		return nil, err
	}
	if req.failed && st == statusOK {
		c.cfg.Logger.Warn("attempt failed", "attempt", req.attempt, "task", taskName(req.task.kind, req.task.index), "error", req.text)
	}
	// The attempt is over, and so nothing of this changes any more.
	resp := &doneResp{counts: st == statusOK}
	err = c.leading(func(s *schedule) {
		resp.files = s.tasks.hasFiles(req.task, req.attempt)
		if s.epoch != epoch {
			resp = nil // the command came too late for its epoch: it has said nothing of the attempt
		}
	})
	if err == nil && resp == nil {
		err = errNotLeading // any more
	}
	return resp, err
}

func (c *Coordinator) locate(ctx context.Context, req *locateReq) (*locateResp, error) {
	resp := &locateResp{}
	err := c.await(ctx, watchKey{maps: req.job}, c.cfg.hold(), func(s *schedule) (bool, error) {
		var ok bool
		if resp.changed, resp.next, ok = s.locations(req.job, req.partition, req.since, locateLimit); !ok {
			return false, fmt.Errorf("%w: job %d does not run", ErrUnknownJob, req.job)
		}
		return s.worth(req.job, req.since, resp.next), nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *Coordinator) unfetched(_ context.Context, req *unfetchedReq) (*rpc.Empty, error) {
	c.cfg.Logger.Warn("map output not to be had", "reducer", req.reducer, "map", req.task.index, "attempt", req.attempt)
	err := c.leading(func(s *schedule) { s.unfetched(req.reducer, req.task, req.attempt) })
	c.ledger.poke()
	return &rpc.Empty{}, err
}

func (c *Coordinator) submit(ctx context.Context, req *submitReq) (*submitResp, error) {
	if !validToken(req.token) {
		return nil, fmt.Errorf("%w: bad token of a submission", ErrConfig)
	}
	known := JobID(0)
	err := c.leading(func(s *schedule) {
		for _, id := range s.tasks.order {
			if s.tasks.jobs[id].token == req.token {
				known = id
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if known != 0 {
		return &submitResp{id: known}, c.confirm(ctx)
	}
	return c.begin(ctx, req, 0)
}

// resubmit submits an aborted job again, from the start: its input may have changed.
func (c *Coordinator) resubmit(ctx context.Context, req *resubmitReq) (*submitResp, error) {
	again := &submitReq{token: newToken()} // that it is repeated shows by the job itself
	known := JobID(0)
	var refused error
	err := c.leading(func(s *schedule) {
		switch j := s.tasks.jobs[req.id]; {
		case j == nil:
			refused = fmt.Errorf("%w: %d", ErrUnknownJob, req.id)
		case j.successor != 0:
			known = j.successor
		case j.state != JobAborted:
			refused = fmt.Errorf("%w: job %d is %v, not aborted", ErrConfig, req.id, j.state)
		default:
			again.name, again.spec = j.name, j.spec
		}
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, err
	}
	if known != 0 {
		return &submitResp{id: known}, c.confirm(ctx)
	}
	return c.begin(ctx, again, req.id)
}

// begin plans and logs a job, which may take the place of another.
func (c *Coordinator) begin(ctx context.Context, req *submitReq, predecessor JobID) (*submitResp, error) {
	j, err := c.plan(ctx, req)
	if err != nil {
		return nil, &Error{Op: "submit", Job: req.name, Err: err}
	}
	j.predecessor = predecessor
	st, out, err := c.propose(ctx, func(epoch uint64) []byte { return commandSubmit(epoch, j) })
	if err != nil {
		return nil, err
	}
	switch st {
	case statusOK:
		id, _ := binary.Uvarint(out)
		c.cfg.Logger.Info("job submitted", "job", id, "name", j.name, "maps", len(j.splits), "reduces", j.spec.Reduces)
		return &submitResp{id: JobID(id)}, nil
	case statusFull:
		err = fmt.Errorf("%w: %d jobs have not ended", ErrFull, maxJobsRunning)
	case statusSpent:
		err = fmt.Errorf("%w: job %d was submitted again as often as Spec.Resubmits allows", ErrAborted, predecessor)
	case statusOutputTaken:
		id, _ := binary.Uvarint(out)
		err = fmt.Errorf("%w: job %d writes to %s", ErrOutputExists, id, j.spec.Output)
	default:
		return nil, errNotLeading // any more
	}
	return nil, &Error{Op: "submit", Job: req.name, Err: err}
}

// plan finds out what a job has to do.
func (c *Coordinator) plan(ctx context.Context, req *submitReq) (*job, error) {
	d, err := c.cfg.Jobs.find(req.name)
	if err != nil {
		return nil, err
	}
	j := &job{token: req.token, name: req.name, build: c.cfg.Build, spec: req.spec}
	if err := d.adapt(&j.spec); err != nil {
		return nil, err
	}
	if err := checkOutput(ctx, c.cfg.FileSystem, &j.spec); err != nil {
		return nil, err
	}
	if j.splits, err = planSplits(ctx, d, c.cfg.Input, &j.spec); err != nil {
		return nil, err
	}
	if locator, ok := c.cfg.Input.(Locator); ok {
		for i := range j.splits {
			s := &j.splits[i]
			if len(s.Pieces) == 0 {
				continue
			}
			if s.hosts, err = locator.Locate(ctx, s.Pieces[0].Name, s.Pieces[0].Offset, s.Pieces[0].Length); err != nil {
				return nil, fmt.Errorf("locate %s: %w", s.Pieces[0].Name, err)
			}
		}
	}
	return j, nil
}

// maxHold bounds for how long a client's question is held back.
const maxHold = 10 * time.Second

func (c *Coordinator) status(ctx context.Context, req *statusReq) (*statusResp, error) {
	resp := &statusResp{}
	err := c.await(ctx, watchKey{job: req.id}, min(req.hold, maxHold), func(s *schedule) (bool, error) {
		st := s.status(req.id)
		if st == nil {
			return false, fmt.Errorf("%w: %d", ErrUnknownJob, req.id)
		}
		resp.status = *st
		return st.State.Ended(), nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *Coordinator) jobs(ctx context.Context, _ *rpc.Empty) (*jobsResp, error) {
	resp := &jobsResp{}
	err := c.leading(func(s *schedule) {
		for _, id := range s.tasks.order {
			st := s.status(id)
			st.Input = nil // those of all jobs may be more than a message holds
			resp.jobs = append(resp.jobs, *st)
		}
	})
	if err != nil {
		return nil, err
	}
	return resp, c.confirm(ctx)
}

func (c *Coordinator) cancelJob(ctx context.Context, req *cancelReq) (*rpc.Empty, error) {
	id := req.id
	if err := c.leading(func(s *schedule) { id = s.tasks.latest(id) }); err != nil {
		return nil, err
	}
	st, _, err := c.propose(ctx, func(epoch uint64) []byte { return commandEnd(epoch, id, JobCanceled, req.reason) })
	if err == nil && st != statusOK {
		err = fmt.Errorf("%w: job %d does not run", ErrUnknownJob, req.id)
	}
	return &rpc.Empty{}, err
}

// Dismiss tells all workers to stop, and returns when each has been told or is
// dead. There is no taking it back: workers that register later are told so too.
func (c *Coordinator) Dismiss(ctx context.Context) error {
	c.mu.Lock()
	if c.dismissed == nil {
		c.dismissed = make(map[workerID]bool)
	}
	c.mu.Unlock()
	c.ledger.mu.Lock()
	if s := c.ledger.schedule; s != nil {
		for id := range s.workers {
			c.ledger.wake(watchKey{worker: id})
		}
	}
	c.ledger.mu.Unlock()
	tick := time.NewTicker(c.cfg.hold() / 20)
	defer tick.Stop()
	for {
		left := 0
		err := c.leading(func(s *schedule) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for id := range s.workers {
				if !c.dismissed[id] {
					left++
				}
			}
		})
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &Error{Op: "dismiss", Err: fmt.Errorf("%d workers were not told: %w", left, context.Cause(ctx))}
		}
	}
}

func (c *Coordinator) dismissing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dismissed != nil
}

// dismisses reports whether workers are being told to stop, and notes that this
// one has been.
func (c *Coordinator) dismisses(id workerID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dismissed == nil {
		return false
	}
	c.dismissed[id] = true
	return true
}
