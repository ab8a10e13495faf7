package main

import (
	"context"
	"strings"
	"time"
)

// gfsSuite measures a cluster of processes, and the core of its master without them.
var gfsSuite = suite{
	name: "gfs",
	about: "a master and 4 chunkservers, each a process, over loopback TCP, 3 replicas; the digit is the number of clients. " +
		"slow: random reads of 64 KiB, while the nearest chunkserver takes 100 times as long for one answer in 100; list: directories of 16 files; " +
		"create, stat, list: 64 callers that share a client; stat2000: 2,000 clients, each of which calls all the time on a connection of " +
		"its own, so that nothing can be sent together; the limit: bare exchanges on as many connections; stat-idle2000: stat, beside " +
		"2,000 clients that are connected; core: without a process around it; bytes: of a master's memory",
	cases:    names(gfsCases),
	subjects: []string{"limit", "trilith", "unhedged"},
	baseline: func(kase string) string {
		if kase == "read1-slow" {
			return "unhedged"
		}
		return "limit"
	},
	rounds:   3,
	duration: 6 * time.Second,
	timed:    true,
	works:    true,
	open: func(ctx context.Context, kase, subject string, w *workspace) (cell, error) {
		open := find(gfsCases, kase)[subject]
		if open == nil {
			return nil, nil
		}
		return open(ctx, w)
	},
}

// A gfsCase is how its subjects are set up.
type gfsCase map[string]func(ctx context.Context, w *workspace) (cell, error)

// gfsFiles is how many files there are in a large namespace, gfsClients how many clients
// where the digit does not say it.
const (
	gfsFiles   = 1_000_000
	gfsClients = 2000
)

// gfsCases are the cases. The limits are cases of their own, and are measured again
// beside each of those that are held against them.
var gfsCases = []named[gfsCase]{
	{"read", gfsCase{"limit": openReadLimit}},
	{"write", gfsCase{"limit": openWriteLimit}},
	{"disk", gfsCase{"limit": openDiskLimit}},
	{"read1", gfsCase{"limit": openReadLimit, "trilith": openReads(1)}},
	{"read4", gfsCase{"limit": openReadLimit, "trilith": openReads(4)}},
	{"write1", gfsCase{"limit": openWriteLimit, "trilith": openWrites(1, writeStream)}},
	{"write4", gfsCase{"limit": openWriteLimit, "trilith": openWrites(4, writeStream)}},
	{"append1", gfsCase{"limit": openWriteLimit, "trilith": openWrites(1, appendRecords)}},
	{"append4", gfsCase{"limit": openWriteLimit, "trilith": openWrites(4, appendRecords)}},
	{"rereplicate", gfsCase{"trilith": openRereplicate}},
	{"read1-slow", gfsCase{"trilith": openSlowReads(0), "unhedged": openSlowReads(-1)}},
	{"create", gfsCase{"trilith": openCreates}},
	{"stat", gfsCase{"trilith": openStats}},
	{"list", gfsCase{"trilith": openLists}},
	{"stat2000", gfsCase{"limit": openEcho, "trilith": openManyStats}},
	{"stat-idle2000", gfsCase{"trilith": openStatsBesideOthers}},
	{"core-create", gfsCase{"trilith": openCoreCreate}},
	{"core-lookup", gfsCase{"trilith": openCoreLookup}},
	{"bytes-per-file", gfsCase{"trilith": openBytes(func(u coreUse) []metric {
		return []metric{{"bytes", u.file}, {"name_bytes", u.name}}
	})}},
	{"bytes-per-chunk", gfsCase{"trilith": openBytes(func(u coreUse) []metric {
		return []metric{{"bytes", u.chunk}, {"replica_list_bytes", u.list}}
	})}},
	{"recover-1m", gfsCase{"trilith": openRecovery}},
}

// A turn is a cell that is a function, and another that closes it.
type turn struct {
	run   func(ctx context.Context, turn time.Duration) ([]metric, error)
	close func() error
}

var _ cell = (*turn)(nil)

func (t *turn) measure(ctx context.Context, _, d time.Duration) ([]metric, error) {
	return t.run(ctx, d)
}

func (t *turn) Close() error {
	if t.close == nil {
		return nil
	}
	return t.close()
}

// An opsCell is a load whose operations are counted, not their bytes.
type opsCell struct {
	load
	per   int  // operations that one call does, or 0 for one
	rates bool // the only metric is their number
}

func (c *opsCell) measure(ctx context.Context, warmup, turn time.Duration) ([]metric, error) {
	all, err := c.load.measure(ctx, warmup, turn)
	if err != nil {
		return nil, err
	}
	metrics := []metric{{"ops/s", all[0].value * float64(max(c.per, 1))}}
	for _, m := range all {
		if !c.rates && strings.HasSuffix(m.name, "_us") {
			metrics = append(metrics, m)
		}
	}
	return metrics, nil
}

// megabytes returns a rate.
func megabytes(n int64, took time.Duration) []metric {
	return []metric{{"MB/s", float64(n) / 1e6 / took.Seconds()}}
}
