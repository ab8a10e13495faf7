package gfs_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
)

// A rig is a whole cluster in a bubble with a client, for the tests of the paper's
// promises.
type rig struct {
	*testing.T
	ctx     context.Context
	c       *gfstest.Cluster
	client  *gfs.Client
	servers int
	files   map[string][]byte // what files should have
}

// paper runs f on a cluster in a bubble.
func paper(t *testing.T, cfg gfstest.Config, f func(r *rig)) {
	t.Helper()
	t.Parallel()
	testutil.Bubble(t, func(t *testing.T) {
		c := gfstest.Start(t, cfg)
		servers := cfg.Chunkservers
		if servers == 0 {
			servers = 3
		}
		f(&rig{T: t, ctx: context.Background(), c: c, client: c.Client(), servers: servers, files: make(map[string][]byte)})
	})
}

// random returns n bytes that follow from a seed.
func random(seed uint64, n int) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	_, _ = rng.Read(b)
	return b
}

// must fails the test if there is an error.
func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// keep writes a new file of n bytes, durably, and remembers them.
func (r *rig) keep(name string, n int) {
	r.Helper()
	data := random(uint64(len(r.files)), n)
	r.must(r.client.WriteFile(r.ctx, name, data, 0o644))
	r.files[name] = data
}

// check reads what was remembered.
func (r *rig) check() {
	r.Helper()
	for name, want := range r.files {
		got, err := r.client.ReadFile(r.ctx, name)
		if err != nil {
			r.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got, want) {
			r.Errorf("%s has changed: %d bytes, want %d", name, len(got), len(want))
		}
	}
}

// create makes a file.
func (r *rig) create(name string) *gfs.File {
	r.Helper()
	f, err := r.client.Create(r.ctx, name)
	r.must(err)
	return f
}

// open opens a file for writing with another client.
func (r *rig) open(client *gfs.Client, name string) *gfs.File {
	r.Helper()
	f, err := client.OpenFile(r.ctx, name, gfs.OpenOptions{Write: true})
	r.must(err)
	return f
}

// write writes at an offset and fails the test if that does.
func (r *rig) write(f *gfs.File, p []byte, off int64) {
	r.Helper()
	_, err := f.WriteAt(p, off)
	r.must(err)
}

// chunk returns a chunk that must be there.
func (r *rig) chunk(name string, index uint64) gfs.ChunkView {
	r.Helper()
	v, err := r.c.Master().ChunkOf(name, index)
	r.must(err)
	if v.Handle == 0 {
		r.Fatalf("%s has no chunk %d", name, index)
	}
	return v
}

// server returns the number of the chunkserver with an address.
func (r *rig) server(addr string) int {
	for i := range r.servers {
		if addr == hostName(i)+":1" {
			return i
		}
	}
	r.Fatalf("no chunkserver at %s", addr)
	return -1
}

// hostName is the host that a chunkserver is on.
func hostName(i int) string { return fmt.Sprintf("chunk%d", i) }

// holders returns the numbers of the chunkservers with a replica of any kind on disk.
func (r *rig) holders(handle uint64) (all []int) {
	for i := range r.servers {
		if s := r.c.Chunkserver(i); s != nil {
			if _, ok := s.Replica(handle); ok {
				all = append(all, i)
			}
		}
	}
	return all
}

// replicas returns the content of every replica of a chunk of a file that the master
// knows and whose server runs.
func (r *rig) replicas(name string, index uint64) (all [][]byte) {
	r.Helper()
	v := r.chunk(name, index)
	for _, addr := range v.Where {
		if s := r.c.Chunkserver(r.server(addr)); s != nil {
			b, err := s.Content(v.Handle)
			r.must(err)
			all = append(all, b)
		}
	}
	return all
}

// consistent checks that all replicas of a file's chunk are the same, and returns it.
func (r *rig) consistent(name string, index uint64) []byte {
	r.Helper()
	all := r.replicas(name, index)
	if len(all) == 0 {
		r.Fatalf("chunk %d of %s has no replica", index, name)
	}
	for i := range all {
		if !bytes.Equal(all[i], all[0]) {
			r.Errorf("replicas of chunk %d of %s differ", index, name)
		}
	}
	return all[0]
}

// until waits until cond holds.
func (r *rig) until(what string, most time.Duration, cond func() bool) {
	r.Helper()
	testutil.Eventually(r.T, most, cond, what)
}

// cut keeps a chunkserver from everybody but the hosts that are named.
func (r *rig) cut(server int, but ...string) {
	r.Helper()
	var others []string
	for _, h := range r.hosts() {
		if h != hostName(server) && !slices.Contains(but, h) {
			others = append(others, h)
		}
	}
	r.must(r.c.Network().PartitionOneWay([]string{hostName(server)}, others))
	r.must(r.c.Network().PartitionOneWay(others, []string{hostName(server)}))
}

// hosts returns all hosts that have said anything.
func (r *rig) hosts() (all []string) {
	for _, l := range r.c.Network().Links() {
		for _, h := range []string{l.From, l.To} {
			if !slices.Contains(all, h) {
				all = append(all, h)
			}
		}
	}
	return all
}

// sent returns how many bytes a host has sent to those whose names begin with a prefix.
func (r *rig) sent(from, prefix string) (n uint64) {
	for _, l := range r.c.Network().Links() {
		if l.From == from && len(l.To) >= len(prefix) && l.To[:len(prefix)] == prefix {
			n += l.Bytes
		}
	}
	return n
}

// stored returns how many bytes all chunkservers' disks have taken.
func (r *rig) stored() (n int64) {
	for i := range r.servers {
		n += r.c.Stored(i)
	}
	return n
}

// ownHost is the host of a rig's client: client0 was the one that waited for the start.
const ownHost = "client1"
