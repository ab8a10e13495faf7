// A rig lives in a bubble.
//
//lint:bubble
package gfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// A testMaster is just enough of a master for chunkservers: it registers them, grants
// leases as it is told by the test, and grants again when a primary asks.
type testMaster struct {
	t      testing.TB
	trans  transport.Transport
	server *rpc.Server
	addr   string

	mu       sync.Mutex // guards what follows
	epoch    uint64
	lease    time.Duration
	size     int64
	deaf     bool // answers no reform
	servers  map[[16]byte]*testServer
	chunks   map[handle]*testChunk
	clients  map[string]*rpc.Client
	doomed   []doomed
	reforms  int
	extends  int
	reported map[serverID]map[handle]replicaState
}

type testServer struct {
	location
	boot  uint64
	beats int
	done  bool // all is reported
}

type testChunk struct {
	version version
	members []location // the first is the primary
}

const rigChunkSize = 8 * blockSize

func startTestMaster(t testing.TB, trans transport.Transport, addr string) *testMaster {
	m := &testMaster{
		t: t, trans: trans, epoch: 1, lease: time.Minute, size: rigChunkSize,
		servers: make(map[[16]byte]*testServer), chunks: make(map[handle]*testChunk),
		clients: make(map[string]*rpc.Client), reported: make(map[serverID]map[handle]replicaState),
	}
	var err error
	m.server, err = rpc.NewServer(rpc.ServerConfig{Cluster: "test"})
	storeMust(t, err)
	rpc.Handle(m.server, methodRegister, m.register)
	rpc.Handle(m.server, methodReport, m.report)
	rpc.Handle(m.server, methodHeartbeat, m.beat)
	rpc.Handle(m.server, methodReform, m.reform)
	at, err := m.server.Listen(context.Background(), trans, addr)
	storeMust(t, err)
	m.addr = at.String()
	return m
}

func (m *testMaster) close() {
	m.server.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clients {
		c.Close()
	}
}

func (m *testMaster) register(_ context.Context, req *registerReq) (*registerResp, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.servers[req.uuid]
	if s == nil {
		s = &testServer{location: location{id: serverID(len(m.servers) + 1)}}
		m.servers[req.uuid] = s
	}
	s.addr, s.rack, s.zone, s.boot, s.done = req.addr, req.rack, req.zone, req.boot, false
	m.reported[s.id] = make(map[handle]replicaState)
	return &registerResp{server: s.id, epoch: m.epoch, chunkSize: m.size, heartbeat: 100 * time.Millisecond}, nil
}

// known returns a server, or errUnregistered. m.mu is held.
func (m *testMaster) known(id serverID, boot uint64) (*testServer, error) {
	for _, s := range m.servers {
		if s.id == id && s.boot == boot {
			return s, nil
		}
	}
	return nil, errUnregistered
}

func (m *testMaster) note(id serverID, states []replicaState) {
	for _, st := range states {
		m.reported[id][st.handle] = st
	}
}

func (m *testMaster) report(_ context.Context, req *reportReq) (*rpc.Empty, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.known(req.server, req.boot)
	if err == nil {
		m.note(req.server, req.replicas)
		s.done = req.last
	}
	return nil, err
}

func (m *testMaster) beat(_ context.Context, req *heartbeatReq) (*heartbeatResp, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.known(req.server, req.boot)
	if err != nil {
		return nil, err
	}
	s.beats++
	m.note(req.server, req.changes)
	resp := &heartbeatResp{epoch: m.epoch, delete: m.doomed}
	for _, r := range req.extend {
		if c := m.chunks[r.handle]; c != nil && c.version == r.version {
			m.extends++
			resp.extended = append(resp.extended, leaseTerm{handle: r.handle, version: r.version, until: req.clock + m.lease})
		}
	}
	return resp, nil
}

// client returns the client of an address.
func (m *testMaster) client(addr string) *rpc.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clients[addr] == nil {
		c, err := rpc.NewClient(rpc.ClientConfig{Transport: m.trans, Addrs: []string{addr}, Cluster: "test"})
		storeMust(m.t, err)
		m.clients[addr] = c
	}
	return m.clients[addr]
}

// order is the order to a server.
func (m *testMaster) order(to location) order {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		if s.id == to.id {
			return order{epoch: m.epoch, server: s.id, boot: s.boot}
		}
	}
	return order{epoch: m.epoch, server: to.id}
}

