package gfs

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// ChunkserverConfig configures a Chunkserver. Transport, Addr, Dir and Masters are
// required; the zero value of every other field means its default.
type ChunkserverConfig struct {
	// Transport and Addr are where the chunkserver serves, and how it reaches others.
	Transport transport.Transport
	Addr      string
	// Advertise is the address by which others reach this server. Default: the one it
	// listens on.
	Advertise string
	// Dir is a directory for the replicas, for this chunkserver alone. It is made if
	// need be. Its identity moves with it to another address.
	Dir string
	// FS holds Dir. Only packages of this module can make one. Default: the operating
	// system's.
	FS vfs.FS
	// Masters are the addresses of all masters, standbys and shadows: the chunkserver
	// reports to each of them.
	Masters []string
	// Cluster and Secret are as in rpc.ServerConfig.
	Cluster string
	Secret  []byte
	// Rack and Zone say where the server is: replicas are spread over both, and readers
	// prefer what is near. Default none.
	Rack, Zone string
	// Capacity is how many bytes the replicas may take. Default: what they take and what
	// the disk has left.
	Capacity int64
	// BufferBytes is the budget of the buffer for data that has been pushed and not yet
	// been written; a quarter of it is the most that one write or record can have.
	// Default DefaultBufferBytes, at least 4 MiB.
	BufferBytes int64
	// ScrubInterval is how often every replica that is not in use is read and held
	// against its checksums (§5.2). Default DefaultScrubInterval; negative: never.
	ScrubInterval time.Duration
	// ScrubRate is the most bytes a second that this reads. Default DefaultScrubRate.
	ScrubRate int64
	// Logger is told what an operator wants to know, and at level trace of every call that
	// is served (§5.3). Default: silent.
	Logger hclog.Logger

	planted plantedBugs
}

// Defaults of a ChunkserverConfig.
const (
	DefaultScrubInterval = 7 * 24 * time.Hour
	DefaultScrubRate     = 16 << 20
)

// Bounds and times of a chunkserver.
const (
	// maxMasters bounds the masters that a chunkserver reports to.
	maxMasters = 64
	// tendInterval is how often replicas that have come to rest are looked for, and
	// restAfter how long one has been at rest before it is made durable and clean.
	tendInterval = 5 * time.Second
	restAfter    = 30 * time.Second
	// forgetAfter is how long nothing has been ordered of a replica before what was
	// known of its order is forgotten. No lease is that old without mutations.
	forgetAfter = 10 * time.Minute
)

func (c ChunkserverConfig) withDefaults() (ChunkserverConfig, error) {
	bad := func(field, format string, args ...any) (ChunkserverConfig, error) {
		return c, configError("start chunkserver", "ChunkserverConfig."+field, format, args...)
	}
	switch {
	case c.Transport == nil:
		return bad("Transport", "is missing")
	case c.Addr == "":
		return bad("Addr", "is missing")
	case c.Dir == "":
		return bad("Dir", "is missing")
	case len(c.Masters) == 0 || len(c.Masters) > maxMasters:
		return bad("Masters", "has %d addresses, not 1 to %d", len(c.Masters), maxMasters)
	case c.Capacity < 0:
		return bad("Capacity", "is negative")
	case c.BufferBytes != 0 && c.BufferBytes < minBufferBytes:
		return bad("BufferBytes", "is %d; %d are the least", c.BufferBytes, minBufferBytes)
	case c.ScrubRate < 0:
		return bad("ScrubRate", "is negative")
	}
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = DefaultBufferBytes
	}
	if c.ScrubInterval == 0 {
		c.ScrubInterval = DefaultScrubInterval
	}
	if c.ScrubRate == 0 {
		c.ScrubRate = DefaultScrubRate
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c, nil
}

// A Chunkserver keeps replicas of chunks on a disk (§2.3): it serves reads of them,
// takes what clients push, applies mutations in the order of the primary, or is the
// primary, copies replicas from others when it is told to, and looks for rot. It does
// what the master of the newest epoch says, and reports to all masters.
type Chunkserver struct {
	cfg     ChunkserverConfig
	log     hclog.Logger
	store   *chunkStore
	buffer  *pushBuffer
	server  *rpc.Server
	addr    string // by which others reach it
	boot    uint64
	started time.Time

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // every goroutine but the server's
	closed sync.Once
	ended  chan struct{} // closed when Close is through
	fault  error         // what Close returns

	id        atomic.Uint32 // the serverID that the masters know it by; 0: not yet
	chunkSize atomic.Int64  // of the cluster; 0: not known yet

	masters []*masterLink

	peers *peerTable

	counts chunkserverCounts

	mu     sync.Mutex // guards what follows
	roles  map[handle]*role
	clones map[handle]bool // under way
}

// StartChunkserver starts a chunkserver, which serves until Close. What is wrong with the
// configuration, the directory or the address is an error at once; masters that cannot
// be reached are not: it goes on trying. ctx bounds the start only.
func StartChunkserver(ctx context.Context, cfg ChunkserverConfig) (*Chunkserver, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Chunkserver{
		cfg: cfg, log: cfg.Logger, buffer: newPushBuffer(cfg.BufferBytes),
		boot: rand.Uint64() | 1, started: time.Now(), ended: make(chan struct{}),
		roles: make(map[handle]*role), clones: make(map[handle]bool),
	}
	s.peers = newPeerTable(s.peerConfig())
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.store, err = openChunkStore(chunkStoreConfig{
		fs: cfg.FS, dir: cfg.Dir, boot: s.boot, capacity: cfg.Capacity, log: cfg.Logger, notify: s.changed,
		planted: cfg.planted,
	})
	if err != nil {
		s.cancel()
		return nil, &Error{Op: "start chunkserver", Path: cfg.Dir, Err: err}
	}
	if err := s.serve(ctx); err != nil {
		s.Close()
		return nil, &Error{Op: "start chunkserver", Path: cfg.Addr, Err: err}
	}
	return s, nil
}

