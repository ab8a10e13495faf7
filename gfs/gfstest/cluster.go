package gfstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// Config shapes a cluster. The zero value of each field means its default.
type Config struct {
	// Chunkservers is how many there are. Default 3.
	Chunkservers int
	// Racks is over how many racks they are spread, in turn. Default 1.
	Racks int
	// Shadows is how many shadow masters there are. Default 0.
	Shadows int
	// ChunkSize is the size of a chunk in bytes. Default 1 MiB, so that files of many
	// chunks fit in a test.
	ChunkSize int64
	// Capacity is how many bytes each chunkserver's disk has. Default: no limit.
	Capacity int64
	// Seed is what faults of the network and the disks are drawn from.
	Seed uint64
	// Network shapes the network. Default: a perfect one.
	Network transport.NetworkConfig
	// Transport, if set, is what a host has instead of the network in memory; addr
	// returns the address that it listens on.
	Transport func(host string) (t transport.Transport, addr string)

	// Master, Chunkserver and Client are what the parts are configured with beyond
	// that: what is set by the cluster itself need not be.
	Master      gfs.MasterConfig
	Chunkserver gfs.ChunkserverConfig
	Client      gfs.ClientConfig
	// Logger is told what happens. Default: silent.
	Logger hclog.Logger
}

// A Cluster is a gfs cluster in a test. It ends with the test. Its methods are called by
// the goroutine of the test alone, but for Client and what they return.
type Cluster struct {
	t       testing.TB
	cfg     Config
	network *transport.Network // nil with Config.Transport

	master  *machine
	shadows []*machine
	servers []*machine

	mu      sync.Mutex // guards what follows
	clients []*gfs.Client
}