// servers returns where the servers are, by their ids.
func (m *testMaster) where() []location {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []location
	for _, s := range m.servers {
		all = append(all, s.location)
	}
	slices.SortFunc(all, func(a, b location) int { return int(a.id) - int(b.id) })
	return all
}

func (m *testMaster) state(id serverID, h handle) replicaState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reported[id][h]
}

// masterOrder gives an order.
func masterOrder[Resp, Req any](m *testMaster, to location, method string, req *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return rpc.Call[Resp](ctx, m.client(to.addr), method, req)
}

// make makes a chunk on servers and grants the first the lease.
func (m *testMaster) make(h handle, members ...location) {
	m.t.Helper()
	var clock time.Duration
	for i, l := range members {
		resp, err := masterOrder[raiseResp](m, l, methodMake, &makeReq{order: m.order(l), handle: h, version: 1})
		storeMust(m.t, err)
		if i == 0 {
			clock = resp.clock
		}
	}
	m.mu.Lock()
	m.chunks[h] = &testChunk{version: 1, members: members}
	m.mu.Unlock()
	storeMust(m.t, m.leaseTo(h, 1, clock, members))
}

func (m *testMaster) leaseTo(h handle, v version, clock time.Duration, members []location) error {
	_, err := masterOrder[rpc.Empty](m, members[0], methodLease, &leaseReq{
		order: m.order(members[0]), leaseTerm: leaseTerm{handle: h, version: v, until: clock + m.lease}, others: members[1:],
	})
	return err
}

// grant raises the version on members and grants the lease to the first that is left.
func (m *testMaster) grant(h handle, from version, members []location) error {
	to := from + 1
	var left []location
	var clock time.Duration
	for _, l := range members {
		resp, err := masterOrder[raiseResp](m, l, methodRaise, &raiseReq{order: m.order(l), handle: h, from: from, to: to})
		if err != nil {
			continue
		}
		if left = append(left, l); len(left) == 1 {
			clock = resp.clock
		}
	}
	if len(left) == 0 {
		return ErrUnavailable
	}
	m.mu.Lock()
	m.chunks[h] = &testChunk{version: to, members: left}
	m.mu.Unlock()
	return m.leaseTo(h, to, clock, left)
}

// again grants the lease anew to all members.
func (m *testMaster) again(h handle) {
	m.t.Helper()
	c := m.chunk(h)
	storeMust(m.t, m.grant(h, c.version, c.members))
}

func (m *testMaster) chunk(h handle) testChunk {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.chunks[h]
}

func (m *testMaster) reform(_ context.Context, req *reformReq) (*rpc.Empty, error) {
	m.mu.Lock()
	c, deaf := m.chunks[req.handle], m.deaf
	m.reforms++
	_, err := m.known(req.server, req.boot)
	m.mu.Unlock()
	switch {
	case deaf:
		return nil, ErrUnavailable
	case err != nil:
		return nil, err
	case c == nil || c.version != req.version || c.members[0].id != req.server:
		return nil, ErrStale
	}
	var left []location
	for _, l := range c.members {
		if !slices.Contains(req.failed, l.id) {
			left = append(left, l)
		}
	}
	return nil, m.grant(req.handle, req.version, left)
}

// A chunkRig is a cluster of chunkservers with a testMaster, in a bubble.
type chunkRig struct {
	t       *testing.T
	net     *transport.Network
	master  *testMaster
	disks   []*vfs.Memory
	fs      []vfs.FS // what the servers see of the disks
	servers []*Chunkserver
	at      []location

	client *transport.Host
	conns  map[string]*rpc.Client
	next   uint64
}

// inChunkRig runs a test on n chunkservers.
func inChunkRig(t *testing.T, n int, f func(r *chunkRig)) {
	t.Helper()
	inChunkRigWith(t, n, nil, f)
}

