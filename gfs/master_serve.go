package gfs

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// handle registers the methods. A shadow has those that read, and those by which
// chunkservers tell where things are.
func (m *Master) handle() {
	rpc.Handle(m.server, methodStat, m.stat)
	rpc.Handle(m.server, methodLookup, m.lookup)
	rpc.Handle(m.server, methodReadDir, m.readDir)
	rpc.Handle(m.server, methodUsage, m.usage)
	rpc.Handle(m.server, methodFsck, m.fsck)
	rpc.Handle(m.server, methodServers, m.servers)
	rpc.Handle(m.server, methodCluster, m.cluster)
	rpc.Handle(m.server, methodRegister, m.register)
	rpc.Handle(m.server, methodReport, m.report)
	rpc.Handle(m.server, methodHeartbeat, m.heartbeat)
	rpc.HandleStream(m.server, methodTail, m.tail)
	handleMutation(m, methodCreate, m.create)
	handleMutation(m, methodMkdir, m.mkdir)
	handleMutation(m, methodRemove, m.remove)
	handleMutation(m, methodRestore, m.undelete)
	handleMutation(m, methodRename, m.rename)
	handleMutation(m, methodCopy, m.snapshot)
	handleMutation(m, methodSetAttr, m.setAttr)
	handleMutation(m, methodPolicy, m.setPolicy)
	handleMutation(m, methodGrant, m.grant)
	handleMutation(m, methodBad, m.reportBad)
	handleMutation(m, methodDrain, m.drain)
	handleMutation(m, methodReform, m.reform)
}

// handleMutation registers a method that only a master which leads serves.
func handleMutation[Req, Resp any](m *Master, name string, h func(ctx context.Context, req *Req) (*Resp, error)) {
	rpc.Handle(m.server, name, func(ctx context.Context, req *Req) (*Resp, error) {
		if m.log == nil {
			return nil, ErrReadOnly
		}
		if m.epoch.Load() == 0 {
			return nil, errNotLeading
		}
		return h(ctx, req)
	})
}

// errNotLeading makes callers try again, here or elsewhere.
var errNotLeading = rpc.Refuse(fmt.Errorf("%w: the master does not lead at present", rpc.ErrUnavailable))

// who is the client that a call came from.
func (m *Master) who(ctx context.Context) identity {
	peer, _ := rpc.PeerFromContext(ctx)
	return m.identify(&peer)
}

// identify says who a peer is: whoever its certificate says or, without one, whoever it
// says itself. A certificate that bears no name makes nobody a super user.
func (m *Master) identify(peer *rpc.Peer) identity {
	user, certified := peer.Node, false
	if peer.TLS != nil && len(peer.TLS.PeerCertificates) > 0 {
		certified = true
		if user == "" { // a name that it has given is in the certificate
			user = certificateName(peer.TLS.PeerCertificates[0])
		}
	}
	super := slices.Contains(m.cfg.Superusers, user) && (user != "" || !certified)
	return identity{user: user, groups: m.cfg.Groups[user], super: super}
}

// certificateName returns the name of whom a certificate is about.
func certificateName(cert *x509.Certificate) string {
	if cert.Subject.CommonName == "" && len(cert.DNSNames) > 0 {
		return cert.DNSNames[0]
	}
	return cert.Subject.CommonName
}

// confirm waits until what was read is safe to tell, and whether this master may still
// tell it. A shadow tells what it has.
func (m *Master) confirm(ctx context.Context) error {
	if m.log == nil {
		if m.applied.Load() == 0 {
			return rpc.Refuse(fmt.Errorf("%w: the shadow has not reached its master yet", rpc.ErrUnavailable))
		}
		return nil
	}
	if m.epoch.Load() == 0 {
		return errNotLeading
	}
	if _, err := m.log.Confirm(ctx); err != nil {
		return rpc.Refuse(err)
	}
	return nil
}

// confirmed returns err, which is what a read has come to, if that may be told: whoever
// does not lead any more, or not yet, must not say that there is no such file.
func (m *Master) confirmed(ctx context.Context, err error) error {
	if own := m.confirm(ctx); own != nil {
		return own
	}
	return err
}

// poke makes the master look whether there is something to do.
func (m *Master) poke() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// wallClock is the time of day that a command bears, in nanoseconds since 1970.
func wallClock() int64 { return time.Now().UnixNano() }
