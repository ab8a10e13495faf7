package gfs

import (
	"io"
	"math/rand/v2"
	"time"
)

// A state is the durable part of a master as a Machine: metadata, under a lock. Commands
// are in state_commands.go. Reads run beside one another; each sees the state between
// two commands.
type state struct {
	mu      *crowdLock // guards all that follows
	data    *metadata
	applied uint64 // the position of the last command
}

// newState returns the state of a new cluster.
func newState() *state { return &state{mu: newCrowdLock(), data: newMetadata(hashSeed())} }

// hashSeed returns a seed for the index of the namespace: clients choose the paths, and
// must not be able to choose such as get in one another's way.
func hashSeed() [2]uint64 { return [2]uint64{rand.Uint64(), rand.Uint64() | 1} }

// Apply implements Machine.
func (s *state) Apply(index uint64, at time.Time, cmd, dst []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = index
	return s.data.apply(at, cmd, dst)
}

// Freeze implements Machine. It takes no time to speak of: the image shares what is
// large with the state, which copies before it writes.
func (s *state) Freeze() (io.WriterTo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.freeze(), nil
}

// Restore implements Machine. If it fails, the state is as it was.
func (s *state) Restore(r io.Reader) error {
	data, err := restoreMetadata(r, hashSeed())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data.chunks.watched = s.data.chunks.watched
	s.data = data
	return nil
}

// Fingerprint implements Machine.
func (s *state) Fingerprint() string { return metadataFormat }

// position returns the position of the last command that was applied here: 0 before the
// first. What is read afterwards is at that position or later.
func (s *state) position() uint64 {
	defer s.mu.read().RUnlock()
	return s.applied
}

// stat returns the attributes of a path. Those that only chunkservers know are left for
// the caller to fill in: size, open, and where the last chunk is. Paths of what was removed are found too.
func (s *state) stat(who identity, path string) (attributes, error) {
	defer s.mu.read().RUnlock()
	return s.data.stat(&who, path)
}

// lookup returns which file is at a path, how many chunks it has, and those of count
// (at most maxLookup) from first on that are there, without where they are. It fails
// with ErrStale if file is neither 0 nor the one that is there, and needs permission to
// read.
func (s *state) lookup(who identity, path string, file fileID, first, count uint64) (id fileID, chunks uint64, found []chunkInfo, err error) {
	return s.lookupTo(nil, who, path, file, first, count)
}

// lookupTo is lookup that appends what it finds to dst.
func (s *state) lookupTo(dst []chunkInfo, who identity, path string, file fileID, first, count uint64) (id fileID, chunks uint64, found []chunkInfo, err error) {
	defer s.mu.read().RUnlock()
	return s.data.lookup(dst, &who, path, file, first, count)
}

// writable returns nil if who may change the chunks of the file at a path: it is not
// removed, and is file unless that is 0 (ErrStale).
func (s *state) writable(who identity, path string, file fileID) error {
	defer s.mu.read().RUnlock()
	return s.data.writable(&who, path, file)
}

// chunkAt returns the chunk of a file at an index, or with last its last one, for a
// grant: the permission is that of writable. The handle is 0 if there is none, and index
// where it would be. id and chunks are the file's, goal is that of a new chunk.
func (s *state) chunkAt(who identity, path string, file fileID, index uint64, last bool) (r chunkPlace, err error) {
	defer s.mu.read().RUnlock()
	return s.data.chunkAt(&who, path, file, index, last)
}

// readDir returns entries of a directory in the order of their names, after a name (""
// for the first page), limit of them (0, or more than maxReadDir: that many): those that
// are there, or with deleted those that were removed. more says whether there are others.
// In the attributes, path is the name alone.
func (s *state) readDir(who identity, path, after string, limit uint64, deleted bool) (list []attributes, more bool, err error) {
	defer s.mu.read().RUnlock()
	return s.data.readDir(&who, path, after, limit, deleted)
}

