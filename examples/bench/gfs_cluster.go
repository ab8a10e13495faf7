package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/transport"
)

// gfsServers is how many chunkservers a cluster has.
const gfsServers = 4

// A gfsCluster is a master and its chunkservers.
type gfsCluster struct {
	dir     string
	profile string
	near    bool // the first chunkserver is in nearRack
	master  *gfsProcess
	servers []*gfsProcess
	clients []*gfs.Client
}

// startCluster starts a cluster in the workspace, with a master like the given one, and
// returns when it serves. It has one client.
func startCluster(ctx context.Context, w *workspace, master gfsNode) (_ *gfsCluster, err error) {
	dir, err := os.MkdirTemp(w.dir, "gfs-")
	if err != nil {
		return nil, err
	}
	c := &gfsCluster{dir: dir, profile: w.profile, near: master.Near}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	master.Dir, master.Profile = filepath.Join(dir, "master"), c.profileOf("master")
	if c.master, err = startNode(ctx, master); err != nil {
		return nil, err
	}
	for i := range gfsServers {
		s, err := startNode(ctx, c.chunkserver(i))
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, s)
	}
	if _, err := c.dial(ctx, gfs.ClientConfig{}); err != nil {
		return nil, err
	}
	return c, c.ready(ctx)
}

// chunkserver returns what one of them is.
func (c *gfsCluster) chunkserver(i int) gfsNode {
	name := fmt.Sprintf("chunkserver%d", i)
	n := gfsNode{Dir: filepath.Join(c.dir, name), Master: c.master.addr, Profile: c.profileOf(name)}
	if i == 0 && c.near {
		n.Rack = nearRack
	}
	return n
}

// ready waits until all chunkservers have reported.
func (c *gfsCluster) ready(ctx context.Context) error {
	client := c.clients[0]
	return await(ctx, func() (bool, error) {
		info, err := client.Cluster(ctx)
		alive, _, lerr := serversOf(ctx, client)
		return alive == gfsServers && !info.SafeMode, errors.Join(err, lerr)
	})
}

// nearRack is where one chunkserver is by itself: it has a replica of every chunk, and a
// client that is there asks it first.
const nearRack = "near"

// slowDown makes that chunkserver slow.
func (c *gfsCluster) slowDown(ctx context.Context) error {
	c.servers[0].stop()
	n := c.chunkserver(0)
	n.Slow = slowTimes
	s, err := startNode(ctx, n)
	if err != nil {
		return err
	}
	c.servers[0] = s
	return c.reports(ctx, s)
}

// reports waits until the master knows of a chunkserver, and of what it holds.
func (c *gfsCluster) reports(ctx context.Context, p *gfsProcess) error {
	return await(ctx, func() (bool, error) {
		servers, err := c.clients[0].Servers(ctx)
		for _, s := range servers {
			if s.Alive && s.Addr == p.addr && s.Chunks > 0 {
				return true, nil
			}
		}
		return false, err
	})
}

func (c *gfsCluster) profileOf(name string) string {
	if c.profile == "" {
		return ""
	}
	return c.profile + "." + name
}

// dial returns a client, which is closed with the cluster.
func (c *gfsCluster) dial(ctx context.Context, cfg gfs.ClientConfig) (*gfs.Client, error) {
	cfg.Transport, cfg.Masters = &transport.TCP{}, []string{c.master.addr}
	client, err := gfs.Dial(ctx, cfg)
	if err == nil {
		c.clients = append(c.clients, client)
	}
	return client, err
}

func (c *gfsCluster) Close() error {
	var err error
	for _, client := range c.clients {
		err = errors.Join(err, client.Close())
	}
	for _, p := range append(c.servers, c.master) {
		if p != nil {
			p.stop()
		}
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// serversOf returns how many chunkservers are alive, and how many bytes they hold.
func serversOf(ctx context.Context, client *gfs.Client) (alive int, used int64, err error) {
	servers, err := client.Servers(ctx)
	for _, s := range servers {
		if s.Alive {
			alive++
			used += s.Used
		}
	}
	return alive, used, err
}

// gfsPatience is how long the cluster may take for what is bound to happen.
const gfsPatience = 2 * time.Minute

// await waits until something is so.
func await(ctx context.Context, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, gfsPatience)
	defer cancel()
	for {
		if ok, err := so(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
