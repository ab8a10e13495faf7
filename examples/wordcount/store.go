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
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/mapreduce"
	"github.com/trilith-go/trilith/transport"
)

// A store is a gfs in this process: a master and three chunkservers on a network and on
// disks in memory, as it ends with the job. Its paths are those of the machine, so that
// names of input and output mean the same in both.
type store struct {
	client  *gfs.Client
	closers []func() error // to be called in the opposite order
	loaded  string         // what was copied into it, in a line
}

// storeServers is how many chunkservers there are. They are on the hosts that the workers
// of a job in this process have, so that workers find input on their own.
const storeServers = 3

func openStore(ctx context.Context) (*store, error) {
	s := &store{}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) open(ctx context.Context) error {
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, network.Close)
	master, err := gfs.StartMaster(ctx, gfs.MasterConfig{Transport: network.Host("master"), Addr: "master:1"})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, master.Close)
	for i := range storeServers {
		host := fmt.Sprintf("worker-%d", i)
		server, err := gfs.StartChunkserver(ctx, gfs.ChunkserverConfig{
			Transport: network.Host(host), Addr: host + ":1", FS: vfs.NewMemory(uint64(i)), Dir: "/chunks", Masters: []string{master.Addr()},
		})
		if err != nil {
			return err
		}
		s.closers = append(s.closers, server.Close)
	}
	s.client, err = gfs.Dial(ctx, gfs.ClientConfig{Transport: network.Host("client"), Masters: []string{master.Addr()}})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.client.Close)
	return nil
}

func (s *store) close() error {
	var err error
	for i := len(s.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closers[i]())
	}
	return err
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
