package gfs

import (
	lru "container/list"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/internal/vfs"
)

// A chunkStore keeps the replicas of a chunkserver on its disk.
//
// What it promises of a replica, whatever stops the process or cuts the power, and when:
//
//   - It is there whole, or not at all: a replica that was being made or cloned is gone.
//   - Its version is the one that raise last answered for, or the one that it was
//     being raised to.
//   - Bytes that do not match their checksum are never returned.
//   - What a write had answered for outlives the process; what was there when sync
//     answered outlives the power, until it is overwritten.
//   - One whose mutations were interrupted is suspect, and serves nothing until it has
//     been accepted: it may lack what was not synced, and a write that was cut short has
//     left blocks that match no checksum.
//
// Of a suspect that the same run of the machine has written to, as after a mere kill, it
// knows that only the last write can be incomplete: everything before is there.
//
// A write that fails leaves the replica as it was, if it can be undone; otherwise the
// replica is corrupt. It may be used concurrently.
type chunkStore struct {
	fs     vfs.FS
	dir    string
	boot   uint64 // what dirty headers say; not 0
	run    uint64 // of the machine, likewise; 0: unknown
	log    hclog.Logger
	bugs   plantedBugs
	lock   io.Closer
	notify func(handle) // told of every replica that changes; it may not call back

	capacity atomic.Int64 // bytes that replicas may take; 0: whatever the disk has
	used     atomic.Int64
	read     atomic.Int64  // bytes, ever
	written  atomic.Int64  // bytes, ever
	faults   atomic.Uint64 // calls of the disk that failed
	warned   atomic.Int64  // when that was last logged, in Unix nanoseconds
	damaged  int           // replicas whose header could not be read at start

	identity sync.Mutex // guards disk, also while it is being written
	disk     diskHead

	mu       sync.Mutex // guards what follows, and pins and recent of every replica
	chunks   map[handle]*storedChunk
	building map[handle]bool // being made, forked or cloned
	idle     *lru.List       // of *storedChunk: those open and not pinned, the last used first
	opened   int             // replicas with open files
	maxOpen  int
	closed   bool
}

// A storedChunk is one replica.
type storedChunk struct {
	handle handle

	flushing sync.Mutex   // held by who makes it durable; taken before mu
	mu       sync.RWMutex // guards what follows and what is in the files
	version  version
	length   int64
	health   health
	dirty    bool // the header has the store's boot
	kept     bool // nothing that was written can be lost, while the machine runs: the disk has refused nothing
	verifier writeVerifier
	gone     bool      // deleted
	mutation uint64    // counts writes
	synced   uint64    // the mutation that is durable
	touched  time.Time // the last write or raise

	anyVersion bool // planted

	scrubbed time.Time // the scrubber's: when it last read all of it

	// Set under mu and the pin of who opens; cleared under the store's mu by who finds
	// no pins.
	data, meta vfs.File
	sums       []uint32 // of all blocks

	// Guarded by the store's mu:
	pins   int
	recent *lru.Element // in idle
}

const (
	// defaultOpen is how many replicas have their files open.
	defaultOpen = 512
	// scanners is how many headers are read at a time at start.
	scanners = 16
)

// chunkStoreConfig configures a chunkStore.
type chunkStoreConfig struct {
	fs       vfs.FS
	dir      string
	boot     uint64
	capacity int64
	maxOpen  int // 0: defaultOpen
	log      hclog.Logger
	notify   func(handle)
	planted  plantedBugs
}