func inChunkRigWith(t *testing.T, n int, change func(i int, cfg *ChunkserverConfig), f func(r *chunkRig)) {
	t.Helper()
	testutil.Bubble(t, func(t *testing.T) {
		net, err := transport.NewNetwork(transport.NetworkConfig{Seed: 1})
		storeMust(t, err)
		r := &chunkRig{t: t, net: net, conns: make(map[string]*rpc.Client), client: net.Host("client")}
		r.master = startTestMaster(t, net.Host("master"), ":1")
		for i := range n {
			disk := vfs.NewMemory(uint64(i))
			r.disks, r.fs = append(r.disks, disk), append(r.fs, disk)
			r.servers = append(r.servers, nil)
			r.start(i, change)
		}
		r.settle()
		r.at = r.master.where()
		if len(r.at) != n {
			t.Fatalf("%d of %d servers have registered", len(r.at), n)
		}
		f(r)
		for _, c := range r.conns {
			c.Close()
		}
		for _, s := range r.servers {
			if s != nil {
				storeMust(t, s.Close())
			}
		}
		r.master.close()
	})
}

// start starts server i on its disk.
func (r *chunkRig) start(i int, change func(i int, cfg *ChunkserverConfig)) {
	r.t.Helper()
	host := fmt.Sprintf("s%d", i+1)
	cfg := ChunkserverConfig{
		Transport: r.net.Host(host), Addr: host + ":1", Dir: "disk", FS: r.fs[i],
		Masters: []string{r.master.addr}, Cluster: "test", Rack: fmt.Sprint(i % 2), ScrubInterval: -1, BufferBytes: minBufferBytes,
	}
	if change != nil {
		change(i, &cfg)
	}
	s, err := StartChunkserver(context.Background(), cfg)
	storeMust(r.t, err)
	r.servers[i] = s
	r.settle()
}

// settle lets some heartbeats pass.
//
//lint:bubble
func (r *chunkRig) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (r *chunkRig) conn(addr string) *rpc.Client {
	r.t.Helper()
	if r.conns[addr] == nil {
		c, err := rpc.NewClient(rpc.ClientConfig{Transport: r.client, Addrs: []string{addr}, Cluster: "test"})
		storeMust(r.t, err)
		r.conns[addr] = c
	}
	return r.conns[addr]
}

func (r *chunkRig) dial(_ context.Context, addr string) (*rpc.Client, error) {
	return r.conn(addr), nil
}

// open opens a chain.
func (r *chunkRig) open(members ...location) *chain {
	r.t.Helper()
	c, err := openChain(context.Background(), r.dial, members)
	storeMust(r.t, err)
	return c
}

func (r *chunkRig) id() dataID {
	r.next++
	return dataID{client: 77, n: r.next}
}

// rigCall calls a server as a client.
func rigCall[Resp, Req any](r *chunkRig, to location, method string, req *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return rpc.Call[Resp](ctx, r.conn(to.addr), method, req)
}

// write pushes data and writes it.
func (r *chunkRig) write(c *chain, h handle, v version, off int, p []byte) error {
	r.t.Helper()
	id := r.id()
	if err := c.pushAt(context.Background(), id, p, int64(off)); err != nil {
		return err
	}
	primary := r.master.chunk(h).members[0]
	_, err := rigCall[writeResp](r, primary, methodWrite, &writeReq{handle: h, version: v, data: id, off: int64(off), n: int64(len(p))})
	return err
}

func (r *chunkRig) append(c *chain, h handle, v version, p []byte) (int64, error) {
	r.t.Helper()
	id := r.id()
	if err := c.push(context.Background(), id, p); err != nil {
		return 0, err
	}
	primary := r.master.chunk(h).members[0]
	resp, err := rigCall[appendResp](r, primary, methodAppend, &appendReq{handle: h, version: v, data: id, n: int64(len(p))})
	if err != nil {
		return 0, err
	}
	return resp.off, nil
}

// read reads all of a replica.
func (r *chunkRig) read(from location, h handle, v version) ([]byte, error) {
	resp, err := rigCall[readResp](r, from, methodRead, &readReq{handle: h, version: v, n: maxRead})
	if err != nil {
		return nil, err
	}
	if resp.length != int64(len(resp.Data)) {
		return nil, errors.New("length is not that of the data")
	}
	return resp.Data, nil
}

// wantAll wants all members to have the same content.
func (r *chunkRig) wantAll(h handle, want []byte) {
	r.t.Helper()
	c := r.master.chunk(h)
	for _, l := range c.members {
		got, err := r.read(l, h, c.version)
		storeMust(r.t, err)
		if string(got) != string(want) {
			r.t.Fatalf("replica at %s has %d bytes, or others, than the %d written", l.addr, len(got), len(want))
		}
	}
}