// usage returns what is below a directory, not counting itself, or what a file has, and
// the policy of the directory itself. What was removed counts until it is collected.
// Bytes are left for the caller to fill in. It takes time in proportion to what is there,
// except for the root and directories with a quota; commands are applied
// meanwhile, and what they change is counted as it is when its turn comes.
func (s *state) usage(who identity, path string) (usageResp, error) {
	var u usageCount
	for {
		if more, err := s.usageStep(&who, path, &u); err != nil || !more {
			return u.usageResp, err
		}
	}
}

func (s *state) usageStep(who *identity, path string, u *usageCount) (more bool, err error) {
	defer s.mu.read().RUnlock()
	return s.data.usage(who, path, u)
}

// walkChunks goes through the chunks of all files at a path and below it, removed ones
// too, in the order of paths, in pages of about limit chunks (0, or more than maxLookup:
// that many). after is "" for the first page, then the next of the page before, which
// means nothing to others. Files without a chunk are counted and otherwise left out.
func (s *state) walkChunks(who identity, path, after string, limit int) (chunkWalk, error) {
	defer s.mu.read().RUnlock()
	return s.data.walkChunks(&who, path, after, limit)
}

// chunk returns what is durable of a chunk, if a file has it.
func (s *state) chunk(h handle) (chunkRow, bool) {
	defer s.mu.read().RUnlock()
	return s.data.chunks.get(h)
}

// chunksAfter appends the chunks after a handle to dst, in the order of handles, at most
// limit of them. There are no more once fewer come.
func (s *state) chunksAfter(dst []handleRow, h handle, limit int) []handleRow {
	defer s.mu.read().RUnlock()
	for ; limit > 0; limit-- {
		next, ok := s.data.chunks.after(h)
		if !ok {
			break
		}
		row, _ := s.data.chunks.get(next)
		dst, h = append(dst, handleRow{next, row}), next
	}
	return dst
}

// A handleRow is a chunk with its name.
type handleRow struct {
	handle handle
	chunkRow
}

// known returns the chunkservers that are not forgotten, in the order of ids.
func (s *state) known() []serverRow {
	defer s.mu.read().RUnlock()
	var rows []serverRow
	for _, row := range s.data.servers {
		if !row.forgotten {
			rows = append(rows, row)
		}
	}
	return rows
}

// server returns a chunkserver, forgotten or not.
func (s *state) server(id serverID) (serverRow, bool) {
	defer s.mu.read().RUnlock()
	if id == 0 || int(id) > len(s.data.servers) {
		return serverRow{}, false
	}
	return s.data.servers[id-1], true
}

// policy returns the policy that is in force in a directory: nothing of it is 0 but
// quotas, which are those of the directory itself.
func (s *state) policy(who identity, path string) (policy, error) {
	defer s.mu.read().RUnlock()
	return s.data.effectivePolicy(&who, path)
}

// due reports whether something that was removed is to be collected at a time.
func (s *state) due(at time.Time) bool {
	defer s.mu.read().RUnlock()
	return s.data.due(at)
}

// counts returns how much there is.
func (s *state) counts() stateCounts {
	defer s.mu.read().RUnlock()
	return s.data.counts()
}

// serverOf returns the chunkserver whose disk has a UUID, forgotten or not.
func (s *state) serverOf(uuid [16]byte) (serverRow, bool) {
	defer s.mu.read().RUnlock()
	for _, row := range s.data.servers {
		if row.uuid == uuid {
			return row, true
		}
	}
	return serverRow{}, false
}

// watch makes the state note which chunks change, for takeTouched, or stop doing so.
func (s *state) watch(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data.chunks.watched, s.data.chunks.changed = on, nil
}

// takeTouched returns the chunks that were created or dropped, or have changed, since it
// was last called, in the order in which that happened.
func (s *state) takeTouched() []handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.data.chunks.changed
	s.data.chunks.changed = nil
	return changed
}

// epoch returns the epoch of the last cmdLead.
func (s *state) epoch() uint64 {
	defer s.mu.read().RUnlock()
	return s.data.epoch
}

// sizeOfChunks returns the chunk size of the cluster in bytes; 0: nobody has led it yet.
func (s *state) sizeOfChunks() int64 {
	defer s.mu.read().RUnlock()
	return s.data.chunkSize
}
