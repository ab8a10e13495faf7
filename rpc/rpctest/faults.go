package rpctest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// ErrInjected is matched by every error that stands for a fault, on both sides
// of the wire.
const ErrInjected = rpc.Code("rpctest: injected fault")

// Config says what goes wrong, and how often. The zero value does nothing.
type Config struct {
	// Seed is what every verdict follows from. Default 0, a seed like others.
	Seed uint64
	// Methods are those whose calls are disturbed. Default: all, those by which
	// clients manage their sessions among them.
	Methods []string

	// The probabilities of the faults, from 0 to 1, for each attempt (on a server:
	// each request). Several can meet in one attempt. Default 0.
	DropRequest float64
	DropReply   float64
	Duplicate   float64
	Delay       float64 // half of the delays come before the call, half after it

	// MaxDelay bounds a delay, which is uniform from 0. Default 100 ms.
	MaxDelay time.Duration
	// Guarded tells that the handlers of exactly-once calls may be run twice,
	// since all they do is to propose to an rpc.Guard. Default false.
	Guarded bool
}

func (c *Config) validate() error {
	for _, p := range []struct {
		field string
		v     float64
	}{{"DropRequest", c.DropRequest}, {"DropReply", c.DropReply}, {"Duplicate", c.Duplicate}, {"Delay", c.Delay}} {
		if !(p.v >= 0 && p.v <= 1) {
			return fmt.Errorf("rpctest: Config.%s is %v; it must be from 0 to 1", p.field, p.v)
		}
	}
	if c.MaxDelay < 0 {
		return fmt.Errorf("rpctest: Config.MaxDelay is %v", c.MaxDelay)
	}
	return nil
}

// Counts are how often each fault has taken place.
type Counts struct {
	Attempts        uint64 // that were looked at, disturbed or not
	DroppedRequests uint64
	DroppedReplies  uint64
	Duplicates      uint64
	Delays          uint64
}

// Faults makes calls go wrong. Its methods may be called concurrently, and by
// the interceptors of any number of clients and servers.
type Faults struct {
	cfg     Config
	methods map[string]bool // nil: all
	off     atomic.Bool

	mu     sync.Mutex // guards what follows
	seen   map[place]uint64
	counts Counts
}

// A place is where attempts are numbered.
type place struct {
	side   side
	method string
}

type side byte

const (
	clientSide side = 'c'
	serverSide side = 's'
)

// The interceptors are methods.
var (
	_ rpc.ClientInterceptor = (*Faults)(nil).Client
	_ rpc.ServerInterceptor = (*Faults)(nil).Server
)

// New returns Faults. An error names the field of cfg that is wrong.
func New(cfg Config) (*Faults, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.MaxDelay == 0 {
		cfg.MaxDelay = 100 * time.Millisecond
	}
	f := &Faults{cfg: cfg, seen: make(map[place]uint64)}
	for _, m := range cfg.Methods {
		if f.methods == nil {
			f.methods = make(map[string]bool)
		}
		f.methods[m] = true
	}
	return f, nil
}

// Stop ends the faults: from now on, calls pass. Their numbers go on.
func (f *Faults) Stop() { f.off.Store(true) }

// Counts returns what has happened so far.
func (f *Faults) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// Client is the interceptor of clients.
func (f *Faults) Client(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	v := f.judge(clientSide, inv, inv.Semantics == rpc.AtMostOnce)
	if err := v.before(ctx); err != nil {
		return &rpc.Error{Op: "call", Method: inv.Method, Outcome: rpc.NotExecuted, Err: err}
	}
	if v.dropRequest {
		return unknown(inv, "the request was lost")
	}
	err := next(ctx)
	if v.duplicate && rpc.OutcomeOf(err) != rpc.NotExecuted {
		f.count(func(c *Counts) { c.Duplicates++ })
		err = next(ctx)
	}
	if late := v.after(ctx); late != nil {
		return late
	}
	if v.dropReply {
		return unknown(inv, "the reply was lost")
	}
	return err
}

// unknown is the error of an attempt of which the client has heard nothing.
func unknown(inv *rpc.Invocation, what string) error {
	return &rpc.Error{
		Op: "call", Method: inv.Method, Outcome: rpc.OutcomeUnknown,
		Err: fmt.Errorf("%w: %s", ErrInjected, what),
	}
}

// Server is the interceptor of servers.
func (f *Faults) Server(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	once := inv.Semantics == rpc.AtMostOnce || inv.Semantics == rpc.ExactlyOnce && !f.cfg.Guarded
	v := f.judge(serverSide, inv, once)
	if err := v.before(ctx); err != nil {
		return rpc.Refuse(err)
	}
	if v.dropRequest {
		return rpc.Refuse(fmt.Errorf("%w: the request was lost", ErrInjected))
	}
	err := next(ctx)
	if v.duplicate {
		f.count(func(c *Counts) { c.Duplicates++ })
		err = next(ctx)
	}
	if late := v.after(ctx); late != nil {
		return rpc.Uncertain(errors.Join(late, err))
	}
	if v.dropReply {
		return rpc.Uncertain(fmt.Errorf("%w: the reply was lost", ErrInjected))
	}
	return err
}

func (f *Faults) count(add func(*Counts)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add(&f.counts)
}

// A verdict is what happens to one attempt.
type verdict struct {
	dropRequest, dropReply, duplicate bool
	delayBefore, delayAfter           time.Duration
}

// judge passes the verdict on the next attempt of a method, and counts all of it
// but the repetition, which may not come to pass.
func (f *Faults) judge(s side, inv *rpc.Invocation, once bool) (v verdict) {
	if f.methods != nil && !f.methods[inv.Method] {
		return v
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := place{s, inv.Method}
	f.seen[at]++
	f.counts.Attempts++
	if f.off.Load() {
		return v
	}
	h := func(fault string) float64 { return f.hash(at, f.seen[at], fault) }
	v.dropRequest = h("drop request") < f.cfg.DropRequest
	// A stream goes on after the call that opens it: that call has no second try.
	v.dropReply = h("drop reply") < f.cfg.DropReply && !v.dropRequest && !inv.Stream
	v.duplicate = h("duplicate") < f.cfg.Duplicate && !v.dropRequest && !inv.Stream && !once
	if h("delay") < f.cfg.Delay {
		delay := time.Duration(h("for how long") * float64(f.cfg.MaxDelay))
		if h("before or after") < 0.5 {
			v.delayBefore = delay
		} else if !inv.Stream && !v.dropRequest {
			v.delayAfter = delay
		}
	}
	if v.delayBefore > 0 || v.delayAfter > 0 {
		f.counts.Delays++
	}
	if v.dropRequest {
		f.counts.DroppedRequests++
	}
	if v.dropReply {
		f.counts.DroppedReplies++
	}
	return v
}

// hash returns a number from 0 to below 1.
func (f *Faults) hash(at place, n uint64, fault string) float64 {
	h := fnv.New64a()
	var b [17]byte
	binary.LittleEndian.PutUint64(b[:], f.cfg.Seed)
	binary.LittleEndian.PutUint64(b[8:], n)
	b[16] = byte(at.side)
	h.Write(b[:])
	h.Write([]byte(at.method))
	h.Write([]byte{0})
	h.Write([]byte(fault))
	x := h.Sum64() // FNV mixes its high bits little: finish as splitmix64 does
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) * math.Pow(2, -53)
}

func (v *verdict) before(ctx context.Context) error { return wait(ctx, v.delayBefore) }
func (v *verdict) after(ctx context.Context) error  { return wait(ctx, v.delayAfter) }

// wait lets d pass, or returns why ctx has ended.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
