package gfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// MasterConfig configures a Master. Transport and Addr are required; the zero value of
// every other field means its default.
type MasterConfig struct {
	// Transport and Addr are where clients, chunkservers and shadows are served.
	Transport transport.Transport
	Addr      string

	// Dir is the directory of the operation log and its checkpoints (§2.6.3), for this
	// master alone. Default none: the namespace is lost with the process.
	Dir string
	// OpenLog returns the log that the state is kept in, which Close closes if it is an
	// io.Closer. Default: a journal in Dir, or memory. A node of package vmft is a log too:
	// then this master leads, or stands by, as its node does, and is one of several.
	OpenLog func(Machine) (Log, error)
	// Follow makes this a shadow (§5.1.3) of the master at these addresses: it answers
	// what reads, slightly late, and nothing else. It has no Dir and no OpenLog.
	Follow []string

	// Cluster and Secret are as in rpc.ServerConfig: all of a cluster have the same.
	Cluster string
	Secret  []byte

	// ChunkSize is the size of a chunk in bytes, a multiple of 64 KiB. It is chosen when
	// the cluster is made, and another is refused later. Default DefaultChunkSize.
	ChunkSize int64
	// Replication is how many replicas a chunk has whose file and whose directories say
	// nothing else. It is kept as the policy of the root. Default: what that says, at
	// first DefaultReplication.
	Replication int
	// Retention is for how long what was removed can be undeleted where no policy says
	// otherwise; negative: not at all. It is kept as the policy of the root. Default:
	// what that says, at first DefaultRetention.
	Retention time.Duration
	// Lease is how long a lease lasts unless it is extended, at least two heartbeats: how
	// long a chunk is, the master learns from them. Default DefaultLease.
	Lease time.Duration
	// Heartbeat is how often chunkservers give a sign of life. Default 1 s.
	Heartbeat time.Duration
	// ServerTimeout is how long a chunkserver may be silent before it counts as dead, and
	// what it holds is replicated elsewhere. Default 10 s.
	ServerTimeout time.Duration
	// RepairRate bounds the bytes a second that a chunkserver spends on making replicas
	// (§4.3); negative: no bound. Default 200 MB/s.
	RepairRate int64

	// Superusers are those whom permissions do not bind. Default: clients that give no
	// name, which with TLS there are none of.
	Superusers []string
	// Groups says which groups a user belongs to. Default: none.
	Groups map[string][]string

	// Logger is told what an operator wants to know, and at level trace of every call that
	// is served (§5.3). Default: silent.
	Logger hclog.Logger

	// FS holds Dir. Only packages of this module can make one. Default: the operating
	// system's.
	FS vfs.FS

	planted plantedBugs
}

// Defaults of a MasterConfig.
const (
	DefaultHeartbeat     = time.Second
	DefaultServerTimeout = 10 * time.Second
	DefaultRepairRate    = 200_000_000
)

func (c MasterConfig) withDefaults() (MasterConfig, error) {
	const op = "start master"
	switch {
	case c.Transport == nil:
		return c, configError(op, "MasterConfig.Transport", "is missing")
	case c.Addr == "":
		return c, configError(op, "MasterConfig.Addr", "is missing")
	case c.Dir != "" && c.OpenLog != nil:
		return c, configError(op, "MasterConfig.Dir and OpenLog", "are both set")
	case len(c.Follow) > 0 && (c.Dir != "" || c.OpenLog != nil):
		return c, configError(op, "MasterConfig.Follow", "is set: a shadow has no log of its own, so neither Dir nor OpenLog")
	case c.ChunkSize < 0 || c.ChunkSize > MaxChunkSize || c.ChunkSize%blockSize != 0:
		return c, configError(op, "MasterConfig.ChunkSize", "is %d, not a multiple of %d up to %d", c.ChunkSize, blockSize, MaxChunkSize)
	case c.Replication < 0 || c.Replication > MaxReplication:
		return c, configError(op, "MasterConfig.Replication", "is %d, not 1 to %d", c.Replication, MaxReplication)
	case c.Lease < 0 || c.Heartbeat < 0 || c.ServerTimeout < 0:
		return c, configError(op, "MasterConfig.Lease, Heartbeat or ServerTimeout", "is negative")
	}
	c.ChunkSize = orDefault(c.ChunkSize, DefaultChunkSize)
	c.Lease = orDefault(c.Lease, DefaultLease)
	c.Heartbeat = orDefault(c.Heartbeat, DefaultHeartbeat)
	c.ServerTimeout = orDefault(c.ServerTimeout, DefaultServerTimeout)
	c.RepairRate = orDefault(c.RepairRate, DefaultRepairRate)
	if c.ServerTimeout < 2*c.Heartbeat {
		return c, configError(op, "MasterConfig.ServerTimeout", "is %v: less than two heartbeats of %v", c.ServerTimeout, c.Heartbeat)
	}
	if c.Lease < 2*c.Heartbeat {
		return c, configError(op, "MasterConfig.Lease", "is %v: less than two heartbeats of %v", c.Lease, c.Heartbeat)
	}
	if c.Superusers == nil {
		c.Superusers = []string{""}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.OpenLog == nil {
		c.OpenLog = func(m Machine) (Log, error) {
			if err := notOf(c.FS, c.Dir, diskFile, "a chunkserver"); err != nil {
				return nil, err
			}
			return statelog.Open(statelog.Config{Machine: m, Dir: c.Dir, FS: c.planted.log(c.FS), Logger: c.Logger})
		}
	}
	return c, nil
}

// notOf refuses a directory that is already that of another role, whose files begin with a
// prefix.
func notOf(fsys vfs.FS, dir, prefix, whose string) error {
	if dir == "" {
		return nil
	}
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			return fmt.Errorf("%w: %s is the directory of %s (%s); give each role one of its own", ErrConfig, dir, whose, e.Name())
		}
	}
	return err
}

