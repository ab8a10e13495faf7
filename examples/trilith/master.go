package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/gfs"
)

var masterRole = role{
	name:    "master",
	summary: "keeps the names of a gfs, and knows where its chunks are",
	details: `
With -journal it keeps its state on disk: started again on the same directory, also
after a crash, it has every file that was acknowledged. It serves writers again when
the chunkservers have told it what they have.

With -standby it is one of two, or more, of which one leads and another stands by, has
all that was acknowledged, and goes on by itself when the first one dies or hangs:

  master -listen host1:7100 -node host1:7110 -standby host2:7110 -lock /shared/lock
  master -listen host2:7100 -node host2:7110 -standby host1:7110 -lock /shared/lock

Chunkservers and clients are given the addresses of both, host1:7100,host2:7100. Who
leads is decided in the directory -lock, which both must reach, or by "trilith arbiter"
on a third machine. With -journal on both, the state also survives the loss of power
of both at once.
`,
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var m masterFlags
		m.define(f)
		m.standby.Define(f, "master")
		f.StringVar(&m.listen, "listen", "127.0.0.1:7100", "serve clients, chunkservers and shadows at this `address`; port 0 is any")
		f.StringVar(&m.journal, "journal", "", "keep the state in this `directory` (default: in memory only)")
		f.Int64Var(&m.chunkKiB, "chunk", gfs.DefaultChunkSize>>10, "the size of a chunk in `KiB`, a multiple of 64; it cannot be changed later")
		f.IntVar(&m.replication, "replication", 0, "keep so many `replicas` of each chunk, where nothing else is said (default: as before, at first 3)")
		f.DurationVar(&m.retention, "retention", 0, "how long what is removed can be undeleted, where nothing else is said; negative: not at all (default: as before, at first 72h)")
		f.StringVar(&m.superusers, "superusers", "", "the `users`, separated by commas, whom permissions do not bind (default: who gives no name)")
		f.DurationVar(&m.lease, "lease", gfs.DefaultLease, "how long a lease on a chunk lasts unless it is extended; it is repaired or moved when that is over")
		f.DurationVar(&m.timeout, "server-timeout", gfs.DefaultServerTimeout, "how long a chunkserver may be silent before it counts as dead")
		f.Int64Var(&m.repair, "repair-rate", gfs.DefaultRepairRate/1e6, "how many `MB` a second a chunkserver spends on new replicas; negative: no bound")
		return m.run
	},
}

var shadowRole = role{
	name:    "shadow",
	summary: "follows the master of a gfs, and answers readers while that is down",
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var m masterFlags
		m.define(f)
		f.StringVar(&m.listen, "listen", "127.0.0.1:7101", "serve clients and chunkservers at this `address`; port 0 is any")
		f.StringVar(&m.follow, "master", "", "follow the master at this `address`; several, separated by commas, if any of them may lead (required)")
		f.Int64Var(&m.chunkKiB, "chunk", gfs.DefaultChunkSize>>10, "the size of a chunk in `KiB`, as the master has it")
		return m.shadow
	},
}

// masterFlags are those of masters and shadows.
type masterFlags struct {
	clusterFlags
	standby     standby.Flags
	listen      string
	status      string
	journal     string
	follow      string
	chunkKiB    int64
	replication int
	retention   time.Duration
	superusers  string
	lease       time.Duration
	timeout     time.Duration
	repair      int64
}

func (m *masterFlags) define(f *flag.FlagSet) {
	m.clusterFlags.define(f)
	f.StringVar(&m.status, "status", "", statusUsage)
}

func (m *masterFlags) run(ctx context.Context, args []string, out output) error {
	switch {
	case m.lease <= 0:
		return local.BadUsage("-lease is %v, it must be positive", m.lease)
	case m.timeout <= 0:
		return local.BadUsage("-server-timeout is %v, it must be positive", m.timeout)
	case m.replication < 0 || m.replication > gfs.MaxReplication:
		return local.BadUsage("-replication is %d, not 1 to %d", m.replication, gfs.MaxReplication)
	}
	if err := m.standby.Check(); err != nil {
		return err
	}
	const mega = 1e6
	cfg := gfs.MasterConfig{
		Dir: m.journal, Replication: m.replication, Retention: m.retention, Lease: m.lease, ServerTimeout: m.timeout, RepairRate: m.repair * mega,
		Heartbeat: min(gfs.DefaultHeartbeat, m.timeout/4), // a sign of life may be lost, and another late
	}
	if m.superusers != "" {
		cfg.Superusers = strings.Split(m.superusers, ",")
	}
	return m.serve(ctx, "master", cfg, args, out)
}

func (m *masterFlags) shadow(ctx context.Context, args []string, out output) error {
	if m.follow == "" {
		return local.BadUsage("-master is missing: the address of the master, host:port")
	}
	follow, err := addresses("master", m.follow)
	if err != nil {
		return err
	}
	return m.serve(ctx, "shadow", gfs.MasterConfig{Follow: follow}, args, out)
}

// serve runs a master or a shadow until ctx ends.
func (m *masterFlags) serve(ctx context.Context, name string, cfg gfs.MasterConfig, args []string, out output) (err error) {
	switch {
	case len(args) > 0:
		return local.BadUsage("unexpected argument %q", args[0])
	case m.chunkKiB <= 0 || m.chunkKiB%64 != 0 || m.chunkKiB > gfs.MaxChunkSize>>10:
		return local.BadUsage("-chunk is %d, not a multiple of 64 up to %d", m.chunkKiB, gfs.MaxChunkSize>>10)
	}
	cl, err := m.open(name, true, out)
	if err != nil {
		return err
	}
	cfg.Transport, cfg.Addr, cfg.ChunkSize = cl.transport, m.listen, m.chunkKiB<<10
	cfg.Cluster, cfg.Secret, cfg.Logger = cl.id, cl.secret, cl.logger
	var node *standby.Node // nil: it is the only master
	if m.standby.On() {
		cfg.OpenLog = func(machine gfs.Machine) (_ gfs.Log, err error) {
			node, err = m.standby.Start(ctx, cl.node(name, cfg.Dir), machine)
			return node, err
		}
		cfg.Dir = ""
	}
	master, err := gfs.StartMaster(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, master.Close()) }()
	fmt.Fprintf(out.stdout, "%s at %s\n", name, master.Addr())
	closePage, err := servePage(ctx, m.status, withNode(master.StatusHandler(), node), out)
	if err != nil {
		return err
	}
	defer closePage()
	defer watchNode(ctx, node, out)()
	if err := master.Wait(ctx); ctx.Err() == nil {
		return err
	}
	switch {
	case name == "shadow":
		fmt.Fprintln(out.stdout, "shadow ends")
	case node != nil:
		fmt.Fprintln(out.stdout, "master ends; the other one goes on")
	case m.journal == "":
		fmt.Fprintln(out.stdout, "master ends; its files are lost")
	default:
		fmt.Fprintln(out.stdout, "master ends; start it again to have its files back")
	}
	return nil
}
