package gfs

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// ClientConfig configures a Client. Transport and Masters are required.
type ClientConfig struct {
	// Transport reaches masters and chunkservers.
	Transport transport.Transport
	// Masters are the addresses of the master and of those that take over from it. The
	// client finds the one that serves.
	Masters []string
	// Shadows are the addresses of shadow masters (§5.1.3). While no master answers,
	// what reads metadata is answered by them, and lags behind by as much as they do.
	// Default none: such operations wait for a master.
	Shadows []string
	// Cluster and Secret must be those of the cluster. Default none.
	Cluster string
	Secret  []byte
	// User is who the client says it is: owner and permissions go by it. With TLS it
	// must be a name in the client's certificate; without, the master takes the client's
	// word for it. Default "".
	User string

	// Host, Rack and Zone say where the client is, to find the nearest replicas: the
	// host part of the addresses of the chunkservers on the same machine, and the labels
	// that those nearby have. Default "": unknown.
	Host string
	Rack string
	Zone string

	// ReadAhead is how many bytes are read ahead of a file that is read sequentially.
	// Default 8 MiB; negative: none.
	ReadAhead int
	// WriteBehind is how many bytes that Write has taken may be under way without having
	// been acknowledged. Default 8 MiB; negative: none, each Write waits.
	WriteBehind int
	// Hedge is the longest that a read waits for one replica before it asks another
	// beside it. How long it really waits follows what reads have lately taken.
	// Default 500 ms; negative: other replicas are asked only after an error.
	Hedge time.Duration
	// CacheTime is how long the client trusts what a master told it of a file's chunks:
	// the window for stale reads (§2.7.1). Default 1 min.
	CacheTime time.Duration
	// Patience is how long one step of an operation (a call of the master, one piece of
	// a read or a write) is tried again while servers do not answer, before it fails
	// with ErrUnavailable. Default 2 min: more than a lease, so that a write survives
	// a primary that is cut off. The context of an operation may end it sooner.
	Patience time.Duration
	// Jitter delays the first read of each opened file by a random time up to it, so that
	// a file which thousands of clients open at one moment does not overwhelm its
	// replicas. Default 0: none.
	Jitter time.Duration

	// Limits bound what servers can make the client hold.
	Limits rpc.Limits
	// Logger receives what is out of the ordinary; nil is silence.
	Logger hclog.Logger
}

func (cfg ClientConfig) withDefaults() (ClientConfig, error) {
	const op = "dial"
	switch {
	case cfg.Transport == nil:
		return cfg, configError(op, "Transport", "is nil")
	case len(cfg.Masters) == 0:
		return cfg, configError(op, "Masters", "is empty")
	case cfg.CacheTime < 0:
		return cfg, configError(op, "CacheTime", "is %v", cfg.CacheTime)
	case cfg.Patience < 0:
		return cfg, configError(op, "Patience", "is %v", cfg.Patience)
	case cfg.Jitter < 0:
		return cfg, configError(op, "Jitter", "is %v", cfg.Jitter)
	case cfg.ReadAhead > maxAhead:
		return cfg, configError(op, "ReadAhead", "is %d; %d are the most", cfg.ReadAhead, maxAhead)
	case cfg.WriteBehind > maxAhead:
		return cfg, configError(op, "WriteBehind", "is %d; %d are the most", cfg.WriteBehind, maxAhead)
	}
	if cfg.ReadAhead == 0 {
		cfg.ReadAhead = 8 << 20
	}
	if cfg.WriteBehind == 0 {
		cfg.WriteBehind = 8 << 20
	}
	if cfg.Hedge == 0 {
		cfg.Hedge = 500 * time.Millisecond
	}
	if cfg.CacheTime == 0 {
		cfg.CacheTime = time.Minute
	}
	if cfg.Patience == 0 {
		cfg.Patience = 2 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return cfg, nil
}

// maxAhead bounds ReadAhead and WriteBehind.
const maxAhead = 1 << 30

// Client is a client of a cluster. It may be used by any number of goroutines. All
// methods that take a context end with it. The errors of all methods are *Error, and
// match the sentinels of this package and of package fs.
//
// # What a reader may see
//
// The client keeps no data (§2.3), but it remembers for ClientConfig.CacheTime where
// chunks are and at which version. A read is served by one replica, at the version that
// the client knows or a later one. So it sees every write that was acknowledged before
// it began, with one exception: the replica that it asks was cut off from the others
// when the write took place, or the chunk has been replaced because a snapshot shared
// it, and the client has not asked the master since. Such a stale read is possible for
// CacheTime at most after the client asked, and not after the file is opened anew,
// which forgets what is known of its chunks (§2.7.1). Likewise, for CacheTime a chunk in
// the middle of a file may be taken for a hole that has been filled meanwhile, and a
// short last chunk for the end of a file that has grown by whole chunks.
//
// File.Read reads ahead: what it returns was in the file at some time in the last
// CacheTime. File.ReadAt reads nothing ahead.
//
// A client reads what it has written itself: with File.ReadAt through any of its files,
// with File.Read through the same one.
//
// # What a writer leaves behind
//
// The regions of a file are as in table 1 of the paper (§2.7.1). A write that succeeds
// without others at the same place is defined. Concurrent writes to one place leave the
// same bytes on all replicas, which may be mingled of them. A write that spans pieces of
// 1 MiB or chunks is several writes. Records appended are atomic, at least once, each at
// the offset that is returned; between them may be padding (zeros), pieces of records
// and duplicates: NewRecordReader skips these. Any failed mutation leaves its region
// undefined, and different on different replicas.
//
// What is acknowledged is with every member of the chunk's lease; Sync makes them store
// it durably.
type Client struct {
	cfg       ClientConfig
	master    *rpc.Client
	shadows   *rpc.Client // nil: none
	peers     *peerTable
	chains    chainTable
	cache     *locationCache
	flights   lookupFlights
	hedging   hedgeBudget
	here      location // of the client
	chunkSize int64
	id        uint64 // random: the first half of the ids of what is pushed
	pushed    atomic.Uint64
	count     clientCounters

	operations operations

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // what runs in the background

	mu          sync.Mutex // guards what follows
	closed      bool
	shadowUntil time.Time // until then the shadows are asked first
	reported    map[badReplica]time.Time
}

// Dial returns a client of the cluster whose master is at cfg.Masters. It asks a master
// for what it has to know, and waits for that as long as cfg.Patience and ctx allow.
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, id: rand.Uint64(),
		cache:    newLocationCache(cfg.CacheTime),
		here:     location{addr: cfg.Host, rack: cfg.Rack, zone: cfg.Zone},
		reported: make(map[badReplica]time.Time),
	}
	if _, _, err := net.SplitHostPort(cfg.Host); cfg.Host != "" && err != nil {
		c.here.addr = net.JoinHostPort(cfg.Host, "0")
	}
	rc := rpc.ClientConfig{
		Transport: cfg.Transport, Addrs: cfg.Masters, Cluster: cfg.Cluster, Secret: cfg.Secret,
		Node: cfg.User, Limits: cfg.Limits, Logger: cfg.Logger,
	}
	if c.master, err = rpc.NewClient(rc); err != nil {
		return nil, &Error{Op: "dial", Err: fmt.Errorf("%w: %w", ErrConfig, err)}
	}
	if len(cfg.Shadows) > 0 {
		rc.Addrs = cfg.Shadows
		if c.shadows, err = rpc.NewClient(rc); err != nil {
			return nil, &Error{Op: "dial", Err: fmt.Errorf("%w: %w", ErrConfig, err)}
		}
	}
	rc.Addrs = nil
	c.peers = newPeerTable(rc)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	about, err := askMaster[clusterResp](ctx, c, methodCluster, &rpc.Empty{})
	if err == nil && (about.chunkSize <= 0 || about.chunkSize > MaxChunkSize) {
		err = fmt.Errorf("%w: the master names a chunk size of %d bytes", fs.ErrInvalid, about.chunkSize)
	}
	if err != nil {
		c.Close()
		return nil, opError("dial", cfg.Masters[0], err)
	}
	c.chunkSize = about.chunkSize
	return c, nil
}

