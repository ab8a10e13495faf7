package vmft

import (
	"context"
	"errors"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// serveFollow answers a node that wants to follow this one.
func (n *Node) serveFollow(ctx context.Context, req *followReq, st *rpc.Stream) error {
	l := n.leading.Load()
	if l == nil || l.term.Err() != nil {
		// Without a word of who is: a spare asks all nodes, and must not find that one instead of
		// this when it has stopped and this has taken its place.
		return rpc.Refuse(ErrNotPrimary)
	}
	return l.serve(ctx, req, st)
}

// blob is a message of bytes.
type blob struct{ b []byte }

// AppendBinary implements encoding.BinaryAppender.
func (m *blob) AppendBinary(dst []byte) ([]byte, error) { return append(dst, m.b...), nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (m *blob) UnmarshalBinary(b []byte) error {
	m.b = append([]byte(nil), b...)
	return nil
}

// calls is the log of the duplicate table: what clients call.
type calls struct{ n *Node }

var _ rpc.Log = calls{}

// Lead implements rpc.Log.
func (c calls) Lead(ctx context.Context) (context.Context, uint64, error) { return c.n.Lead(ctx) }

// Propose implements rpc.Log.
func (c calls) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	return c.n.propose(ctx, kindCall, cmd)
}

// Confirm implements rpc.Log.
func (c calls) Confirm(ctx context.Context) (uint64, error) { return c.n.Confirm(ctx) }

// serveCall executes a client's command.
func (n *Node) serveCall(ctx context.Context, req *blob) (*blob, error) {
	if n.host.free != nil {
		return nil, rpc.Refuse(ErrNoCommand)
	}
	_, out, err := n.guard.Propose(ctx, req.b)
	if err != nil {
		return nil, err
	}
	return &blob{out}, nil
}

// serveQuery answers a client's query.
func (n *Node) serveQuery(ctx context.Context, req *blob) (*blob, error) {
	r, ok := n.cfg.Machine.(Reader)
	if !ok {
		return nil, rpc.Refuse(ErrNoQuery)
	}
	if n.leading.Load() == nil {
		return nil, rpc.Refuse(n.elsewhere())
	}
	out, err := r.Query(req.b, nil)
	if err != nil {
		return nil, err
	}
	if _, err := n.Confirm(ctx); err != nil {
		return nil, rpc.Refuse(errors.Join(err, rpc.ErrUnavailable)) // it has had no effect: it can be asked elsewhere
	}
	return &blob{out}, nil
}

// client returns the client of a peer.
func (n *Node) client(addr string) (*rpc.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.clients[addr]; c != nil {
		return c, nil
	}
	c, err := rpc.NewClient(rpc.ClientConfig{
		Transport: n.cfg.Transport, Addrs: []string{addr}, Cluster: n.cfg.Cluster, Secret: n.cfg.Secret,
		Limits: n.cfg.Limits, Logger: n.cfg.Logger, DialTimeout: max(n.cfg.Timeout, time.Second),
	})
	if err == nil {
		n.clients[addr] = c
	}
	return c, err
}

// refused takes note of why a peer does not want to be followed.
func (n *Node) refused(addr string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if errors.Is(err, ErrFingerprint) && n.refusals[addr] != text {
		n.cfg.Logger.Error("refused", "primary", addr, "error", err)
	}
	n.refusals[addr] = text
}

// tell tells the former follower of the record that follows; it may be its own.
func (n *Node) tell(r Record, s *session) {
	if s == nil {
		return
	}
	b, _ := r.AppendBinary(nil)                         // never fails
	_, _ = s.st.Write(appendFrame(nil, frameRecord, b)) // it finds out by itself, later
}

// well reports whether nothing on this node hangs.
func (n *Node) well(now time.Time) bool {
	if n.cfg.planted.freshOld {
		return true
	}
	since := func(nanos int64) time.Time {
		if nanos == 0 {
			return time.Time{}
		}
		return time.Unix(0, nanos)
	}
	var disk, machine int64
	if l := n.leading.Load(); l != nil {
		machine = l.busy.Load()
		if l.store != nil {
			disk = l.store.busy.Load()
		}
	} else {
		n.mu.Lock()
		f := n.follower
		n.mu.Unlock()
		if f != nil {
			machine = f.busy.Load()
			f.mu.Lock()
			if !f.installing && n.store != nil {
				disk = n.store.busy.Load()
			}
			f.mu.Unlock()
		}
	}
	return vitals{stall: n.cfg.Stall}.well(now, since(disk), since(machine))
}

// role returns the session that the node's signs of life are for, and whether it is the
// primary of it.
func (n *Node) role() (session ID, primary bool) {
	if l := n.leading.Load(); l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.session != nil {
			session = l.session.id
		}
		return session, true
	}
	n.mu.Lock()
	f := n.follower
	n.mu.Unlock()
	if f == nil {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.core.sign(), false
}

// beat has a sign of life go over the stream, and returns what one by packet is for.
func (n *Node) beat() (session ID, primary bool) {
	session, primary = n.role()
	if session == 0 {
		return 0, primary
	}
	if l := n.leading.Load(); l != nil {
		l.mu.Lock()
		if l.session != nil {
			l.session.beat = true
			l.session.wake()
		}
		l.mu.Unlock()
		return session, primary
	}
	n.mu.Lock()
	f := n.follower
	n.mu.Unlock()
	if f != nil {
		f.mu.Lock()
		st := f.st
		f.mu.Unlock()
		if st != nil && f.beating.CompareAndSwap(false, true) {
			go func() { // a stream can stand still
				defer f.beating.Store(false)
				if _, err := st.Write(appendFrame(nil, frameBeat)); err == nil {
					_ = f.acknowledge(true) // the receiver sees that the stream is broken
				}
			}()
		}
	}
	return session, primary
}

// tick does what is to be done now and then.
func (n *Node) tick(now time.Time) {
	n.sample(now)
	l := n.leading.Load()
	if l == nil {
		return
	}
	l.mu.Lock()
	paired := l.session != nil && !l.core.record.Backup.IsZero()
	if paired && now.Sub(l.looked) >= paceEvery {
		l.looked = now
		l.lag = l.pace.lag(l.applied, now)
		l.pace.look(max(l.lag, l.flight.lag(l.applied)))
	}
	due := paired && n.cfg.CheckEvery > 0 && l.comparison.due(l.session, now, n.cfg.CheckEvery)
	l.mu.Unlock()
	if due {
		l.do(l.check)
	}
}
