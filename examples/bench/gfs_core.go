package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/trilith-go/trilith/internal/probe"
)

// coreBatch is how many operations of the core are timed together.
const coreBatch = 256

// coreName is the path of one of many files: in directories of a thousand, with names as
// users give them.
func coreName(i int) string {
	return fmt.Sprintf("data/2026/day%03d/part-%05d-of-01000", i/1000, i%1000)
}

// openCoreCreate applies the commands that create files, one after another.
func openCoreCreate(context.Context, *workspace) (cell, error) {
	const most = 1 << 20 // files, so that memory does not grow for as long as this is measured
	var core probe.MasterCore
	var names []string
	for i := range most {
		names = append(names, coreName(i))
	}
	n := 0
	l := load{close: noClose, callers: []caller{func() (err error) {
		if n%most == 0 {
			if core, err = probe.NewMasterCore(); err != nil {
				return err
			}
		}
		for range coreBatch {
			if err := core.Create(names[n%most]); err != nil {
				return err
			}
			n++
		}
		return nil
	}}}
	return &opsCell{rates: true, per: coreBatch, load: l}, nil
}

// openCoreLookup looks up the chunks of the files of a large namespace, one caller for
// each processor.
func openCoreLookup(_ context.Context, w *workspace) (cell, error) {
	core, err := probe.NewMasterCore()
	if err != nil {
		return nil, err
	}
	for i := range w.files {
		name := coreName(i)
		if err := errors.Join(core.Create(name), core.AddChunk(name)); err != nil {
			return nil, err
		}
	}
	// The path of a request has just come in, and is in the cache when it is looked up. So
	// the names lie in memory in the order in which they are asked for; to the core, that
	// order is random.
	order := rand.New(rand.NewPCG(1, 1)).Perm(w.files)
	var text []byte
	var ends []uint32
	for _, i := range order {
		text = append(text, coreName(i)...)
		ends = append(ends, uint32(len(text)))
	}
	all := string(text)
	l := load{close: noClose}
	for i := range runtime.GOMAXPROCS(0) {
		at := len(ends) / runtime.GOMAXPROCS(0) * i
		l.callers = append(l.callers, func() error {
			for range coreBatch {
				begin := uint32(0)
				if at = (at + 1) % len(ends); at > 0 {
					begin = ends[at-1]
				}
				if err := core.Lookup(all[begin:ends[at]]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return &opsCell{rates: true, per: coreBatch, load: l}, nil
}

func noClose() error { return nil }

// coreUse is how many bytes of memory there are to a file and a chunk.
type coreUse struct {
	file  float64 // with its name, in front of which most of the path is shared
	name  float64 // the whole path, as a user writes it
	chunk float64 // without the list of replicas
	list  float64
}

// openBytes fills the core of a master and measures its memory.
func openBytes(metrics func(coreUse) []metric) func(context.Context, *workspace) (cell, error) {
	return func(_ context.Context, w *workspace) (cell, error) {
		return &turn{run: func(context.Context, time.Duration) ([]metric, error) {
			u, err := measureCore(w.files)
			return metrics(u), err
		}}, nil
	}
}

func measureCore(files int) (u coreUse, err error) {
	before := heapBytes()
	core, err := probe.NewMasterCore()
	if err != nil {
		return u, err
	}
	for i := range files {
		name := coreName(i)
		u.name += float64(len(name)) / float64(files)
		if err := core.Create(name); err != nil {
			return u, err
		}
	}
	created := heapBytes()
	for i := range files {
		if err := core.AddChunk(coreName(i)); err != nil {
			return u, err
		}
	}
	if err := core.Report(replicas); err != nil {
		return u, err
	}
	full := heapBytes()
	runtime.KeepAlive(core)
	u.list = float64(replicas * probe.ReplicaBytes)
	u.file = float64(created-before) / float64(files)
	u.chunk = float64(full-created)/float64(files) - u.list
	return u, nil
}

// replicas is how many a chunk has.
const replicas = 3

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what had a finalizer
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// masterDir returns a directory of a master of many files, made once.
func (w *workspace) masterDir(ctx context.Context) (string, error) {
	dir := filepath.Join(w.dir, "master")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	t := task{Role: roleFill, Output: dir, Size: int64(w.files)}
	if _, err := t.spawn(ctx); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}
