package vmft

import (
	"context"
	"errors"
	"fmt"

	"github.com/trilith-go/trilith/rpc"
)

// Lead blocks until this node is the primary, in an epoch that has not been told; term ends
// when it is no longer, and its cause says why. ctx governs the wait alone. An epoch is
// greater than every one before it, on any node.
func (n *Node) Lead(ctx context.Context) (term context.Context, epoch uint64, err error) {
	for {
		n.mu.Lock()
		moved, ended := n.moved, n.err
		if ended == nil && n.ctx.Err() != nil {
			ended = context.Cause(n.ctx)
		}
		l := n.leading.Load()
		if ended == nil && l != nil && l.term.Err() == nil && l.epoch > n.told {
			n.told = l.epoch
			n.mu.Unlock()
			return l.term, l.epoch, nil
		}
		n.mu.Unlock()
		if ended != nil {
			return nil, 0, &Error{Op: "lead", Addr: n.addr, Err: ended}
		}
		select {
		case <-moved:
		case <-n.ctx.Done():
		case <-ctx.Done():
			return nil, 0, &Error{Op: "lead", Addr: n.addr, Err: causeOf(ctx)}
		}
	}
}

// Propose returns once cmd is applied and its output released. cmd is borrowed until it
// returns; the output is the caller's. It blocks while too much is in progress. The error
// is an *Error that matches ErrNotLogged or ErrUnknown, and its cause: ErrNotPrimary,
// ErrFenced, ErrTooLarge, ErrClosed, ErrFailed, or that of ctx.
func (n *Node) Propose(ctx context.Context, cmd []byte) (index uint64, out []byte, err error) {
	if n.host.free != nil {
		return 0, nil, n.notLogged(ErrNoCommand)
	}
	return n.propose(ctx, kindCommand, cmd)
}

func (n *Node) propose(ctx context.Context, kind byte, cmd []byte) (index uint64, out []byte, err error) {
	if len(cmd) > n.cfg.MaxCommand {
		return 0, nil, n.notLogged(fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(cmd), n.cfg.MaxCommand))
	}
	l := n.leading.Load()
	if l == nil {
		return 0, nil, n.notLogged(n.elsewhere())
	}
	return l.propose(ctx, kind, cmd)
}

// Confirm is the read barrier: whoever read the machine at or before index, in particular
// whoever read it before calling Confirm, may answer.
func (n *Node) Confirm(ctx context.Context) (index uint64, err error) {
	l := n.leading.Load()
	if l == nil {
		return 0, &Error{Op: "confirm", Addr: n.addr, Err: n.elsewhere()}
	}
	if err = l.stamped(ctx); err == nil {
		index, err = l.confirm(ctx)
	}
	if err != nil {
		return 0, &Error{Op: "confirm", Addr: n.addr, Err: err}
	}
	return index, nil
}

func (n *Node) notLogged(err error) error {
	return &Error{Op: "propose", Addr: n.addr, Outcome: ErrNotLogged, Err: err}
}

// elsewhere returns the error of a node that is not the primary, which rpc clients follow.
func (n *Node) elsewhere() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.err != nil:
		return n.err
	case n.ctx.Err() != nil:
		return context.Cause(n.ctx)
	}
	if addr := n.newest.Primary.Addr; addr != "" && addr != n.addr {
		return errors.Join(ErrNotPrimary, rpc.RedirectTo(addr))
	}
	return errors.Join(ErrNotPrimary, rpc.RedirectTo())
}
