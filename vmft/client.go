package vmft

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// A Client calls a machine that runs on a group of nodes, wherever its primary is: it
// follows redirects, and goes on at the new primary after a fail-over. Its methods may be
// called concurrently.
type Client struct {
	rpc     *rpc.Client
	streams *streamDialer
	log     hclog.Logger
}

// Dial returns a client of the nodes at some addresses. It does not connect yet. The error
// names what is wrong with the configuration.
func Dial(t transport.Transport, addrs ...string) (*Client, error) {
	return NewClient(rpc.ClientConfig{Transport: t, Addrs: addrs})
}

// What a client with several addresses has where its configuration says nothing.
const (
	// DefaultPatience is how long a primary may give no sign of life before its calls are
	// tried at another node: long enough for a busy machine, and over before the backup
	// goes live. A wrong guess costs a connection.
	DefaultPatience = 150 * time.Millisecond
	// DefaultPause bounds the pauses between two attempts, while nobody is the primary.
	DefaultPause = 100 * time.Millisecond
)

// NewClient is Dial with all that an rpc client can be told, as a cluster's secret. Of a
// client with several addresses, Patience and Backoff.Max are by default [DefaultPatience]
// and [DefaultPause].
func NewClient(cfg rpc.ClientConfig) (*Client, error) {
	if len(cfg.Addrs) > 1 {
		setDefault(&cfg.Patience, DefaultPatience)
		setDefault(&cfg.Backoff.Max, max(DefaultPause, cfg.Backoff.Min))
	}
	c, err := rpc.NewClient(cfg)
	if err != nil {
		return nil, &Error{Op: "dial", Err: err}
	}
	log := cfg.Logger
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Client{c, newStreamDialer(c), log}, nil
}

// Call has the machine execute a command, exactly once, and returns its output. It tries
// until there is an answer or ctx ends; the error then says whether the command can have
// been executed (rpc.OutcomeOf). cmd is borrowed.
func (c *Client) Call(ctx context.Context, cmd []byte) ([]byte, error) {
	out, err := rpc.Call[blob](ctx, c.rpc.ExactlyOnce(), methodCall, &blob{cmd})
	if err != nil {
		return nil, &Error{Op: "call", Err: err}
	}
	return out.b, nil
}

// Query has the machine, which is a [Reader], answer a query, with all that had been
// acknowledged before the call. It tries until there is an answer or ctx ends.
func (c *Client) Query(ctx context.Context, query []byte) ([]byte, error) {
	out, err := rpc.Call[blob](ctx, c.rpc.AtLeastOnce(), methodQuery, &blob{query})
	if err != nil {
		return nil, &Error{Op: "query", Err: err}
	}
	return out.b, nil
}

// Close ends the client. Calls in progress fail, and streams break.
func (c *Client) Close() error {
	c.streams.close()
	return c.rpc.Close()
}
