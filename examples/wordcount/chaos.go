package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// A chaos is a cluster in this process in which whoever leads is crashed while the job
// runs: two masters of gfs, two coordinators, and hosts that have a chunkserver and a
// worker each.
type chaos struct {
	network      *transport.Network
	registry     *mapreduce.Registry
	masters      *standby.Group
	coordinators *standby.Group
	strikes      *strikes
	dir          string // of the disks, to be removed; "": they are in memory
	closers      []func() error
	began        time.Time
}

// The hosts of those of which one leads, and where they serve.
var (
	masterHosts      = []string{"master-0", "master-1"}
	coordinatorHosts = []string{"coordinator-0", "coordinator-1"}
)

const (
	servicePort = ":1"
	workerPort  = ":2"
	// oneBuild identifies code that is the same because it is one process.
	oneBuild = "one process"
)

// at returns the addresses of hosts.
func at(hosts []string) []string {
	var addrs []string
	for _, h := range hosts {
		addrs = append(addrs, h+servicePort)
	}
	return addrs
}

// runChaos counts words while what leads is crashed.
func (o *options) runChaos(ctx context.Context, output string, stdout, stderr io.Writer) (err error) {
	names, size, err := matches(ctx, o.patterns)
	if err != nil {
		return err
	}
	c := &chaos{began: time.Now()}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.start(ctx, size); err != nil {
		return err
	}
	client, err := c.dial(ctx, "client")
	if err != nil {
		return err
	}
	in := &store{client: client}
	if err := in.load(ctx, names, stderr); err != nil {
		return err
	}
	c.strikes = newStrikes(ctx, c, len(names))
	if err := c.employ(ctx, cmp.Or(o.workers, storeServers)); err != nil {
		return err
	}
	spec := o.spec.Spec()
	spec.Input, spec.Output = o.patterns, local.Rooted(output)
	begin := time.Now()
	result, err := c.count(ctx, spec, local.NewProgress(stderr))
	took := time.Since(begin)
	if err = errors.Join(err, c.strikes.wait()); err != nil {
		return err
	}
	if err := o.fetch(ctx, in, result); err != nil {
		return err
	}
	c.timeline(stdout)
	if err := c.summary(ctx, stdout); err != nil {
		return err
	}
	if err := o.print(stdout, result, took); err != nil {
		return err
	}
	fmt.Fprintln(stdout, in.loaded)
	return nil
}

// start starts the gfs.
func (c *chaos) start(ctx context.Context, size int64) (err error) {
	if c.network, err = transport.NewNetwork(transport.NetworkConfig{}); err != nil {
		return err
	}
	c.closers = append(c.closers, c.network.Close)
	if c.registry, err = mapreduce.NewRegistry(jobs.WordCount); err != nil {
		return err
	}
	if size > storeMemory {
		if c.dir, err = os.MkdirTemp("", "wordcount-gfs-"); err != nil {
			return err
		}
	}
	c.masters = standby.NewGroup(standby.GroupConfig{Network: c.network, Hosts: masterHosts, Start: c.startMaster})
	c.closers = append(c.closers, c.masters.Close)
	if err := c.masters.Form(ctx); err != nil {
		return err
	}
	for i := range storeServers {
		host := workerHost(i)
		cfg := gfs.ChunkserverConfig{Transport: c.network.Host(host), Addr: servicePort, Advertise: host + servicePort, Masters: at(masterHosts)}
		if cfg.Dir = filepath.Join(c.dir, host); c.dir == "" {
			cfg.FS, cfg.Dir = vfs.NewMemory(uint64(i)), "/"+host
		}
		server, err := gfs.StartChunkserver(ctx, cfg)
		if err != nil {
			return err
		}
		c.closers = append(c.closers, server.Close)
	}
	return nil
}

func workerHost(i int) string { return fmt.Sprintf("worker-%d", i) }

// startMaster starts the master on a host.
func (c *chaos) startMaster(ctx context.Context, host *transport.Host, open func(vmft.Machine) (*vmft.Node, error)) (io.Closer, error) {
	return gfs.StartMaster(ctx, gfs.MasterConfig{
		Transport: host, Addr: servicePort, OpenLog: func(m gfs.Machine) (gfs.Log, error) { return open(m) },
	})
}

