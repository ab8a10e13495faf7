package rpc

import (
	"context"
	"crypto/rand"
	"errors"
)

// Log is the log that a Guard proposes to, of a machine that a process runs alone or a
// group of processes replicates. A *vmft.Node is one (package vmft of this module):
// with Peers that of a group, without that of one process, kept in a directory if its
// Config names one. Any other type with these methods will do; the example of Guard has
// a small one in memory.
type Log interface {
	// Lead blocks until this process may serve in a new epoch; term ends when it
	// no longer may.
	Lead(ctx context.Context) (term context.Context, epoch uint64, err error)
	// Propose returns once cmd is applied and its output released. An error that
	// has, somewhere in its tree, a method NotLogged() bool that returns true says
	// that cmd was not and never will be applied; any other leaves that open. With
	// or without an error, cmd is the caller's again.
	Propose(ctx context.Context, cmd []byte) (index uint64, out []byte, err error)
	// Confirm is the read barrier: whoever read the machine at or before index
	// may answer.
	Confirm(ctx context.Context) (index uint64, err error)
}

// A Guard proposes commands on behalf of exactly-once calls. Behind its log runs
// a SessionMachine, which executes the command of a call once however often it
// is proposed: the command, its result and the fact that it was executed are one
// entry of the log, so nothing can come between them, and whichever replica
// leads next knows them all.
//
// The handler of such a call must have no effect but through Propose, and call
// it once: it runs again when a request is repeated, and the machine tells the
// repetition. A Guard is the SessionHost of the server whose handlers use it. It
// may be used concurrently.
//
// With package vmft, the SessionMachine is the Machine of a vmft.Config and the Guard is
// NewGuard(node), of the *vmft.Node that vmft.Start returns.
type Guard struct{ log Log }

var _ SessionHost = (*Guard)(nil)

// NewGuard returns a Guard of a log whose machine is a SessionMachine.
func NewGuard(log Log) *Guard { return &Guard{log} }

// Propose proposes cmd for the call that ctx belongs to, and returns the output
// of the guarded machine. Within an exactly-once call it is executed once; in any
// other context, each time. A handler returns Propose's error as it is: it is
// marked with what it says of the outcome, so that clients retry rightly.
func (g *Guard) Propose(ctx context.Context, cmd []byte) (index uint64, out []byte, err error) {
	b := getBuffer(len(cmd) + maxRequestHead)
	defer b.free()
	if info, ok := CallFromContext(ctx); ok && info.Semantics == ExactlyOnce {
		b.b = AppendSessionCall(b.b, SessionCall{
			ID: info.Session, Seq: info.Seq, Watermark: info.Watermark, Hash: info.Hash,
		}, cmd)
	} else {
		b.b = AppendSessionPlain(b.b, cmd)
	}
	return g.propose(ctx, b.b)
}

func (g *Guard) propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	index, out, err := g.log.Propose(ctx, cmd)
	if err != nil {
		var n interface{ NotLogged() bool }
		if errors.As(err, &n) && n.NotLogged() {
			return 0, nil, Refuse(err)
		}
		return 0, nil, Uncertain(err)
	}
	result, err := ParseSessionOutput(out)
	return index, result, sessionAnswer(err)
}

// sessionAnswer marks a table's answer with what it says of the outcome.
func sessionAnswer(err error) error {
	if err == nil || outcomeOfHandler(err) != Executed {
		return err // none, or marked already
	}
	switch sessionOutcome(err) {
	case NotExecuted:
		return Refuse(err)
	case OutcomeUnknown:
		return Uncertain(err)
	}
	return err
}

// OpenSession proposes the opening of a session.
func (g *Guard) OpenSession(ctx context.Context) (id SessionID, err error) {
	var uuid [16]byte
	rand.Read(uuid[:]) // never fails
	_, out, err := g.propose(ctx, AppendSessionOpen(nil, uuid))
	if err != nil {
		return id, err
	}
	return id, id.UnmarshalBinary(out)
}

// AcknowledgeSession proposes a client's watermark.
func (g *Guard) AcknowledgeSession(ctx context.Context, id SessionID, watermark uint64) error {
	_, _, err := g.propose(ctx, AppendSessionAcknowledge(nil, id, watermark))
	return err
}

// CloseSession proposes the end of a session.
func (g *Guard) CloseSession(ctx context.Context, id SessionID) error {
	_, _, err := g.propose(ctx, AppendSessionClose(nil, id))
	return err
}

// execute runs the handler: the machine behind the log tells repetitions.
func (g *Guard) execute(sc *serverCall) error { return sc.handle() }
