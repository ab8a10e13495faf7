package gfs

import (
	linked "container/list"
	"sync"
	"time"
)

// maxCached is how many chunks a client remembers the places of. Beyond it, the files
// that were not used for longest are forgotten.
const maxCached = 1 << 16

// A locationCache remembers where the chunks of files are (§2.3): each for a while after
// a master has said so. It may be used concurrently.
//
// A client reads what it has written. So an answer of the master is not believed that is
// older than what the client knows from having been acknowledged (wrote): a question that
// was asked before may be answered with a version at which a replica has not the write. For
// that the cache counts what happens: ask tells where the count is when a question is asked.
//
// Invariants: entries is the number of chunks of all files; every file is in recent once.
type locationCache struct {
	keep time.Duration

	mu      sync.Mutex // guards what follows
	count   uint64     // of acknowledgements, and of files forgotten
	files   map[fileID]*cachedFile
	recent  linked.List // of *cachedFile, the last used first
	entries int
}

// A cachedFile is what is known of one file's chunks.
type cachedFile struct {
	id     fileID
	place  *linked.Element
	count  uint64 // chunks of the whole file
	chunks map[uint64]cachedChunk
	forgot uint64 // when it was forgotten: answers to questions of before are not believed
	grew   uint64 // when count was last known from an acknowledgement
}

type cachedChunk struct {
	info  *chunkInfo // never changed; nil: it is forgotten
	until time.Time

	// What the client has written last: no replica that is older has it.
	handle  handle // 0: nothing
	version version
	wrote   uint64 // when that was
}

// older reports whether what a master has said is of before the client's last write. A
// place in a file gets ever higher handles.
func (k *cachedChunk) older(info *chunkInfo) bool {
	return info.handle < k.handle || info.handle == k.handle && info.version < k.version
}

func newLocationCache(keep time.Duration) *locationCache {
	return &locationCache{keep: keep, files: make(map[fileID]*cachedFile)}
}

// get returns what is known of a chunk: nil if nothing is, and how many chunks the file
// has. A chunk with handle 0 is a hole.
func (l *locationCache) get(id fileID, index uint64, now time.Time) (*chunkInfo, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	if f == nil {
		return nil, 0
	}
	l.recent.MoveToFront(f.place)
	k, ok := f.chunks[index]
	if ok && k.info != nil && !now.Before(k.until) {
		l.lose(f, index, k)
		return nil, f.count
	}
	return k.info, f.count
}

// ask returns when a question is asked, for put and granted.
func (l *locationCache) ask() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// put notes what a master has answered to a lookup, asked then, of the chunks from first
// on. What is missing between those that were found is a hole; so is first, if there are
// chunks after it and it was not found.
func (l *locationCache) put(id fileID, first uint64, resp *lookupResp, asked uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file(id)
	if asked < f.forgot {
		return
	}
	if asked >= f.grew || resp.chunks > f.count {
		f.count = resp.chunks
	}
	next := first
	for i := range resp.found {
		info := &resp.found[i]
		for ; next < info.index && l.entries < maxCached; next++ {
			l.set(f, &chunkInfo{index: next}, asked, now)
		}
		l.set(f, info, asked, now)
		next = info.index + 1
	}
	if next == first && first < resp.chunks {
		l.set(f, &chunkInfo{index: first}, asked, now)
	}
	l.trim(f)
}

// granted notes what a master has answered to a grant, asked then.
func (l *locationCache) granted(id fileID, resp *grantResp, asked uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file(id)
	if asked < f.forgot {
		return
	}
	f.count = max(f.count, resp.chunks)
	info := resp.chunk
	l.set(f, &info, asked, now)
	l.trim(f)
}

// wrote notes that a mutation of a chunk was acknowledged by all members of the grant of a
// version. That may be a later one than the client knew: the primary went on without a
// member, which has not the mutation, and serves who asks for the version of before.
func (l *locationCache) wrote(id fileID, index uint64, h handle, v version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	f := l.file(id)
	f.count, f.grew = max(f.count, index+1), l.count
	k, ok := f.chunks[index]
	if !ok {
		l.entries++
	}
	k.handle, k.version, k.wrote = h, v, l.count
	if k.info != nil && k.older(k.info) {
		k.info = nil
	}
	f.chunks[index] = k
	l.trim(f)
}

// drop forgets a chunk, unless more is known of it than the caller knew: info is what
// has turned out to be of no use.
func (l *locationCache) drop(id fileID, info *chunkInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.files[id]; f != nil && f.chunks[info.index].info == info {
		l.lose(f, info.index, f.chunks[info.index])
	}
}

// lose forgets where a chunk is.
func (l *locationCache) lose(f *cachedFile, index uint64, k cachedChunk) {
	if k.info = nil; k.handle != 0 {
		f.chunks[index] = k
		return
	}
	delete(f.chunks, index)
	l.entries--
}

// forget forgets a file: what is found out of it from now on was asked from now on.
func (l *locationCache) forget(id fileID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	f := l.file(id)
	l.entries -= len(f.chunks)
	clear(f.chunks)
	f.count, f.forgot = 0, l.count
	l.trim(f)
}

func (l *locationCache) file(id fileID) *cachedFile {
	f := l.files[id]
	if f == nil {
		f = &cachedFile{id: id, chunks: make(map[uint64]cachedChunk)}
		f.place = l.recent.PushFront(f)
		l.files[id] = f
	}
	l.recent.MoveToFront(f.place)
	return f
}

func (l *locationCache) set(f *cachedFile, info *chunkInfo, asked uint64, now time.Time) {
	k, ok := f.chunks[info.index]
	if asked < k.wrote && k.older(info) {
		return
	}
	if !ok {
		l.entries++
	}
	k.info, k.until = info, now.Add(l.keep)
	f.chunks[info.index] = k
}

func (l *locationCache) remove(f *cachedFile) {
	l.recent.Remove(f.place)
	delete(l.files, f.id)
	l.entries -= len(f.chunks)
}

// trim makes room, at the cost of keep last.
func (l *locationCache) trim(keep *cachedFile) {
	for l.entries+len(l.files) > maxCached && len(l.files) > 1 {
		oldest := l.recent.Back().Value.(*cachedFile)
		if oldest == keep {
			break
		}
		l.remove(oldest)
	}
	if l.entries > maxCached { // of this one alone
		l.entries -= len(keep.chunks)
		clear(keep.chunks)
	}
}