// startCoordinator starts the coordinator on a host, with a client of the gfs that dies
// with it.
func (c *chaos) startCoordinator(ctx context.Context, host *transport.Host, open func(vmft.Machine) (*vmft.Node, error)) (io.Closer, error) {
	client, err := gfs.Dial(ctx, gfs.ClientConfig{Transport: host, Masters: at(masterHosts)})
	if err != nil {
		return nil, err
	}
	coordinator, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: host, Addr: servicePort, Jobs: c.registry, FileSystem: c.strikes.coordinators(client.Files()), Build: oneBuild,
		OpenLog: func(m mapreduce.Machine) (mapreduce.Log, error) { return open(m) },
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return closers{client.Close, coordinator.Close}, nil
}

// closers are closed in the opposite order.
type closers []func() error

// Close implements io.Closer.
func (c closers) Close() error {
	var err error
	for _, f := range slices.Backward(c) {
		err = errors.Join(err, f())
	}
	return err
}

// dial returns a client of the gfs on a host.
func (c *chaos) dial(ctx context.Context, host string) (*gfs.Client, error) {
	client, err := gfs.Dial(ctx, gfs.ClientConfig{Transport: c.network.Host(host), Masters: at(masterHosts), Host: host})
	if err == nil {
		c.closers = append(c.closers, client.Close)
	}
	return client, err
}

// employ starts what runs the job.
func (c *chaos) employ(ctx context.Context, workers int) error {
	c.coordinators = standby.NewGroup(standby.GroupConfig{Network: c.network, Hosts: coordinatorHosts, Start: c.startCoordinator})
	c.closers = append(c.closers, c.coordinators.Close)
	if err := c.coordinators.Form(ctx); err != nil {
		return err
	}
	for i := range workers {
		host := workerHost(i)
		client, err := c.dial(ctx, host)
		if err != nil {
			return err
		}
		w, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
			Transport: c.network.Host(host), Addr: workerPort, Advertise: host + workerPort, Coordinators: at(coordinatorHosts), Jobs: c.registry,
			FileSystem: c.strikes.workers(client.Files()), Slots: 1, Memory: mapreduce.DefaultMemory / int64(workers), Build: oneBuild,
		})
		if err != nil {
			return err
		}
		c.closers = append(c.closers, w.Close)
	}
	return nil
}

// count runs the job.
func (c *chaos) count(ctx context.Context, spec mapreduce.Spec, p *local.Progress) (*mapreduce.Result, error) {
	client, err := mapreduce.NewClient(mapreduce.ClientConfig{Transport: c.network.Host("client"), Coordinators: at(coordinatorHosts)})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	id, err := client.Submit(ctx, jobs.WordCount.Name, spec)
	if err != nil {
		return nil, err
	}
	result, _, err := await(ctx, client, id, p)
	return result, err
}

// timeline prints what has happened to those of which one leads.
func (c *chaos) timeline(out io.Writer) {
	events := append(c.masters.Events(), c.coordinators.Events()...)
	slices.SortStableFunc(events, func(a, b standby.Event) int { return a.At.Compare(b.At) })
	for _, e := range events {
		fmt.Fprintf(out, "%8.3f s  %-13s  %s\n", e.At.Sub(c.began).Seconds(), e.Host, e.What)
	}
}

// summary prints how often another came to lead, and what that took.
func (c *chaos) summary(ctx context.Context, out io.Writer) error {
	for _, g := range []struct {
		what string
		*standby.Group
	}{{"master", c.masters}, {"coordinator", c.coordinators}} {
		n, err := g.FailOvers(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d fail-overs of the %s; another led after", n, g.what)
		for _, d := range c.strikes.pauses[g.Group] {
			fmt.Fprintf(out, " %.0f ms", d.Seconds()*1e3)
		}
		fmt.Fprintln(out)
	}
	return nil
}

// close ends everything.
func (c *chaos) close() error {
	err := closers(c.closers).Close()
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}
