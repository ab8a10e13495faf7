package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// clusterFlags are the flags that all roles have: how the processes of a cluster
// find and trust one another.
type clusterFlags struct {
	id         string
	secretFile string
	cert, key  string
	ca         string
	level      string
}

func (c *clusterFlags) define(f *flag.FlagSet) {
	f.StringVar(&c.id, "cluster", "", "the cluster's `name`; processes of clusters with other names are refused")
	f.StringVar(&c.secretFile, "secret-file", "", "the `file` with the cluster's secret, which keeps strangers out")
	f.StringVar(&c.cert, "cert", "", "speak TLS, with the certificate in this PEM `file`")
	f.StringVar(&c.key, "key", "", "the private key of -cert, a PEM `file`")
	f.StringVar(&c.ca, "ca", "", "speak TLS, and trust those whose certificates the authorities in this PEM `file` have signed; with -cert, demand such a certificate of whoever connects (default: the system's authorities)")
	f.StringVar(&c.level, "log", "warn", "log to standard error from this `level` on: trace (every call of a gfs), debug, info, warn, error or off")
}

// cluster is what the flags mean.
type cluster struct {
	id        string
	secret    []byte
	transport transport.Transport
	logger    hclog.Logger
}

// open reads the files that the flags name. serves says that the role listens.
func (c *clusterFlags) open(role string, serves bool, out output) (*cluster, error) {
	opened := &cluster{id: c.id, transport: &transport.TCP{}}
	level := hclog.LevelFromString(c.level)
	if level == hclog.NoLevel {
		return nil, local.BadUsage("-log is %q, not trace, debug, info, warn, error or off", c.level)
	}
	opened.logger = hclog.New(&hclog.LoggerOptions{Name: role, Level: level, Output: out.stderr})
	if c.secretFile != "" {
		secret, err := os.ReadFile(c.secretFile)
		if err != nil {
			return nil, fmt.Errorf("-secret-file: %w", err)
		}
		if opened.secret = bytes.TrimSpace(secret); len(opened.secret) == 0 {
			return nil, fmt.Errorf("-secret-file: %s has nothing in it", c.secretFile)
		}
	}
	config, err := c.tls(serves)
	if err != nil {
		return nil, err
	}
	if config != nil {
		opened.transport = transport.TLS(opened.transport, config)
	}
	return opened, nil
}

// tls returns the configuration of TLS, or nil where there is none.
func (c *clusterFlags) tls(serves bool) (*tls.Config, error) {
	switch {
	case (c.cert == "") != (c.key == ""):
		return nil, local.BadUsage("-cert and -key go together")
	case c.cert == "" && c.ca == "":
		return nil, nil
	case c.cert == "" && serves:
		return nil, local.BadUsage("-ca is not enough to be connected to: -cert and -key are missing")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("-cert %s, -key %s: %w", c.cert, c.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if c.ca != "" {
		text, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("-ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("-ca: %s holds no certificate in PEM", c.ca)
		}
		config.RootCAs, config.ClientCAs = pool, pool
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// clientFlags are those of the roles that talk to a coordinator.
type clientFlags struct {
	clusterFlags
	coordinators string
}

func (c *clientFlags) define(f *flag.FlagSet) {
	c.clusterFlags.define(f)
	f.StringVar(&c.coordinators, "coordinator", "", "the `address` of the coordinator, host:port; several, separated by commas, if any of them may lead (required)")
}

// addrs returns the addresses of the coordinators.
func (c *clientFlags) addrs() ([]string, error) {
	if c.coordinators == "" {
		return nil, local.BadUsage("-coordinator is missing: the address of the coordinator, host:port")
	}
	return strings.Split(c.coordinators, ","), nil
}

// client returns a client of the coordinator.
func (c *clientFlags) client(role string, out output) (*mapreduce.Client, error) {
	addrs, err := c.addrs()
	if err != nil {
		return nil, err
	}
	cl, err := c.open(role, false, out)
	if err != nil {
		return nil, err
	}
	return mapreduce.NewClient(mapreduce.ClientConfig{
		Transport: cl.transport, Coordinators: addrs, Cluster: cl.id, Secret: cl.secret, Logger: cl.logger,
	})
}

// rootFlag is where the files of jobs are.
type rootFlag struct {
	dir string
	gfs string
}

func (r *rootFlag) define(f *flag.FlagSet) {
	f.StringVar(&r.dir, "root", ".", "the `directory` of input and output, the same for the coordinator and all workers")
	f.StringVar(&r.gfs, "gfs", "", "input and output are in the gfs whose master is at this `address`, not in a directory; several addresses are separated by commas")
}

// open returns the files. host is where this process is.
func (r *rootFlag) open(ctx context.Context, cl *cluster, host string) (files mapreduce.FileSystem, closeFiles func(), err error) {
	if r.gfs != "" {
		client, err := cl.dial(ctx, gfs.ClientConfig{Masters: strings.Split(r.gfs, ","), Host: host}, dialTimeout)
		if err != nil {
			return nil, nil, fmt.Errorf("-gfs: %w", err)
		}
		return client.Files(), func() { _ = client.Close() }, nil
	}
	info, err := os.Stat(r.dir)
	if err == nil && !info.IsDir() {
		err = errors.New(r.dir + " is not a directory")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("-root: %w", err)
	}
	return mapreduce.Dir(r.dir), func() {}, nil
}

// dialTimeout is how long a gfs master is waited for.
const dialTimeout = 10 * time.Second

// dial returns a client of a gfs, whose master has to answer within a time.
func (c *cluster) dial(ctx context.Context, cfg gfs.ClientConfig, within time.Duration) (*gfs.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cfg.Transport, cfg.Cluster, cfg.Secret, cfg.Logger = c.transport, c.id, c.secret, c.logger
	return gfs.Dial(ctx, cfg)
}

// addresses takes the value of a flag apart that names addresses, separated by commas.
func addresses(name, list string) ([]string, error) {
	all := strings.Split(list, ",")
	for _, addr := range all {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return nil, local.BadUsage("-%s is %q: %q is not host:port", name, list, addr)
		}
	}
	return all, nil
}

// hostOf returns the host of an address, or "" if that is none or any.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip != nil && ip.IsUnspecified() {
		return ""
	}
	return host
}

// listFlag is a flag of several values, separated by commas.
type listFlag []string

func (l *listFlag) String() string { return strings.Join(*l, ",") }

func (l *listFlag) Set(text string) error {
	*l = strings.Split(text, ",")
	return nil
}
