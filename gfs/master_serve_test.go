package gfs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// Who shows a certificate is who that says, and no super user for want of a name.
func TestMasterIdentifies(t *testing.T) {
	m := &Master{cfg: MasterConfig{Superusers: []string{"", "root"}, Groups: map[string][]string{"ann": {"staff"}}}}
	shows := func(certs ...*x509.Certificate) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: certs}
	}
	for _, c := range []struct {
		peer   rpc.Peer
		user   string
		groups int
		super  bool
	}{
		{rpc.Peer{}, "", 0, true},
		{rpc.Peer{Node: "ann"}, "ann", 1, false},
		{rpc.Peer{Node: "root"}, "root", 0, true},
		{rpc.Peer{TLS: shows()}, "", 0, true}, // it was not asked for a certificate
		{rpc.Peer{TLS: shows(&x509.Certificate{})}, "", 0, false},
		{rpc.Peer{TLS: shows(&x509.Certificate{Subject: pkix.Name{CommonName: "ann"}})}, "ann", 1, false},
		{rpc.Peer{TLS: shows(&x509.Certificate{DNSNames: []string{"root", "x"}})}, "root", 0, true},
		{rpc.Peer{Node: "x", TLS: shows(&x509.Certificate{DNSNames: []string{"root", "x"}})}, "x", 0, false},
	} {
		if got := m.identify(&c.peer); got.user != c.user || got.super != c.super || len(got.groups) != c.groups {
			t.Errorf("%+v is %+v, want %q, super %v", c.peer, got, c.user, c.super)
		}
	}
}

// A log that does not open is an error of the start, and nothing else.
func TestMasterWhoseLogFails(t *testing.T) {
	disk := vfs.Inject(vfs.NewMemory(1), func(vfs.Call) vfs.Fault { return vfs.Fault{Err: fs.ErrPermission} })
	host := transporttest.NewNetwork(t, transport.NetworkConfig{}).Host("m")
	_, err := StartMaster(t.Context(), MasterConfig{Transport: host, Addr: ":1", Dir: "/gfs", FS: disk})
	if wrapped := new(Error); !errors.As(err, &wrapped) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the error is %v", err)
	}
}

// A standbyLog never lets anybody lead, and confirms nothing.
type standbyLog struct{}

func (standbyLog) Lead(ctx context.Context) (context.Context, uint64, error) {
	<-ctx.Done()
	return nil, 0, ctx.Err()
}
func (standbyLog) Propose(context.Context, []byte) (uint64, []byte, error) {
	return 0, nil, rpc.ErrUnavailable
}
func (standbyLog) Confirm(context.Context) (uint64, error) { return 0, rpc.ErrUnavailable }

// Whoever does not lead, or may not any more, does not say that there is no such file.
func TestMasterConfirmsThatThereIsNothing(t *testing.T) {
	host := transporttest.NewNetwork(t, transport.NetworkConfig{}).Host("m")
	m, err := StartMaster(t.Context(), MasterConfig{Transport: host, Addr: ":1", OpenLog: func(Machine) (Log, error) { return standbyLog{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, epoch := range []uint64{0, 1} {
		m.epoch.Store(epoch)
		ctx, errs := t.Context(), make(map[string]error)
		_, errs["stat"] = m.stat(ctx, &statReq{path: "x"})
		_, errs["lookup"] = m.lookup(ctx, &lookupReq{path: "x"})
		_, errs["readDir"] = m.readDir(ctx, &readDirReq{path: "x"})
		_, errs["usage"] = m.usage(ctx, &usageReq{path: "x"})
		_, errs["fsck"] = m.fsck(ctx, &fsckReq{path: "x"})
		for op, err := range errs {
			if errors.Is(err, fs.ErrNotExist) || !errors.Is(err, rpc.ErrUnavailable) {
				t.Errorf("epoch %d: %s says %v", epoch, op, err)
			}
		}
	}
}
