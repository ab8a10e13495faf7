package gfs

import (
	"math/rand/v2"
	"testing"
	"time"
)

// check fails if the cache's invariants do not hold.
func (l *locationCache) check(t testing.TB) {
	t.Helper()
	n := 0
	for id, f := range l.files {
		n += len(f.chunks)
		if f.id != id || f.place.Value != f {
			t.Errorf("file %d is out of its place", id)
		}
	}
	if n != l.entries || l.recent.Len() != len(l.files) {
		t.Errorf("%d entries of %d, %d files of %d", l.entries, n, l.recent.Len(), len(l.files))
	}
	if n > maxCached || len(l.files) > maxCached {
		t.Errorf("%d chunks of %d files; %d are the most", n, len(l.files), maxCached)
	}
}

func TestLocationCache(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLocationCache(time.Minute)
	resp := &lookupResp{chunks: 10, found: []chunkInfo{{index: 3, handle: 1}, {index: 6, handle: 2}}}
	l.put(1, 2, resp, 0, now)
	for index, want := range map[uint64]int{0: -1, 1: -1, 2: 0, 3: 1, 4: 0, 5: 0, 6: 2, 7: -1} {
		info, count := l.get(1, index, now)
		if got := -1; info != nil {
			got = int(info.handle)
			if got != want {
				t.Errorf("chunk %d: %d, not %d", index, got, want)
			}
		} else if want != -1 {
			t.Errorf("chunk %d is not known", index)
		}
		if count != 10 {
			t.Errorf("%d chunks, not 10", count)
		}
	}
	l.put(1, 8, &lookupResp{chunks: 10}, 0, now)
	if info, _ := l.get(1, 8, now); info == nil || info.handle != 0 {
		t.Error("a hole that was asked for is not known")
	}
	old, _ := l.get(1, 3, now)
	l.granted(1, &grantResp{chunk: chunkInfo{index: 3, handle: 9}, chunks: 12}, 0, now)
	l.drop(1, old)
	if info, count := l.get(1, 3, now); info == nil || info.handle != 9 || count != 12 {
		t.Error("what was found out is dropped for what was known before")
	}
	if info, _ := l.get(1, 6, now.Add(time.Minute)); info != nil {
		t.Error("what is old is still believed")
	}
	l.check(t)
	l.forget(1)
	if info, count := l.get(1, 3, now); info != nil || count != 0 {
		t.Error("a file is not forgotten")
	}
	l.check(t)
}

// What was acknowledged to the client is not forgotten for what a master said before, or
// was asked before.
func TestLocationCacheKnowsWhatWasWritten(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLocationCache(time.Minute)
	known := func(h handle, v version) {
		t.Helper()
		info, count := l.get(1, 0, now)
		if got := info != nil; got != (h != 0) || got && (info.handle != h || info.version != v) {
			t.Errorf("%+v is known, not %d at version %d", info, h, v)
		}
		if count < 1 {
			t.Error("the file has grown, and that is forgotten")
		}
	}
	says := func(h handle, v version) *lookupResp {
		return &lookupResp{chunks: 1, found: []chunkInfo{{handle: h, version: v}}}
	}
	before := l.ask()
	l.granted(1, &grantResp{chunk: chunkInfo{handle: 5, version: 1}, chunks: 1}, before, now)
	l.wrote(1, 0, 5, 1)
	known(5, 1)
	l.put(1, 0, &lookupResp{}, before, now)
	known(5, 1)
	l.wrote(1, 0, 5, 2) // the primary went on without a member
	known(0, 0)
	for _, resp := range []*lookupResp{{chunks: 1}, says(4, 9), says(5, 1)} {
		l.put(1, 0, resp, before, now)
		known(0, 0)
	}
	l.put(1, 0, says(5, 2), before, now)
	known(5, 2)
	info, _ := l.get(1, 0, now)
	l.drop(1, info)
	known(0, 0)
	l.put(1, 0, says(5, 1), before, now)
	known(0, 0)
	l.put(1, 0, says(6, 1), before, now)
	known(6, 1)
	l.put(1, 0, says(3, 1), l.ask(), now) // asked since, it is true whatever it is
	known(3, 1)
	l.check(t)
	before = l.ask()
	l.forget(1)
	l.put(1, 0, says(7, 1), before, now)
	if info, _ := l.get(1, 0, now); info != nil {
		t.Error("what was asked before the file was opened is believed")
	}
	l.check(t)
}

func TestLocationCacheIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	rnd := rand.New(rand.NewPCG(1, 2))
	l := newLocationCache(time.Minute)
	for round := range 60 {
		resp := &lookupResp{chunks: 1 << 40}
		first := rnd.Uint64N(1 << 20)
		for i := range uint64(rnd.IntN(2000)) {
			resp.found = append(resp.found, chunkInfo{index: first + i*rnd.Uint64N(3) + i, handle: 1})
		}
		l.put(fileID(rnd.IntN(50)), first, resp, 0, now)
		l.granted(fileID(1000+rnd.IntN(1000)), &grantResp{chunk: chunkInfo{index: rnd.Uint64()}}, 0, now)
		now = now.Add(time.Duration(rnd.IntN(int(time.Second))))
		l.get(fileID(rnd.IntN(50)), first, now)
		l.wrote(fileID(rnd.IntN(50)), rnd.Uint64N(1<<20), 1, 1)
		if rnd.IntN(4) == 0 {
			l.forget(fileID(rnd.IntN(50)))
		}
		if round%10 == 0 {
			l.check(t)
		}
	}
}

func TestLatencyBuckets(t *testing.T) {
	for b := range latencyBuckets - 1 {
		if got := latencyBucket(latencyBound(b) - 1); got != b {
			t.Errorf("just below the bound of bucket %d: bucket %d", b, got)
		}
		if got := latencyBucket(latencyBound(b)); got != b+1 {
			t.Errorf("at the bound of bucket %d: bucket %d", b, got)
		}
	}
	if latencyBucket(0) != 0 || latencyBucket(-1) != 0 || latencyBucket(1<<62) != latencyBuckets-1 {
		t.Error("the ends")
	}
}

func TestLatencies(t *testing.T) {
	var l latencies
	now := time.Unix(0, 0)
	if p50, late := l.quantiles(1, now); p50 != 0 || late != 0 {
		t.Errorf("%v, %v of nothing", p50, late)
	}
	near := func(got, want time.Duration) bool { return got >= want && got <= want*3/2 }
	for i := range 1000 {
		took := time.Millisecond
		if i%10 == 0 {
			took = 100 * time.Millisecond
		}
		l.add(1, took, now)
		l.add(1<<20, 10*took, now)
	}
	if p50, late := l.quantiles(1, now); !near(p50, time.Millisecond) || !near(late, 100*time.Millisecond) {
		t.Errorf("small: %v, %v", p50, late)
	}
	if p50, late := l.quantiles(1<<20, now); !near(p50, 10*time.Millisecond) || !near(late, time.Second) {
		t.Errorf("large: %v, %v", p50, late)
	}
	for range 3 * latencyFull {
		l.add(1, 20*time.Millisecond, now)
	}
	if p50, _ := l.quantiles(1, now); !near(p50, 20*time.Millisecond) {
		t.Errorf("it does not follow: %v", p50)
	}
	if p50, _ := l.quantiles(1, now.Add(latencyForget+1)); p50 != 0 {
		t.Error("it does not forget")
	}
}