// serve listens and begins to report.
func (s *Chunkserver) serve(ctx context.Context) error {
	server, err := rpc.NewServer(rpc.ServerConfig{
		Cluster: s.cfg.Cluster, Secret: s.cfg.Secret, Limits: s.limits(), Logger: s.log, Interceptors: diagnostics(s.log),
	})
	if err != nil {
		return err
	}
	s.server = server
	s.handle()
	for _, addr := range s.cfg.Masters {
		link, err := s.newMasterLink(addr)
		if err != nil {
			return err
		}
		s.masters = append(s.masters, link)
	}
	at, err := server.Listen(ctx, s.cfg.Transport, s.cfg.Addr)
	if err != nil {
		return err
	}
	if s.addr = s.cfg.Advertise; s.addr == "" {
		s.addr = at.String()
	}
	for _, link := range s.masters {
		s.goOn(link.run)
	}
	s.goOn(s.tend)
	if s.cfg.ScrubInterval > 0 {
		s.goOn(s.scrub)
	}
	s.log.Info("chunkserver serves", "addr", s.addr, "dir", s.cfg.Dir, "replicas", len(s.store.handles()))
	return nil
}

// limits are those of the server: a mutation that is sent again has its data in the
// message.
func (s *Chunkserver) limits() rpc.Limits {
	return rpc.Limits{MaxMessageBytes: max(16<<20, s.buffer.limit()+64<<10)}
}

// handle registers the methods.
func (s *Chunkserver) handle() {
	rpc.Handle(s.server, methodRead, s.handleRead)
	rpc.Handle(s.server, methodLength, s.handleLength)
	rpc.HandleStream(s.server, methodPush, s.handlePush)
	rpc.Handle(s.server, methodWrite, s.handleWrite)
	rpc.Handle(s.server, methodAppend, s.handleAppend)
	rpc.Handle(s.server, methodSync, s.handleSync)
	rpc.Handle(s.server, methodApply, s.handleApply)
	rpc.Handle(s.server, methodBlocks, s.handleBlocks)
	rpc.Handle(s.server, methodMake, s.handleMake)
	rpc.Handle(s.server, methodRaise, s.handleRaise)
	rpc.Handle(s.server, methodLease, s.handleLease)
	rpc.Handle(s.server, methodRevoke, s.handleRevoke)
	rpc.Handle(s.server, methodHail, s.handleHail)
	rpc.Handle(s.server, methodFork, s.handleFork)
	rpc.Handle(s.server, methodClone, s.handleClone)
	rpc.Handle(s.server, methodDigest, s.handleDigest)
	rpc.Handle(s.server, methodAccept, s.handleAccept)
}

// goOn runs f until Close.
func (s *Chunkserver) goOn(f func()) {
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		f()
	}()
}

// Addr returns the address by which others reach the server.
func (s *Chunkserver) Addr() string { return s.addr }

// Close stops the server: mutations in progress fail, then what is on the disk is made
// durable, so that the next start need not suspect it. It is idempotent, and returns when
// everything has ended. To kill the process instead does no harm either (§5.1.1).
func (s *Chunkserver) Close() error {
	s.closed.Do(func() {
		s.cancel()
		s.endRoles()
		if s.server != nil {
			s.fault = s.server.Close()
		}
		s.endRoles() // also what began meanwhile; nothing begins now
		for _, link := range s.masters {
			link.client.Close()
		}
		s.peers.close()
		s.work.Wait()
		if err := s.store.close(); err != nil {
			s.fault = errors.Join(s.fault, err)
		}
		close(s.ended)
	})
	<-s.ended
	return s.fault
}

// Wait waits until the server has been closed, or ctx ends.
func (s *Chunkserver) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clock is the chunkserver's own: what leases are measured by. It is never 0.
func (s *Chunkserver) clock() time.Duration { return time.Since(s.started) + 1 }

// pause waits, and reports whether the server goes on.
func (s *Chunkserver) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// size returns the chunk size of the cluster. Before a master has said it, nothing is
// mutated.
func (s *Chunkserver) size() int64 {
	if n := s.chunkSize.Load(); n > 0 {
		return n
	}
	return MaxChunkSize
}

// peerConfig is how the server calls others, without their addresses.
func (s *Chunkserver) peerConfig() rpc.ClientConfig {
	return rpc.ClientConfig{
		Transport: s.cfg.Transport, Cluster: s.cfg.Cluster, Secret: s.cfg.Secret, Limits: s.limits(), Logger: s.log,
	}
}

// tend makes replicas clean that have come to rest, and forgets roles nobody plays.
func (s *Chunkserver) tend() {
	for s.pause(tendInterval) {
		for _, h := range s.store.handles() {
			if s.ctx.Err() != nil {
				return
			}
			if s.leading(h) {
				continue
			}
			if err := s.store.clean(h, restAfter); err != nil && !errors.Is(err, errBusyChunk) && !errors.Is(err, errNoChunk) {
				s.log.Warn("replica cannot be made clean", "chunk", uint64(h), "err", err)
			}
		}
		s.forgetRoles()
	}
}
