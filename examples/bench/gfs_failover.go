package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// startReplicated starts a master that is one of several.
func (n *gfsNode) startReplicated(ctx context.Context) (addr string, s gfsServer, err error) {
	m, err := gfs.StartMaster(ctx, gfs.MasterConfig{
		Transport: &transport.TCP{}, Addr: n.Listen,
		OpenLog: func(m gfs.Machine) (gfs.Log, error) {
			return vmft.Start(ctx, vmft.Config{
				Transport: &transport.TCP{}, Addr: n.Log, Peers: n.Peers, Arbiter: vmft.DirArbiter(n.Lock), Machine: m,
			})
		},
	})
	if err != nil {
		return "", nil, err
	}
	return m.Addr(), m, nil
}

const (
	// masterFailovers is how many there are in a turn, of which the median counts.
	masterFailovers = 3
	masterServers   = 3
	// masterRest is how long the masters are left alone before a fail-over: longer than it
	// takes until all chunkservers have reported to a master that was started again.
	masterRest = 2500 * time.Millisecond
)

// A masterPair is two master processes, of which the one that leads is killed again and
// again, and chunkservers.
type masterPair struct {
	dir     string
	addrs   []string // of the masters
	logs    []string // of their nodes
	arbiter vmft.Arbiter
	masters [2]*gfsProcess
	servers []*gfsProcess
	clients []*gfs.Client
	file    *gfs.File // open, by a client of its own
	made    int       // directories
}

func openMasterPair(ctx context.Context, w *workspace) (_ cell, err error) {
	p := &masterPair{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.dir, err = os.MkdirTemp(w.dir, "masters-"); err != nil {
		return nil, err
	}
	p.arbiter = vmft.DirArbiter(p.lock())
	for i := range 2 * len(p.masters) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addr := l.Addr().String()
		if err := l.Close(); err != nil {
			return nil, err
		}
		if i < len(p.masters) {
			p.addrs = append(p.addrs, addr)
		} else {
			p.logs = append(p.logs, addr)
		}
	}
	for i := range p.masters {
		if err := p.lead(ctx, i, i > 0); err != nil {
			return nil, err
		}
	}
	for i := range masterServers {
		s, err := startNode(ctx, gfsNode{Dir: filepath.Join(p.dir, fmt.Sprint("chunks", i)), Masters: p.addrs})
		if err != nil {
			return nil, err
		}
		p.servers = append(p.servers, s)
	}
	for range 2 {
		client, err := gfs.Dial(ctx, gfs.ClientConfig{Transport: &transport.TCP{}, Masters: p.addrs})
		if err != nil {
			return nil, err
		}
		p.clients = append(p.clients, client)
	}
	err = await(ctx, func() (bool, error) {
		alive, _, err := serversOf(ctx, p.clients[0])
		return alive == masterServers, err
	})
	if err == nil {
		p.file, err = p.clients[1].Create(ctx, "records")
	}
	return &turn{run: p.run, close: p.close}, err
}

func (p *masterPair) lock() string { return filepath.Join(p.dir, "lock") }

// lead starts a master, and waits until one leads and, if paired, the other stands by.
func (p *masterPair) lead(ctx context.Context, i int, paired bool) (err error) {
	p.masters[i], err = startNode(ctx, gfsNode{Listen: p.addrs[i], Log: p.logs[i], Peers: p.logs, Lock: p.lock()})
	if err != nil {
		return err
	}
	return await(ctx, func() (bool, error) {
		r, err := p.arbiter.Newest(ctx)
		return r.Epoch > 0 && r.Backup.IsZero() != paired, err
	})
}

func (p *masterPair) run(ctx context.Context, _ time.Duration) ([]metric, error) {
	var made, appended []float64
	for range masterFailovers {
		m, a, err := p.once(ctx)
		if err != nil {
			return nil, err
		}
		made, appended = append(made, m.Seconds()*1e3), append(appended, a.Seconds()*1e3)
	}
	slices.Sort(made)
	slices.Sort(appended)
	return []metric{{"ms", made[masterFailovers/2]}, {"append_ms", appended[masterFailovers/2]}}, nil
}

// once kills the master that leads, and returns how long it took until a directory was
// made, and a record appended. Then there is a pair again.
func (p *masterPair) once(ctx context.Context) (made, appended time.Duration, err error) {
	if err := p.work(ctx, &made, &appended, time.Now()); err != nil { // by which both have a connection, and a lease
		return 0, 0, err
	}
	select {
	case <-time.After(masterRest):
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	r, err := p.arbiter.Newest(ctx)
	if err != nil {
		return 0, 0, err
	}
	leads := slices.Index(p.logs, r.Primary.Addr)
	if leads < 0 || r.Backup.IsZero() {
		return 0, 0, fmt.Errorf("no master stands by: %v", r)
	}
	began := time.Now()
	p.masters[leads].kill()
	if err := p.work(ctx, &made, &appended, began); err != nil {
		return 0, 0, err
	}
	return made, appended, p.lead(ctx, leads, true)
}

// work makes a directory and appends a record, side by side, and tells when they were
// acknowledged.
func (p *masterPair) work(ctx context.Context, made, appended *time.Duration, began time.Time) error {
	p.made++
	var both errgroup.Group
	both.Go(func() error {
		err := p.clients[0].Mkdir(ctx, fmt.Sprintf("made%d", p.made), 0o755)
		*made = time.Since(began)
		return err
	})
	both.Go(func() error {
		_, err := p.file.Append(make([]byte, commandSize))
		*appended = time.Since(began)
		return err
	})
	return both.Wait()
}

func (p *masterPair) close() error {
	var err error
	if p.file != nil {
		err = p.file.Close()
	}
	for _, c := range p.clients {
		err = errors.Join(err, c.Close())
	}
	for _, s := range append(p.servers, p.masters[:]...) {
		if s != nil {
			s.kill()
		}
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
