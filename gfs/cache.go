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
// Invariants: entries is the number of chunks of all files; every file is in recent once.
type locationCache struct {
	keep time.Duration

	mu      sync.Mutex // guards what follows
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
}

type cachedChunk struct {
	info  *chunkInfo // never changed
	until time.Time
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
	if !ok {
		return nil, f.count
	}
	if !now.Before(k.until) {
		delete(f.chunks, index)
		l.entries--
		return nil, f.count
	}
	return k.info, f.count
}

// put notes what a master has answered to a lookup of the chunks from first on. What is
// missing between those that were found is a hole; so is first, if there are chunks
// after it and it was not found.
func (l *locationCache) put(id fileID, first uint64, resp *lookupResp, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file(id)
	f.count = resp.chunks
	next := first
	for i := range resp.found {
		info := &resp.found[i]
		for ; next < info.index && l.entries < maxCached; next++ {
			l.set(f, &chunkInfo{index: next}, now)
		}
		l.set(f, info, now)
		next = info.index + 1
	}
	if next == first && first < resp.chunks {
		l.set(f, &chunkInfo{index: first}, now)
	}
	l.trim(f)
}

// granted notes what a master has answered to a grant.
func (l *locationCache) granted(id fileID, resp *grantResp, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file(id)
	f.count = max(f.count, resp.chunks)
	info := resp.chunk
	l.set(f, &info, now)
	l.trim(f)
}

// drop forgets a chunk, unless more is known of it than the caller knew: info is what
// has turned out to be of no use.
func (l *locationCache) drop(id fileID, info *chunkInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.files[id]; f != nil && f.chunks[info.index].info == info {
		delete(f.chunks, info.index)
		l.entries--
	}
}

// forget forgets a file.
func (l *locationCache) forget(id fileID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.files[id]; f != nil {
		l.remove(f)
	}
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

func (l *locationCache) set(f *cachedFile, info *chunkInfo, now time.Time) {
	if _, ok := f.chunks[info.index]; !ok {
		l.entries++
	}
	f.chunks[info.index] = cachedChunk{info, now.Add(l.keep)}
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
