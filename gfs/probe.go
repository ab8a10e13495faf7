package gfs

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/internal/probe"
	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/transport"
)

func init() {
	probe.NewMasterCore = newCoreProbe
	probe.FillMaster = fillMaster
	probe.ReplicaBytes = int(unsafe.Sizeof(replicaWord(0)))
}

// A coreProbe drives the cores of a master by itself, for benchmarks.
type coreProbe struct {
	state *state
	fleet *fleet
	index uint64
	at    time.Time
	buf   []byte
	out   []byte
}

var _ probe.MasterCore = (*coreProbe)(nil)

func newCoreProbe() (probe.MasterCore, error) {
	p := &coreProbe{state: newState(), at: time.Now()}
	p.fleet = newFleet(fleetConfig{chunkSize: DefaultChunkSize, lease: DefaultLease, heartbeat: DefaultHeartbeat, dead: DefaultServerTimeout}, p.state)
	cmd := cmdLead{epoch: 1, chunkSize: DefaultChunkSize}
	return p, cmd.result(p.apply(cmd.append(p.buf[:0])))
}

func (p *coreProbe) apply(cmd []byte) []byte {
	p.index++
	p.buf, p.out = cmd, p.state.Apply(p.index, p.at, cmd, p.out[:0])
	return p.out
}

// probeHeader begins the commands of a super user.
var probeHeader = cmdHeader{epoch: 1, who: identity{super: true}, when: 1}

func probeCreate(path string) cmdCreate {
	return cmdCreate{cmdHeader: probeHeader, createReq: createReq{path: path, mode: 0o644, exclusive: true, parents: true}}
}

func probeAddChunk(path string) cmdAddChunk {
	return cmdAddChunk{cmdHeader: probeHeader, path: path, version: 1}
}

func (p *coreProbe) Create(path string) error {
	cmd := probeCreate(path)
	_, err := cmd.result(p.apply(cmd.append(p.buf[:0])))
	return err
}

func (p *coreProbe) AddChunk(path string) error {
	cmd := probeAddChunk(path)
	_, err := cmd.result(p.apply(cmd.append(p.buf[:0])))
	return err
}

func (p *coreProbe) Report(replicas int) error {
	for i := range replicas {
		cmd := cmdServer{epoch: 1, uuid: [16]byte{byte(i + 1)}, addr: fmt.Sprintf("host%d:1", i)}
		id, err := cmd.result(p.apply(cmd.append(p.buf[:0])))
		if err != nil {
			return err
		}
		row, _ := p.state.server(id)
		p.fleet.setServer(p.at, row)
		p.fleet.register(p.at, id, &registerReq{uuid: row.uuid, boot: 1, addr: row.addr, capacity: 1 << 50})
		var rows []handleRow
		for after := handle(0); ; after = rows[len(rows)-1].handle {
			if rows = p.state.chunksAfter(rows[:0], after, maxLookup); len(rows) == 0 {
				break
			}
			report := &reportReq{server: id, boot: 1}
			for _, r := range rows {
				report.replicas = append(report.replicas, replicaState{handle: r.handle, version: r.version, length: 1})
			}
			if err := p.fleet.report(p.at, report); err != nil {
				return err
			}
		}
		if err := p.fleet.report(p.at, &reportReq{server: id, boot: 1, last: true}); err != nil {
			return err
		}
	}
	return nil
}

func (p *coreProbe) Lookup(path string) error {
	var room [1]chunkInfo
	_, _, found, err := p.state.lookupTo(room[:0], probeHeader.who, path, 0, 0, 1)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%w: %s has %d chunks", errNoChunk, path, len(found))
	}
	return err
}

// fillMaster proposes the commands to the log of a master that is not started.
func fillMaster(ctx context.Context, dir string, files int, name func(i int) string) (err error) {
	cfg, err := MasterConfig{Transport: &transport.TCP{}, Addr: "127.0.0.1:0", Dir: dir}.withDefaults()
	if err != nil {
		return err
	}
	m := &Master{cfg: cfg}
	if err := m.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.closeLog()) }()
	_, epoch, err := m.log.Lead(ctx)
	if err != nil {
		return err
	}
	lead := cmdLead{epoch: epoch, chunkSize: cfg.ChunkSize}
	if out, err := m.propose(ctx, lead.append(nil)); err != nil || lead.result(out) != nil {
		return errors.Join(err, lead.result(out))
	}
	fill := func(from, to int) error {
		var group errgroup.Group
		group.SetLimit(1024)
		for i := from; i < to; i++ {
			group.Go(func() error {
				create, add := probeCreate(name(i)), probeAddChunk(name(i))
				create.epoch, add.epoch = epoch, epoch
				out, err := m.propose(ctx, create.append(nil))
				if err == nil {
					_, err = create.result(out)
				}
				if err == nil {
					out, err = m.propose(ctx, add.append(nil))
				}
				if err == nil {
					_, err = add.result(out)
				}
				return err
			})
		}
		return group.Wait()
	}
	most := files - files/10
	if err := fill(0, most); err != nil {
		return err
	}
	if log, ok := m.log.(*statelog.Solo); ok {
		if err := log.Checkpoint(ctx); err != nil {
			return err
		}
	}
	return fill(most, files)
}
