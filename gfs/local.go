package gfs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
)

// LocalConfig configures a Local. The zero value works.
type LocalConfig struct {
	// Dir is the directory of everything: started again on it, the file system has all
	// its files. Default none: everything is in memory, and lost with the process.
	Dir string
	// Hosts are those of the chunkservers in the network in memory, one on each. As many
	// as that are there: at the least as many as chunks are to have replicas. Default
	// chunkserver-0 to chunkserver-2.
	Hosts []string
	// Master and Client say what the master and the client do, beyond where they are and
	// what they keep it in. Master.Replication is by default, at first, the number of
	// chunkservers if that is less than DefaultReplication.
	Master MasterConfig
	Client ClientConfig
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger
}

// A Local is a whole cluster in this process: a master, chunkservers and a client on a
// network in memory. It keeps data as any cluster does, from the loss of the directories
// of chunkservers and from crashes of the process, but not from the loss of the machine.
type Local struct {
	master *Master
	client *Client

	close   func() error
	closers []func() error // to be called in the opposite order
}

// StartLocal starts a cluster in this process. ctx bounds the start only.
func StartLocal(ctx context.Context, cfg LocalConfig) (*Local, error) {
	if cfg.Hosts == nil {
		for i := range DefaultReplication {
			cfg.Hosts = append(cfg.Hosts, fmt.Sprintf("chunkserver-%d", i))
		}
	}
	if len(cfg.Hosts) == 0 {
		return nil, configError("start", "LocalConfig.Hosts", "is empty")
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	l := &Local{}
	l.close = sync.OnceValue(func() error {
		var err error
		for i := len(l.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, l.closers[i]())
		}
		return err
	})
	if err := l.start(ctx, &cfg); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// start starts the parts.
func (l *Local) start(ctx context.Context, cfg *LocalConfig) error {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		return &Error{Op: "start", Err: err}
	}
	l.closers = append(l.closers, network.Close)
	mc := cfg.Master
	mc.Transport, mc.Addr, mc.Logger = network.Host("master"), "master:1", cfg.Logger.Named("master")
	if mc.Replication == 0 && len(cfg.Hosts) < DefaultReplication {
		mc.Replication = len(cfg.Hosts)
	}
	if cfg.Dir != "" {
		mc.Dir = filepath.Join(cfg.Dir, "master")
	}
	if l.master, err = StartMaster(ctx, mc); err != nil {
		return err
	}
	l.closers = append(l.closers, l.master.Close)
	for i, host := range cfg.Hosts {
		sc := ChunkserverConfig{
			Transport: network.Host(host), Addr: host + ":1", Masters: []string{l.master.Addr()}, Cluster: mc.Cluster, Secret: mc.Secret,
			Dir: filepath.Join(cfg.Dir, host), Logger: cfg.Logger.Named(host),
		}
		if cfg.Dir == "" {
			sc.FS, sc.Dir = vfs.NewMemory(uint64(i)), "/"+host
		}
		server, err := StartChunkserver(ctx, sc)
		if err != nil {
			return err
		}
		l.closers = append(l.closers, server.Close)
	}
	cc := cfg.Client
	cc.Transport, cc.Masters, cc.Cluster, cc.Secret, cc.Logger = network.Host("client"), []string{l.master.Addr()}, mc.Cluster, mc.Secret, cfg.Logger.Named("client")
	if l.client, err = Dial(ctx, cc); err != nil {
		return err
	}
	l.closers = append(l.closers, l.client.Close)
	return nil
}

// Client returns the cluster's client, which ends with it.
func (l *Local) Client() *Client { return l.client }

// Master returns the cluster's master, whose StatusHandler shows how it is doing.
func (l *Local) Master() *Master { return l.master }

// Close ends the cluster. It is idempotent. Files that are open are closed before, or what
// they have not written is lost.
func (l *Local) Close() error { return l.close() }
