package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/gfs"
)

const (
	// gfsCallers is how many callers a client has who create, stat and list.
	gfsCallers = 64
	// statFiles is how many files, of one chunk each, the callers ask for, if a workspace
	// does not say otherwise, and listFiles how many are in a directory.
	statFiles = 512
	listFiles = 16
	// shortLease is the time after which the master alone can tell how long a file is, if
	// a workspace does not say otherwise.
	shortLease = time.Second
)

// openCreates has callers that create files, each in a directory of its own.
func openCreates(ctx context.Context, w *workspace) (cell, error) {
	c, err := startCluster(ctx, w, gfsNode{})
	if err != nil {
		return nil, err
	}
	l := load{close: c.Close}
	for i := range gfsCallers {
		n := 0
		l.callers = append(l.callers, func() error {
			n++
			f, err := c.clients[0].Create(ctx, fmt.Sprintf("dir%d/file%d", i, n))
			if err != nil {
				return err
			}
			return f.Close()
		})
	}
	return &opsCell{load: l}, nil
}

// startFilled starts a cluster with small files in directories of listFiles.
func startFilled(ctx context.Context, w *workspace) (*gfsCluster, error) {
	c, err := startCluster(ctx, w, gfsNode{Lease: w.lease, Heartbeat: w.lease / 2})
	if err != nil {
		return nil, err
	}
	var group errgroup.Group
	group.SetLimit(gfsCallers)
	for i := range w.stats {
		group.Go(func() error { return writeWhole(ctx, c.clients[0], statName(i), 1000) })
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := w.leasesEnd(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// leasesEnd waits until short leases are over: until then a client asks the primary how
// long a file is, and chunks are not repaired.
func (w *workspace) leasesEnd(ctx context.Context) error {
	select {
	case <-time.After(3 * w.lease):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func statName(i int) string { return fmt.Sprintf("dir%d/file%d", i/listFiles, i%listFiles) }

// statCaller returns who asks for one file after another.
func (w *workspace) statCaller(ctx context.Context, client *gfs.Client, seed int) caller {
	r := rand.New(rand.NewPCG(1, uint64(seed)))
	names := make([]string, w.stats)
	for i := range names {
		names[i] = statName(i)
	}
	return func() error {
		info, err := client.Stat(ctx, names[r.IntN(len(names))])
		if err == nil && info.Size() != 1000 {
			err = fmt.Errorf("%s has %d bytes", info.Name(), info.Size())
		}
		return err
	}
}

// openStats has callers that share one client.
func openStats(ctx context.Context, w *workspace) (cell, error) {
	c, err := startFilled(ctx, w)
	if err != nil {
		return nil, err
	}
	l := load{close: c.Close}
	for i := range gfsCallers {
		l.callers = append(l.callers, w.statCaller(ctx, c.clients[0], i))
	}
	return &opsCell{load: l}, nil
}

// openManyStats has as many clients as callers, all of which call at once: the clients are
// programs that have nothing to do with one another, each with one thing to ask at a time.
// So no two requests leave together, nor two answers, and most of the time is the
// system's, for one write and one read of each.
func openManyStats(ctx context.Context, w *workspace) (cell, error) {
	c, err := startFilled(ctx, w)
	if err != nil {
		return nil, err
	}
	l := load{close: c.Close}
	for i := range w.clients {
		client, err := c.dial(ctx, gfs.ClientConfig{})
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		l.callers = append(l.callers, w.statCaller(ctx, client, i))
	}
	return &opsCell{load: l}, nil
}

// openStatsBesideOthers is openStats, while as many clients are connected as openManyStats
// has.
func openStatsBesideOthers(ctx context.Context, w *workspace) (cell, error) {
	c, err := startFilled(ctx, w)
	if err != nil {
		return nil, err
	}
	l := load{close: c.Close}
	for range w.clients {
		if _, err := c.dial(ctx, gfs.ClientConfig{}); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	for i := range gfsCallers {
		l.callers = append(l.callers, w.statCaller(ctx, c.clients[0], i))
	}
	return &opsCell{load: l}, nil
}

// openLists has callers that list directories.
func openLists(ctx context.Context, w *workspace) (cell, error) {
	c, err := startFilled(ctx, w)
	if err != nil {
		return nil, err
	}
	l := load{close: c.Close}
	for i := range gfsCallers {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		l.callers = append(l.callers, func() error {
			entries, err := c.clients[0].ReadDir(ctx, fmt.Sprintf("dir%d", r.IntN(w.stats/listFiles)))
			if err == nil && len(entries) != listFiles {
				err = fmt.Errorf("a directory has %d entries", len(entries))
			}
			return err
		})
	}
	return &opsCell{load: l}, nil
}

// openRecovery starts a master on a directory with many files, of one chunk each, most
// of them in a checkpoint and the rest in the log, and measures until it answers.
func openRecovery(ctx context.Context, w *workspace) (cell, error) {
	dir, err := w.masterDir(ctx)
	if err != nil {
		return nil, err
	}
	return &turn{run: func(ctx context.Context, _ time.Duration) (m []metric, err error) {
		c := &gfsCluster{dir: filepath.Join(w.dir, "recovering"), profile: w.profile}
		defer func() { err = errors.Join(err, c.Close()) }()
		if err := os.CopyFS(c.dir, os.DirFS(dir)); err != nil {
			return nil, err
		}
		begin := time.Now()
		if c.master, err = startNode(ctx, gfsNode{Dir: c.dir, Profile: c.profileOf("master")}); err != nil {
			return nil, err
		}
		client, err := c.dial(ctx, gfs.ClientConfig{})
		if err != nil {
			return nil, err
		}
		if _, err = client.Stat(ctx, coreName(w.files-1)); err != nil {
			return nil, err
		}
		return []metric{{"s", time.Since(begin).Seconds()}}, nil
	}}, nil
}