// Close ends all operations with ErrClosed. What open files have not written is lost:
// close them before. It is idempotent.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel(ErrClosed)
	c.operations.close()
	c.chains.close()
	c.peers.close()
	if c.shadows != nil {
		c.shadows.Close()
	}
	err := c.master.Close()
	c.wg.Wait()
	return err
}

// ChunkSize returns the cluster's chunk size in bytes.
func (c *Client) ChunkSize() int64 { return c.chunkSize }

// MaxRecord returns the size of the largest record that File.Append takes, in bytes: a
// quarter of the chunk size (§3.3).
func (c *Client) MaxRecord() int { return int(c.chunkSize / 4) }

// background runs f in a goroutine that Close waits for; ctx ends with the client. It
// reports whether f will run.
func (c *Client) background(f func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(func() { f(c.ctx) })
	return true
}

// nextData returns an id for data to be pushed.
func (c *Client) nextData() dataID { return dataID{client: c.id, n: c.pushed.Add(1)} }

// ClientStats counts what a client has done since Dial.
type ClientStats struct {
	MasterCalls  uint64 // calls of masters and shadows
	Lookups      uint64 // of those: where chunks are
	Grants       uint64 // of those: who is the primary
	Reads        uint64 // reads of replicas that were answered
	ReadBytes    uint64 // what they brought
	LocalBytes   uint64 // of those: from a chunkserver on ClientConfig.Host
	ReadFailures uint64 // reads of replicas that failed
	Hedges       uint64 // second reads beside a slow one
	HedgesWon    uint64 // of those: answered first
	BadReplicas  uint64 // reported to the master
	Writes       uint64 // writes and appends acknowledged
	WriteBytes   uint64
	WriteRetries uint64 // attempts to write or append that failed
}

type clientCounters struct {
	masterCalls, lookups, grants                             atomic.Uint64
	reads, readBytes, localBytes, readFailures, hedges, wins atomic.Uint64
	bad, writes, writeBytes, writeRetries                    atomic.Uint64
}

// Stats returns the client's counts.
func (c *Client) Stats() ClientStats {
	n := &c.count
	return ClientStats{
		MasterCalls: n.masterCalls.Load(), Lookups: n.lookups.Load(), Grants: n.grants.Load(),
		Reads: n.reads.Load(), ReadBytes: n.readBytes.Load(), LocalBytes: n.localBytes.Load(),
		ReadFailures: n.readFailures.Load(), Hedges: n.hedges.Load(), HedgesWon: n.wins.Load(),
		BadReplicas: n.bad.Load(), Writes: n.writes.Load(), WriteBytes: n.writeBytes.Load(),
		WriteRetries: n.writeRetries.Load(),
	}
}