// openChunkStore opens the store in a directory, which it makes if need be, and takes
// stock of what is there.
func openChunkStore(cfg chunkStoreConfig) (*chunkStore, error) {
	s := &chunkStore{
		fs: cfg.fs, dir: cfg.dir, boot: cfg.boot, run: runOf(cfg.fs), log: cfg.log, notify: cfg.notify, bugs: cfg.planted,
		chunks: make(map[handle]*storedChunk), building: make(map[handle]bool),
		idle: lru.New(), maxOpen: cfg.maxOpen,
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.notify == nil {
		s.notify = func(handle) {}
	}
	if s.maxOpen == 0 {
		s.maxOpen = defaultOpen
	}
	s.capacity.Store(cfg.capacity)
	if err := vfs.MkdirAllSync(s.fs, s.dir); err != nil {
		return nil, err
	}
	var err error
	if s.lock, err = s.fs.Lock(filepath.Join(s.dir, "LOCK")); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

// start reads what is in the directory.
func (s *chunkStore) start() error {
	if err := s.identify(); err != nil {
		return err
	}
	if err := s.makeShards(); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(scanners)
	for shard := range storeShards {
		group.Go(func() error { return s.scanShard(shardDir(s.dir, shard)) })
	}
	return group.Wait()
}

// makeShards makes the directories of the replicas that are missing.
func (s *chunkStore) makeShards() error {
	parent := filepath.Join(s.dir, "chunks")
	if err := vfs.MkdirAllSync(s.fs, parent); err != nil {
		return err
	}
	entries, err := s.fs.ReadDir(parent)
	if err != nil || len(entries) >= storeShards {
		return err
	}
	for shard := range storeShards {
		if err := s.fs.MkdirAll(shardDir(s.dir, shard)); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(parent)
}

// identify reads the identity of the disk, or gives it one.
func (s *chunkStore) identify() error {
	name := filepath.Join(s.dir, diskFile)
	b, err := vfs.ReadFile(s.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := notOf(s.fs, s.dir, "log-", "a master"); err != nil {
			return err
		}
		rand.Read(s.disk.uuid[:])
		return vfs.WriteFile(s.fs, name, s.disk.encode())
	}
	if err == nil {
		err = s.disk.decode(b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// uuid returns the disk's id.
func (s *chunkStore) uuid() [16]byte {
	s.identity.Lock()
	defer s.identity.Unlock()
	return s.disk.uuid
}

// epoch returns the highest epoch obeyed.
func (s *chunkStore) epoch() uint64 {
	s.identity.Lock()
	defer s.identity.Unlock()
	return s.disk.epoch
}

// obey notes, durably, that orders of an epoch are obeyed, and none of an older one from
// now on. It fails with errOldEpoch if that was so before.
func (s *chunkStore) obey(epoch uint64) error {
	s.identity.Lock()
	defer s.identity.Unlock()
	if epoch < s.disk.epoch {
		return fmt.Errorf("%w: %d; there has been %d", errOldEpoch, epoch, s.disk.epoch)
	}
	if epoch == s.disk.epoch {
		return nil
	}
	next := s.disk
	next.epoch = epoch
	if err := vfs.WriteFile(s.fs, filepath.Join(s.dir, diskFile), next.encode()); err != nil {
		return err
	}
	s.disk = next
	return nil
}

// scanShard takes stock of a directory of replicas, and removes what is left of replicas
// that were not finished.
func (s *chunkStore) scanShard(dir string) error {
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	files := make(map[string]bool, len(entries))
	for _, e := range entries {
		files[e.Name()] = true
	}
	for _, e := range entries {
		h, suffix, ok := parseChunkFile(e.Name())
		base := fmt.Sprintf("%016x", uint64(h))
		switch {
		case !ok:
			continue // not ours
		case suffix == metaSuffix && files[base+dataSuffix]:
			err = s.scanReplica(h)
		case suffix == dataSuffix && files[base+metaSuffix]:
			continue
		default:
			err = s.fs.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scanReplica takes stock of one replica. What cannot be read is left alone: it is not
// there, and somebody may want to look at it.
func (s *chunkStore) scanReplica(h handle) error {
	name := chunkFile(s.dir, h)
	f, err := vfs.Open(s.fs, name+metaSuffix)
	if err != nil {
		return err
	}
	defer f.Close()
	var head chunkHead
	b := make([]byte, chunkHeader)
	n, err := f.ReadAt(b, 0)
	if err == nil || errors.Is(err, io.EOF) {
		if err = head.decode(b[:n]); err == nil && head.handle != h {
			err = fmt.Errorf("%w: the header is that of %x", ErrChecksum, uint64(head.handle))
		}
	}
	if err != nil {
		if errors.Is(err, vfs.ErrCrashed) {
			return err
		}
		s.log.Error("replica cannot be read", "file", name+metaSuffix, "err", err)
		s.mu.Lock()
		s.damaged++
		s.mu.Unlock()
		return nil
	}
	info, err := s.fs.Stat(name + dataSuffix)
	if err != nil {
		return err
	}
	c := &storedChunk{handle: h, version: head.version, length: head.length, kept: true, verifier: head.verifier, anyVersion: s.bugs.anyVersion}
	if head.dirty != 0 {
		c.health, c.length = suspect, min(info.Size(), MaxChunkSize)
		c.kept = head.run != 0 && head.run == s.run
		if s.bugs.trusting {
			c.health = sound
		}
	} else if info.Size() < head.length {
		c.health = corrupt
	}
	s.mu.Lock()
	s.chunks[h] = c
	s.mu.Unlock()
	s.used.Add(replicaSize(c.length))
	return nil
}

// runOf returns a number for the present run of the machine under a file system, or 0 if
// that cannot be told from others.
func runOf(fsys vfs.FS) uint64 {
	r, ok := fsys.(vfs.Runner)
	if !ok {
		return 0
	}
	name := r.Run()
	if name == "" {
		return 0
	}
	h := fnv.New64a()
	io.WriteString(h, name)
	return h.Sum64() | 1
}

// find returns a replica, or errNoChunk.
func (s *chunkStore) find(h handle) (*storedChunk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.chunks[h]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: %x", errNoChunk, uint64(h))
}

// state describes a replica. One that is not there is gone.
func (s *chunkStore) state(h handle) replicaState {
	c, err := s.find(h)
	if err != nil {
		return replicaState{handle: h, health: gone}
	}
	return c.state()
}

func (c *storedChunk) state() replicaState {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.gone {
		return replicaState{handle: c.handle, health: gone}
	}
	return replicaState{handle: c.handle, version: c.version, length: c.length, health: c.health}
}

// handles returns the handles of all replicas, in no order.
func (s *chunkStore) handles() []handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]handle, 0, len(s.chunks))
	for h := range s.chunks {
		all = append(all, h)
	}
	return all
}

// space returns how many bytes the replicas may take and do take.
func (s *chunkStore) space() (capacity, used int64) {
	used = s.used.Load()
	if capacity = s.capacity.Load(); capacity > 0 {
		return capacity, used
	}
	if sp, ok := s.fs.(vfs.Spacer); ok {
		if free, _, err := sp.Free(s.dir); err == nil {
			return used + free, used
		}
	}
	return MaxChunkSize << 20, used // nobody knows
}

// room fails with ErrNoSpace unless n bytes more may be taken.
func (s *chunkStore) room(n int64) error {
	if capacity := s.capacity.Load(); n > 0 && capacity > 0 && s.used.Load()+n > capacity {
		return fmt.Errorf("%w: %d bytes more than the %d that replicas may take", ErrNoSpace, s.used.Load()+n-capacity, capacity)
	}
	return nil
}

// close makes all replicas clean, as far as the disk lets it, and gives up the directory.
// Nothing may be under way. It is idempotent.
func (s *chunkStore) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	for _, h := range s.handles() {
		if err := s.clean(h, 0); err != nil && !errors.Is(err, errBusyChunk) {
			s.log.Warn("replica is not clean", "chunk", uint64(h), "err", err)
		}
	}
	s.mu.Lock()
	for s.idle.Len() > 0 {
		s.evict()
	}
	s.mu.Unlock()
	return s.lock.Close()
}
