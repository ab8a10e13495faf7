package transporttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A CA is a certificate authority for one test. Its certificates are valid from
// 1990 to 2100, so in synctest bubbles too, where it is 2000.
type CA struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
	pool *x509.CertPool
	last atomic.Int64 // the serial number given last
}

var (
	validFrom  = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// NewCA makes a certificate authority that nobody trusts but the Configs it makes.
func NewCA(t testing.TB) *CA {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &CA{key: private, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(ca.last.Add(1)),
		Subject:               pkix.Name{CommonName: "test authority"},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	ca.cert = ca.sign(t, template, template, public)
	ca.pool.AddCert(ca.cert)
	return ca
}

// Config returns the configuration of one party to mutual TLS 1.3, for servers and
// clients alike: it has a certificate for the names (host names or IP addresses;
// the first is the common name too) and demands one of the same authority from
// the other side.
func (ca *CA) Config(t testing.TB, names ...string) *tls.Config {
	t.Helper()
	if len(names) == 0 {
		t.Fatal("a certificate needs a name")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ca.last.Add(1)),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    validFrom,
		NotAfter:     validUntil,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	leaf := ca.sign(t, template, ca.cert, public)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: private, Leaf: leaf}},
		RootCAs:      ca.pool,
		ClientCAs:    ca.pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
}

func (ca *CA) sign(t testing.TB, template, parent *x509.Certificate, public ed25519.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
