package gfs

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// benchView is a durable side of n chunks, all alike.
type benchView struct{ n handle }

func (v benchView) chunk(h handle) (chunkRow, bool) {
	return chunkRow{version: 1 << versionEpochShift, refs: 1, live: 1, goal: 3}, h > 0 && h <= v.n
}

// benchFleet has n chunks with three replicas each on some servers, is settled and has
// nothing to do.
func benchFleet(tb testing.TB, n handle, servers int) (*fleet, time.Time) {
	f := newFleet(fleetConfig{moves: -1}, benchView{n})
	now := modelStart
	var rows []serverRow
	for i := range servers {
		rows = append(rows, serverRow{location: location{id: serverID(i + 1), addr: fmt.Sprintf("10.0.%d.%d:1", i/256, i%256), rack: fmt.Sprint(i % 4)}})
	}
	f.begin(now, 1, rows)
	for i, row := range rows {
		f.register(now, row.id, &registerReq{boot: 1, addr: row.addr, rack: row.rack, capacity: 1 << 50})
		var req reportReq
		for h := handle(1); h <= n; h++ {
			if k := (i + servers - int(h)%servers) % servers; k < 3 {
				req.replicas = append(req.replicas, replicaState{h, 1 << versionEpochShift, 64 << 20, sound})
			}
		}
		req.server, req.boot, req.last = row.id, 1, true
		if err := f.report(now, &req); err != nil {
			tb.Fatal(err)
		}
	}
	for f.tick(now).again {
	}
	if st := f.stats(); st.covered != int(n) || st.queued > 0 {
		tb.Fatalf("not at rest: %+v", st)
	}
	return f, now
}

// A heartbeat with as many changes.
func BenchmarkFleetHeartbeat(b *testing.B) {
	f, now := benchFleet(b, 1e6, 16)
	req := &heartbeatReq{server: 1, boot: 1, capacity: 1 << 50}
	for h := handle(1); len(req.changes) < 10_000; h++ {
		if (16-int(h)%16)%16 < 3 {
			req.changes = append(req.changes, replicaState{h, 1 << versionEpochShift, 64 << 20, sound})
		}
	}
	b.Run("changes=10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var resp heartbeatResp
			if err := f.heartbeat(now, req, &resp); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A chunkserver reports all it has.
func BenchmarkFleetReport(b *testing.B) {
	const n = 1e6
	req := &reportReq{server: 1, boot: 1, last: true}
	for h := handle(1); h <= n; h++ {
		req.replicas = append(req.replicas, replicaState{h, 1 << versionEpochShift, 64 << 20, sound})
	}
	b.Run("replicas=1000000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f := newFleet(fleetConfig{}, benchView{n})
			f.begin(modelStart, 1, []serverRow{{location: location{id: 1, addr: "a:1"}}, {location: location{id: 2, addr: "b:1"}}})
			f.register(modelStart, 1, &registerReq{boot: 1, addr: "a:1", capacity: 1 << 50})
			if err := f.report(modelStart, req); err != nil || f.covered != n {
				b.Fatal(err, f.covered)
			}
		}
	})
}

// A tick with nothing to do, whatever there is.
func BenchmarkFleetTick(b *testing.B) {
	for _, n := range []handle{1e3, 1e6} {
		f, now := benchFleet(b, n, 16)
		f.cfg.moves = 16
		b.Run(fmt.Sprintf("chunks=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(100 * time.Microsecond)
				f.tick(now)
			}
		})
	}
}

// A creation's servers are chosen.
func BenchmarkFleetPlace(b *testing.B) {
	for _, servers := range []int{4, 100, 1000} {
		f, now := benchFleet(b, 10, servers)
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Millisecond)
				if _, err := f.place(now, 3, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A client asks where a chunk is.
func BenchmarkFleetLocate(b *testing.B) {
	f, _ := benchFleet(b, 1e6, 16)
	var at []location
	b.ReportAllocs()
	h := handle(0)
	for b.Loop() {
		h = h%1e6 + 1
		if at = f.locate(h, at[:0]); len(at) != 3 {
			b.Fatal(at)
		}
	}
}

// A lease is granted, and runs out or is replaced.
func BenchmarkFleetGrant(b *testing.B) {
	f, now := benchFleet(b, 1e5, 16)
	b.ReportAllocs()
	h := handle(0)
	for b.Loop() {
		h = h%1e5 + 1
		now = now.Add(100 * time.Microsecond)
		plan, err := f.planGrant(now, h, grantWish{})
		if err != nil {
			b.Fatal(err)
		}
		f.abandon(now, plan.handle)
	}
}

// What a chunk with three replicas takes, the three ids (of 4 bytes) included.
func TestFleetBytesPerChunk(t *testing.T) {
	const n = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what other tests have left in pools is gone with the second
	runtime.ReadMemStats(&before)
	f, _ := benchFleet(t, n, 16)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / n
	t.Logf("%.1f bytes a chunk", each)
	if each > 40 {
		t.Errorf("%.1f bytes a chunk; 40 are the most", each)
	}
	runtime.KeepAlive(f)
}
