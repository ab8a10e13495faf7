package mapreduce

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// ClientConfig configures a Client. Transport and Coordinators are required.
type ClientConfig struct {
	// Transport dials, and Coordinators are the addresses to dial: of one
	// coordinator, or of several of which one leads.
	Transport    transport.Transport
	Coordinators []string
	// Cluster and Secret are as in rpc.ClientConfig.
	Cluster string
	Secret  []byte
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger
}

// Client submits jobs to a coordinator and waits for them. It may be used by any
// number of goroutines. All its calls are repeated until they get through or
// their context ends, also while a coordinator is restarted.
type Client struct {
	rpc *rpc.Client
}

// NewClient returns a client, which connects when it is used.
func NewClient(cfg ClientConfig) (*Client, error) {
	missing := func(field string) (*Client, error) {
		return nil, &Error{Op: "new client", Err: fmt.Errorf("%w: ClientConfig.%s is missing", ErrConfig, field)}
	}
	switch {
	case cfg.Transport == nil:
		return missing("Transport")
	case len(cfg.Coordinators) == 0:
		return missing("Coordinators")
	}
	c, err := rpc.NewClient(rpc.ClientConfig{
		Transport: cfg.Transport, Addrs: cfg.Coordinators, Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, &Error{Op: "new client", Err: fmt.Errorf("%w: %w", ErrConfig, err)}
	}
	return &Client{rpc: c}, nil
}

// Close closes the client. Jobs go on.
func (c *Client) Close() error { return c.rpc.Close() }

// Submit submits a run of the job with that name and returns when the coordinator
// has logged it. However often the request has to be repeated, it is one job.
func (c *Client) Submit(ctx context.Context, job string, spec Spec) (JobID, error) {
	spec = spec.withDefaults()
	fail := func(err error) (JobID, error) { return 0, &Error{Op: "submit", Job: job, Err: err} }
	if err := spec.validate(); err != nil {
		return fail(err)
	}
	resp, err := rpc.Call[submitResp](ctx, c.rpc.AtLeastOnce(), methodSubmit, &submitReq{token: newToken(), name: job, spec: spec})
	if err != nil {
		return fail(err)
	}
	return resp.id, nil
}

// Status returns how a job is doing.
func (c *Client) Status(ctx context.Context, id JobID) (*JobStatus, error) {
	return c.ask(ctx, id, 0)
}

func (c *Client) ask(ctx context.Context, id JobID, hold time.Duration) (*JobStatus, error) {
	resp, err := rpc.Call[statusResp](ctx, c.rpc.AtLeastOnce(), methodStatus, &statusReq{id: id, hold: hold})
	if err != nil {
		return nil, &Error{Op: "ask for the status", On: fmt.Sprintf("job %d", id), Err: err}
	}
	return &resp.status, nil
}

// Jobs returns how all jobs are doing, in the order in which they were submitted:
// those that have not ended, and the last few hundred that have.
func (c *Client) Jobs(ctx context.Context) ([]JobStatus, error) {
	resp, err := rpc.Call[jobsResp](ctx, c.rpc.AtLeastOnce(), methodJobs, &rpc.Empty{})
	if err != nil {
		return nil, &Error{Op: "list jobs", Err: err}
	}
	return resp.jobs, nil
}

// Wait blocks until a job has ended and returns its result; the error matches
// ErrJobFailed, ErrCanceled or ErrAborted if it has not succeeded. A job that was
// aborted is submitted again, as often as its Spec.Resubmits allows, and Wait waits
// for the one in its place. That ctx ends does not end the job.
func (c *Client) Wait(ctx context.Context, id JobID) (*Result, error) {
	for {
		status, err := c.ask(ctx, id, maxHold)
		if err != nil {
			return nil, err
		}
		switch err := status.err(); {
		case status.Successor != 0:
			id = status.Successor
		case status.State == JobAborted && status.Resubmits > 0:
			if id, err = c.Resubmit(ctx, id); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case status.State == JobSucceeded:
			return status.result(), nil
		}
	}
}

// Resubmit submits a job again that was aborted, and returns the number of the job
// that takes its place. However often it is called for a job, and by whom, there is
// one. The error matches ErrAborted if Spec.Resubmits allows no more.
func (c *Client) Resubmit(ctx context.Context, id JobID) (JobID, error) {
	resp, err := rpc.Call[submitResp](ctx, c.rpc.AtLeastOnce(), methodResubmit, &resubmitReq{id: id})
	if err != nil {
		return 0, &Error{Op: "submit again", On: fmt.Sprintf("job %d", id), Err: err}
	}
	return resp.id, nil
}

// Cancel ends a job that runs, or the one that is in its place since it was aborted.
// Its Wait fails with ErrCanceled and the reason.
func (c *Client) Cancel(ctx context.Context, id JobID, reason string) error {
	if _, err := rpc.Call[rpc.Empty](ctx, c.rpc.AtLeastOnce(), methodCancel, &cancelReq{id: id, reason: reason}); err != nil {
		return &Error{Op: "cancel", On: fmt.Sprintf("job %d", id), Err: err}
	}
	return nil
}

// tokenBytes is how random a token is.
const tokenBytes = 12

// newToken returns what nobody else has returned or will.
func newToken() string {
	b := make([]byte, tokenBytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// validToken reports whether a peer's token is one: it becomes a part of names.
func validToken(token string) bool {
	b, err := hex.DecodeString(token)
	return err == nil && len(b) == tokenBytes
}