// orDefault returns v, or what it is by default if it is zero.
func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Master is the one that knows where everything is (§2.4). What must survive, the
// namespace above all, is a machine in a log; what chunkservers can tell again, where
// replicas are, is in the fleet; this shell serves, and does what these two decide.
type Master struct {
	cfg    MasterConfig
	state  *state
	tap    *tap
	log    Log // nil: a shadow
	guard  *rpc.Guard
	term   term
	server *rpc.Server
	addr   net.Addr
	peers  *peerTable // to chunkservers
	locks  *pathLocks
	chunks *handleLocks
	issue  *handleIssue
	events *eventLog
	trend  trend       // for the status page
	tails  shadowTails // likewise

	fleetMu sync.Mutex // guards fleet
	fleet   *fleet

	epoch   atomic.Uint64 // in which this process leads; 0: it does not
	kick    chan struct{} // of capacity 1: there may be something to do
	applied atomic.Int64  // a shadow: when it was last level with its master, UnixNano

	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when run has returned
	err     error         // why; set before done is closed
	closing sync.Once
	closed  error
}

// StartMaster starts a master, or a shadow. It serves as soon as its log lets it lead;
// ctx bounds the start only. Errors: ErrConfig with the field that is wrong, and
// whatever the log or the transport said.
func StartMaster(ctx context.Context, cfg MasterConfig) (*Master, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Master{
		cfg: cfg, locks: newPathLocks(), chunks: newHandleLocks(), issue: newHandleIssue(), events: newEventLog(),
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	fail := func(err error) (*Master, error) {
		if m.peers != nil {
			m.peers.close()
		}
		return nil, &Error{Op: "start master", Path: cfg.Addr, Err: errors.Join(err, m.closeLog())}
	}
	if err := m.open(); err != nil {
		return fail(err)
	}
	m.peers = newPeerTable(rpc.ClientConfig{Transport: cfg.Transport, Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger})
	server := rpc.ServerConfig{Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger, Limits: masterLimits, Interceptors: diagnostics(cfg.Logger)}
	if m.guard != nil {
		server.Sessions = m.guard
	}
	if m.server, err = rpc.NewServer(server); err == nil {
		m.handle()
		m.addr, err = m.server.Listen(ctx, cfg.Transport, cfg.Addr)
	}
	if err != nil {
		return fail(err)
	}
	// What the master does goes on beyond the ctx of its start.
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	m.cancel = cancel
	if m.log == nil {
		go m.followMaster(run)
	} else {
		go m.run(run)
	}
	return m, nil
}

// masterLimits let one master have many clients, each of which sends little.
var masterLimits = rpc.Limits{MaxConns: 1 << 14}

// open makes the machine and, but for shadows, its log.
func (m *Master) open() error {
	m.state = newState()
	sessions, err := rpc.NewSessionMachine(m.state, rpc.SessionsConfig{})
	if err != nil {
		return err
	}
	m.tap = newTap(sessions)
	m.fleet = newFleet(fleetConfig{
		chunkSize: m.cfg.ChunkSize, lease: m.cfg.Lease, heartbeat: m.cfg.Heartbeat, dead: m.cfg.ServerTimeout,
		cloneRate: max(m.cfg.RepairRate, 0),
	}, m.state)
	m.fleet.planted = m.cfg.planted.fleet
	if len(m.cfg.Follow) > 0 {
		return nil
	}
	log, err := m.cfg.OpenLog(m.tap)
	if err != nil {
		return err // what log is then is not to be closed
	}
	if _, solo := log.(*statelog.Solo); !solo {
		log = rpc.ServiceLog{Log: log}
	}
	m.log = log
	m.guard = rpc.NewGuard(m.log)
	return nil
}

// Addr returns the address that is served.
func (m *Master) Addr() string { return m.addr.String() }

// Wait blocks until the master has ended, and returns why: nil after Close, otherwise
// what happened to its log.
func (m *Master) Wait(ctx context.Context) error {
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the master. It is idempotent. What was acknowledged is in the log.
func (m *Master) Close() error {
	m.closing.Do(func() {
		m.cancel(ErrClosed)
		err := m.server.Close()
		<-m.done
		m.peers.close()
		m.closed = errors.Join(err, m.closeLog())
	})
	return m.closed
}

func (m *Master) closeLog() error {
	if closer, ok := m.log.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// run leads whenever the log lets it.
func (m *Master) run(ctx context.Context) {
	defer close(m.done)
	for {
		term, epoch, err := m.log.Lead(ctx)
		if err == nil {
			err = m.lead(ctx, term, epoch)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.cfg.Logger.Error("the master has ended", "error", err)
			m.err = &Error{Op: "serve", Path: m.Addr(), Err: err}
			return
		}
	}
}
