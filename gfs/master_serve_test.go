package gfs

import (
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