// Start starts a cluster and returns when its chunkservers have registered.
func Start(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	cfg.Chunkservers = max(cfg.Chunkservers, 0)
	if cfg.Chunkservers == 0 {
		cfg.Chunkservers = 3
	}
	cfg.Racks = max(cfg.Racks, 1)
	if cfg.ChunkSize == 0 {
		cfg.ChunkSize = 1 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	c := &Cluster{t: t, cfg: cfg}
	if cfg.Transport == nil {
		cfg.Network.Seed = cfg.Seed
		c.network = transporttest.NewNetwork(t, cfg.Network)
	}
	t.Cleanup(c.close)
	c.master = c.newMachine("master")
	for i := range cfg.Shadows {
		c.shadows = append(c.shadows, c.newMachine(fmt.Sprintf("shadow%d", i)))
	}
	for i := range cfg.Chunkservers {
		c.servers = append(c.servers, c.newMachine(fmt.Sprintf("chunk%d", i)))
		c.servers[i].disk.SetCapacity(cfg.Capacity)
	}
	c.StartMaster()
	for i := range c.shadows {
		c.StartShadow(i)
	}
	for i := range c.servers {
		c.StartChunkserver(i)
	}
	c.Await(cfg.Chunkservers)
	return c
}

// close ends everything, clients first.
func (c *Cluster) close() {
	c.mu.Lock()
	clients := c.clients
	c.clients = nil
	c.mu.Unlock()
	for _, client := range clients {
		client.Close()
	}
	for _, m := range append(append(c.servers, c.shadows...), c.master) {
		if m != nil {
			m.stop()
		}
	}
}

// Network returns the network in memory, whose hosts are master, shadow0…, chunk0… and
// client0…; nil with Config.Transport.
func (c *Cluster) Network() *transport.Network { return c.network }

// Master returns the master, or nil while it is down.
func (c *Cluster) Master() *gfs.Master { m, _ := c.master.process.(*gfs.Master); return m }

// Shadow returns a shadow, or nil while it is down.
func (c *Cluster) Shadow(i int) *gfs.Master { m, _ := c.shadows[i].process.(*gfs.Master); return m }

// Chunkserver returns a chunkserver, or nil while it is down.
func (c *Cluster) Chunkserver(i int) *gfs.Chunkserver {
	s, _ := c.servers[i].process.(*gfs.Chunkserver)
	return s
}

// MasterAddr returns the address of the master.
func (c *Cluster) MasterAddr() string { return c.master.addr }

// Client returns a new client on a host of its own, which is closed with the cluster.
func (c *Cluster) Client() *gfs.Client {
	c.t.Helper()
	client, err := c.Dial(context.Background(), c.cfg.Client)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// Dial returns a new client with a configuration of its own.
func (c *Cluster) Dial(ctx context.Context, cfg gfs.ClientConfig) (*gfs.Client, error) {
	c.mu.Lock()
	n := len(c.clients)
	c.clients = append(c.clients, nil)
	c.mu.Unlock()
	cfg.Transport, _ = c.transport(fmt.Sprintf("client%d", n))
	cfg.Masters = []string{c.master.addr}
	if cfg.Logger == nil {
		cfg.Logger = c.cfg.Logger.Named(fmt.Sprintf("client%d", n))
	}
	for _, s := range c.shadows {
		cfg.Shadows = append(cfg.Shadows, s.addr)
	}
	client, err := gfs.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.clients[n] = client
	c.mu.Unlock()
	return client, nil
}

// transport returns what a host has, and the address that it can listen on.
func (c *Cluster) transport(host string) (transport.Transport, string) {
	if c.cfg.Transport != nil {
		return c.cfg.Transport(host)
	}
	return c.network.Host(host), ":1"
}

// StartMaster starts the master, after KillMaster or CrashMaster on what its disk has.
func (c *Cluster) StartMaster() {
	c.t.Helper()
	cfg := c.cfg.Master
	cfg.ChunkSize, cfg.Dir = c.cfg.ChunkSize, "/gfs"
	c.master.start(func(t transport.Transport, addr string) (process, string, error) {
		cfg.Transport, cfg.Addr, cfg.FS, cfg.Logger = t, addr, c.master.view, c.cfg.Logger.Named("master")
		m, err := gfs.StartMaster(context.Background(), cfg)
		if err != nil {
			return nil, "", err
		}
		return m, m.Addr(), nil
	})
}

// StartShadow starts a shadow.
func (c *Cluster) StartShadow(i int) {
	c.t.Helper()
	cfg := c.cfg.Master
	cfg.ChunkSize, cfg.Follow = c.cfg.ChunkSize, []string{c.master.addr}
	c.shadows[i].start(func(t transport.Transport, addr string) (process, string, error) {
		cfg.Transport, cfg.Addr, cfg.Logger = t, addr, c.cfg.Logger.Named(c.shadows[i].name)
		m, err := gfs.StartMaster(context.Background(), cfg)
		if err != nil {
			return nil, "", err
		}
		return m, m.Addr(), nil
	})
}

// StartChunkserver starts a chunkserver, after KillChunkserver, CrashChunkserver or
// WipeChunkserver on what its disk has.
func (c *Cluster) StartChunkserver(i int) {
	c.t.Helper()
	cfg := c.cfg.Chunkserver
	cfg.Dir, cfg.Capacity = "/chunks", c.cfg.Capacity
	cfg.Rack = fmt.Sprintf("rack%d", i%c.cfg.Racks)
	cfg.Masters = []string{c.master.addr}
	for _, s := range c.shadows {
		cfg.Masters = append(cfg.Masters, s.addr)
	}
	s := c.servers[i]
	s.start(func(t transport.Transport, addr string) (process, string, error) {
		cfg.Transport, cfg.Addr, cfg.FS, cfg.Logger = t, addr, s.view, c.cfg.Logger.Named(s.name)
		if c.network != nil {
			cfg.Advertise = s.name + addr
		}
		cs, err := gfs.StartChunkserver(context.Background(), cfg)
		if err != nil {
			return nil, "", err
		}
		return cs, cs.Addr(), nil
	})
}

// KillMaster ends the master as kill -9 does: what it has written is there, synced or not.
func (c *Cluster) KillMaster() { c.master.kill() }

// CrashMaster cuts the power of the master: what was not synced is lost, or torn.
func (c *Cluster) CrashMaster() { c.master.crash() }

// KillShadow ends a shadow as kill -9 does.
func (c *Cluster) KillShadow(i int) { c.shadows[i].kill() }

// KillChunkserver ends a chunkserver as kill -9 does.
func (c *Cluster) KillChunkserver(i int) { c.servers[i].kill() }

// CrashChunkserver cuts the power of a chunkserver.
func (c *Cluster) CrashChunkserver(i int) { c.servers[i].crash() }

// WipeChunkserver replaces the disk of a chunkserver that is down by an empty one.
func (c *Cluster) WipeChunkserver(i int) { c.servers[i].wipe(c.cfg.Capacity) }

// RotChunkserver flips one bit in each of up to n files with data on a chunkserver's
// disk, which ones is drawn from the seed, and returns in how many it did.
func (c *Cluster) RotChunkserver(i, n int) int { return c.servers[i].rot(n) }

// Stored returns how many bytes a chunkserver's disk has taken.
func (c *Cluster) Stored(i int) int64 { return c.servers[i].disk.Used() }

// FailDisk makes every write of a chunkserver's disk fail with an error, until it is
// called with nil.
func (c *Cluster) FailDisk(i int, err error) { c.servers[i].failWrites(err) }

// patience is how long the cluster waits for itself.
const patience = time.Minute

// Await waits until n chunkservers are alive, as the master sees it, and leases can be
// granted. It fails the test after a minute.
func (c *Cluster) Await(n int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%d chunkservers alive", n), func(ctx context.Context, client *gfs.Client) (bool, error) {
		servers, err := client.Servers(ctx)
		if err != nil {
			return false, err
		}
		alive := 0
		for _, s := range servers {
			if s.Alive {
				alive++
			}
		}
		if alive != n {
			return false, nil
		}
		info, err := client.Cluster(ctx)
		return err == nil && !info.SafeMode, err
	})
}

// Heal waits until every chunk has as many replicas as it should have. It fails the test
// after a minute for each GiB, and one.
func (c *Cluster) Heal() {
	c.t.Helper()
	c.await("every chunk has its replicas", func(ctx context.Context, client *gfs.Client) (bool, error) {
		report, err := client.Fsck(ctx, ".")
		return err == nil && len(report.Faults) == 0, err
	})
}

func (c *Cluster) await(what string, done func(ctx context.Context, client *gfs.Client) (bool, error)) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := c.Dial(ctx, gfs.ClientConfig{})
	if err != nil {
		c.t.Fatalf("waiting until %s: %v", what, err)
	}
	defer client.Close()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		ok, err := done(ctx, client)
		if ok {
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			c.t.Fatalf("still not so after %v: %s (%v)", patience, what, errors.Join(err, ctx.Err()))
		}
	}
}
