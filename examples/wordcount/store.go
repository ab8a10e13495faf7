package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/mapreduce"
)

// A store is a gfs in this process. Its paths are those of the machine, so that names of
// input and output mean the same in both.
type store struct {
	*gfs.Local
	client *gfs.Client
	dir    string // of its disks, to be removed; "": they are in memory
	loaded string // what was copied into it, in a line
}

// storeServers is how many chunkservers there are. They are on the hosts that the workers
// of a job in this process have, so that workers find input on their own.
const storeServers = 3

// storeMemory is the most that the input may have for its replicas to be in memory: they
// take three times as much.
const storeMemory = 256 << 20

// openStore starts a store and copies the files that match patterns into it.
func openStore(ctx context.Context, patterns []string, stderr io.Writer) (_ *store, err error) {
	names, size, err := matches(ctx, patterns)
	if err != nil {
		return nil, err
	}
	s := &store{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	var cfg gfs.LocalConfig
	if size > storeMemory {
		if s.dir, err = os.MkdirTemp("", "wordcount-gfs-"); err != nil {
			return nil, err
		}
		cfg.Dir = s.dir
	}
	for i := range storeServers {
		cfg.Hosts = append(cfg.Hosts, fmt.Sprintf("worker-%d", i))
	}
	if s.Local, err = gfs.StartLocal(ctx, cfg); err != nil {
		return nil, err
	}
	s.client = s.Client()
	return s, s.load(ctx, names, stderr)
}

// close ends the store, and removes what it has on the disk.
func (s *store) close() error {
	var err error
	if s.Local != nil {
		err = s.Local.Close()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// matches returns the files that match patterns, and how many bytes they have.
func matches(ctx context.Context, patterns []string) (names []string, size int64, err error) {
	for _, pattern := range patterns {
		found, err := local.Files.Glob(ctx, pattern)
		if err != nil {
			return nil, 0, err
		}
		if len(found) == 0 {
			return nil, 0, fmt.Errorf("%w: %q matches no file", mapreduce.ErrNoInput, pattern)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	names = slices.Compact(names) // a file may match several patterns
	for _, name := range local.Names(names) {
		info, err := os.Stat(name)
		if err != nil {
			return nil, 0, err
		}
		size += info.Size()
	}
	return names, size, nil
}

// storeCopies is how many files are copied at a time.
const storeCopies = 32

// load copies files into the store.
func (s *store) load(ctx context.Context, names []string, stderr io.Writer) error {
	shown := local.NewProgress(stderr).Copy("copying into gfs", len(names), 0)
	defer func() { s.loaded = shown.End() }()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(storeCopies)
	for i, host := range local.Names(names) {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			defer shown.File()
			src, err := os.Open(host)
			if err != nil {
				return err
			}
			defer src.Close()
			dst, err := s.client.Create(ctx, names[i])
			if err != nil {
				return err
			}
			_, err = io.Copy(io.MultiWriter(dst, shown), src)
			return errors.Join(err, dst.Close())
		})
	}
	return group.Wait()
}

// fetching begins the names of files that are not whole yet.
const fetching = ".fetch-"

// fetch copies files out of the store, to where their names say, which is one directory. They
// get these names when all of them are whole and on the disk; after an error none is there.
func (s *store) fetch(ctx context.Context, disk vfs.FS, names []string) (err error) {
	finals := local.Names(names)
	if len(finals) == 0 {
		return nil
	}
	dir := filepath.Dir(finals[0])
	if err := clearFetched(disk, dir); err != nil {
		return err
	}
	token := rand.Text()
	var made []string // what is to be removed after an error
	defer func() {
		if err == nil {
			return
		}
		for _, name := range made {
			_ = disk.Remove(name) // the first error is the one that counts
		}
	}()
	hidden := func(name string) string {
		return filepath.Join(dir, fetching+token+"-"+filepath.Base(name))
	}
	for i, final := range finals {
		made = append(made, hidden(final))
		if err := s.fetchFile(ctx, disk, names[i], hidden(final)); err != nil {
			return err
		}
	}
	for _, final := range finals {
		if _, err := disk.Stat(final); !errors.Is(err, fs.ErrNotExist) {
			return cmp.Or(err, fmt.Errorf("%s: %w", final, fs.ErrExist))
		}
		if err := disk.Rename(hidden(final), final); err != nil {
			return err
		}
		made = append(made, final)
	}
	return disk.SyncDir(dir)
}

// clearFetched removes what a process has left that was killed while it fetched.
func clearFetched(disk vfs.FS, dir string) error {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fetching) {
			if err := disk.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetchFile copies a file out of the store.
func (s *store) fetchFile(ctx context.Context, disk vfs.FS, from, to string) error {
	src, err := s.client.Open(ctx, from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := vfs.CreateNew(disk, to)
	if err != nil {
		return err
	}
	if _, err = io.Copy(dst, src); err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}
