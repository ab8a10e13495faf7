package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"path/filepath"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/mapreduce"
)

var allRole = role{
	name:    "all",
	summary: "is a whole cluster in one process, on one directory",
	details: `
It is a gfs of a master and chunkservers, and unless -coordinator is "" a coordinator
and a worker whose files are in it. All of them serve over TCP, on the host of -listen,
as they would on machines of their own. Started again on the directory, it has all its
files and goes on with its jobs. It keeps data from the death of a process, and of a
directory of a chunkserver, but not of the machine's disk.
`,
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var a allFlags
		a.define(f)
		f.StringVar(&a.dir, "dir", "", "keep everything in this `directory` (required)")
		f.StringVar(&a.listen, "listen", "127.0.0.1:7100", "the `address` of the master; port 0 is any")
		f.StringVar(&a.coordinator, "coordinator", "127.0.0.1:7000", "the `address` of the coordinator of jobs; \"\": none")
		f.IntVar(&a.servers, "chunkservers", 4, "run so many `chunkservers`")
		f.IntVar(&a.replication, "replication", 0, "keep so many `replicas` of each chunk (default: as before, at first 3)")
		f.DurationVar(&a.lease, "lease", gfs.DefaultLease, "how long a lease on a chunk lasts unless it is extended; it is repaired or moved when that is over")
		f.Int64Var(&a.chunkKiB, "chunk", gfs.DefaultChunkSize>>10, "the size of a chunk in `KiB`, a multiple of 64; it cannot be changed later")
		return a.run
	},
}

type allFlags struct {
	masterFlags
	dir         string
	coordinator string
	servers     int
}

func (a *allFlags) run(ctx context.Context, args []string, out output) (err error) {
	const most = 64
	switch {
	case len(args) > 0:
		return local.BadUsage("unexpected argument %q", args[0])
	case a.dir == "":
		return local.BadUsage("-dir is missing: the directory of everything")
	case a.servers < 1 || a.servers > most:
		return local.BadUsage("-chunkservers is %d, not 1 to %d", a.servers, most)
	case a.replication < 0 || a.replication > a.servers:
		return local.BadUsage("-replication is %d, not 1 to %d, which is how many -chunkservers there are", a.replication, a.servers)
	case a.lease <= 0:
		return local.BadUsage("-lease is %v, it must be positive", a.lease)
	case a.chunkKiB <= 0 || a.chunkKiB%64 != 0 || a.chunkKiB > gfs.MaxChunkSize>>10:
		return local.BadUsage("-chunk is %d, not a multiple of 64 up to %d", a.chunkKiB, gfs.MaxChunkSize>>10)
	}
	host, _, err := net.SplitHostPort(a.listen)
	if err != nil {
		return local.BadUsage("-listen is %q, not host:port", a.listen)
	}
	if hostOf(a.listen) == "" {
		return local.BadUsage("-listen is %q: it has to name the host, by which others find the chunkservers too", a.listen)
	}
	if a.replication == 0 && a.servers < gfs.DefaultReplication {
		a.replication = a.servers
	}
	cl, err := a.open("all", true, out)
	if err != nil {
		return err
	}
	running := &stack{}
	defer func() { err = errors.Join(err, running.close()) }()
	master, err := a.files(ctx, cl, host, running)
	if err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "all at %s\n", master.Addr())
	closePage, err := servePage(ctx, a.status, master.StatusHandler(), out)
	if err != nil {
		return err
	}
	defer closePage()
	if a.coordinator != "" {
		if err := a.jobs(ctx, cl, host, master.Addr(), running, out); err != nil {
			return err
		}
	}
	if err := master.Wait(ctx); ctx.Err() == nil {
		return err
	}
	fmt.Fprintln(out.stdout, "all ends; start it again to have its files back")
	return nil
}

// files starts the gfs.
func (a *allFlags) files(ctx context.Context, cl *cluster, host string, running *stack) (*gfs.Master, error) {
	master, err := gfs.StartMaster(ctx, gfs.MasterConfig{
		Transport: cl.transport, Addr: a.listen, Dir: filepath.Join(a.dir, "master"), ChunkSize: a.chunkKiB << 10, Replication: a.replication, Lease: a.lease,
		Cluster: cl.id, Secret: cl.secret, Logger: cl.logger.Named("master"),
	})
	if err != nil {
		return nil, err
	}
	running.push(master.Close)
	for i := range a.servers {
		name := fmt.Sprintf("chunks%d", i)
		server, err := gfs.StartChunkserver(ctx, gfs.ChunkserverConfig{
			Transport: cl.transport, Addr: net.JoinHostPort(host, "0"), Dir: filepath.Join(a.dir, name), Masters: []string{master.Addr()},
			Cluster: cl.id, Secret: cl.secret, Logger: cl.logger.Named(name),
		})
		if err != nil {
			return nil, err
		}
		running.push(server.Close)
	}
	return master, nil
}

// jobs starts what runs jobs over the files.
func (a *allFlags) jobs(ctx context.Context, cl *cluster, host, master string, running *stack, out output) error {
	root := rootFlag{gfs: master}
	files, closeFiles, err := root.open(ctx, cl, host)
	if err != nil {
		return err
	}
	running.push(func() error { closeFiles(); return nil })
	registry, err := jobs.Registry(false)
	if err != nil {
		return err
	}
	coordinator, err := mapreduce.StartCoordinator(ctx, mapreduce.CoordinatorConfig{
		Transport: cl.transport, Addr: a.coordinator, Jobs: registry, FileSystem: files, Dir: filepath.Join(a.dir, "coordinator"),
		Cluster: cl.id, Secret: cl.secret, Logger: cl.logger.Named("coordinator"),
	})
	if err != nil {
		return err
	}
	running.push(coordinator.Close)
	worker, err := mapreduce.StartWorker(ctx, mapreduce.WorkerConfig{
		Transport: cl.transport, Addr: net.JoinHostPort(host, "0"), Coordinators: []string{coordinator.Addr()}, Jobs: registry, FileSystem: files,
		Cluster: cl.id, Secret: cl.secret, Logger: cl.logger.Named("worker"),
	})
	if err != nil {
		return err
	}
	running.push(worker.Close)
	fmt.Fprintf(out.stdout, "coordinator at %s\n", coordinator.Addr())
	return nil
}

// A stack is what has been started, to be closed in the opposite order.
type stack struct{ closers []func() error }

func (s *stack) push(f func() error) { s.closers = append(s.closers, f) }

func (s *stack) close() error {
	var err error
	for i := len(s.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closers[i]())
	}
	return err
}
