package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/mapreduce"
)

// A store is a gfs in this process. Its paths are those of the machine, so that names of
// input and output mean the same in both.
type store struct {
	*gfs.Local
	client *gfs.Client
	loaded string // what was copied into it, in a line
}

// storeServers is how many chunkservers there are. They are on the hosts that the workers
// of a job in this process have, so that workers find input on their own.
const storeServers = 3

func openStore(ctx context.Context) (*store, error) {
	var cfg gfs.LocalConfig
	for i := range storeServers {
		cfg.Hosts = append(cfg.Hosts, fmt.Sprintf("worker-%d", i))
	}
	l, err := gfs.StartLocal(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &store{Local: l, client: l.Client()}, nil
}

// storeCopies is how many files are copied at a time.
const storeCopies = 32

// load copies the files that match patterns into the store.
func (s *store) load(ctx context.Context, patterns []string, stderr io.Writer) error {
	var names []string
	for _, pattern := range patterns {
		found, err := local.Files.Glob(ctx, pattern)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("%w: %q matches no file", mapreduce.ErrNoInput, pattern)
		}
		names = append(names, found...)
	}
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

// fetch copies files out of the store, to where their names say.
func (s *store) fetch(ctx context.Context, names []string) error {
	for i, host := range local.Names(names) {
		if err := os.MkdirAll(filepath.Dir(host), 0o777); err != nil {
			return err
		}
		src, err := s.client.Open(ctx, names[i])
		if err != nil {
			return err
		}
		dst, err := os.OpenFile(host, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err == nil {
			_, err = io.Copy(dst, src)
			err = errors.Join(err, dst.Close())
		}
		if err = errors.Join(err, src.Close()); err != nil {
			return err
		}
	}
	return nil
}
