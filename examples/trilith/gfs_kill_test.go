package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

var (
	killFor  = flag.Duration("kill.for", 12*time.Second, "how long TestGFSSurvivesKills kills processes of a gfs")
	killSeed = flag.Uint64("kill.seed", 1, "what and when TestGFSSurvivesKills kills")
)

const (
	killServers = 5
	killClients = 4
	// killDown is how many chunkservers are down at a time, at most: of what is written
	// meanwhile there may be one replica less than that leaves.
	killDown = 2
	// tinyDisk is the size of the disk that fills up.
	tinyDisk = 256 << 20
	// wipedReplicas is how many a disk that is wiped has at least, rottenReplicas how many
	// rot at a time.
	wipedReplicas, rottenReplicas = 24, 12
)

// A killTest is a gfs of processes, which are killed.
type killTest struct {
	t       *testing.T
	dir     string
	rng     *rand.Rand
	model   *killModel
	client  *gfs.Client // that looks how the cluster does
	addr    string      // of the master
	page    string      // its status page
	master  *process    // nil: it is down
	servers [killServers]*process
	back    [killServers]time.Time // when one that is down is started again
	ended   []*process
	lost    map[string]bool // the files of replicas that were wiped with their disk
	tiny    bool            // the last chunkserver has a small disk of its own
}

// TestGFSSurvivesKills keeps killing the master and chunkservers by kill -9 while clients
// write, overwrite, append, read, rename, take snapshots and remove. Meanwhile the disk of
// one chunkserver is lost, bits of another rot, and that of a third is full. Nothing that
// was acknowledged is lost, not even while two chunkservers are down in the end; and the
// cluster comes to rest with as many replicas as it should have, and no others.
func TestGFSSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute and more")
	}
	t.Parallel() // it waits more than it computes
	k := &killTest{t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(*killSeed, 1)), model: newKillModel(), lost: make(map[string]bool)}
	k.tiny = k.mountTiny()
	k.lead(testutil.FreeAddrs(t, 1)[0])
	k.client = k.dial()
	for i := range k.servers {
		k.serve(i)
	}
	f := &fsTest{t, []string{"-master", k.addr}}
	testutil.Eventually(t, time.Minute, func() bool { return strings.Count(f.do("servers"), "alive") == killServers }, "all chunkservers have registered")
	for _, name := range []string{regionFile, appendFile, recordFile} {
		if err := k.client.WriteFile(t.Context(), name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	stop := make(chan struct{})
	var work sync.WaitGroup
	for i := range killClients {
		l := &killLoad{
			t: t, id: i, ctx: t.Context(), model: k.model, client: k.dial(), rng: rand.New(rand.NewPCG(*killSeed, uint64(100+i))),
			files: make(map[string]content), removed: make(map[string]content),
		}
		work.Go(func() { l.run(stop) })
	}
	halt := sync.OnceFunc(func() { close(stop); work.Wait() })
	defer halt()
	k.storm()
	k.revive(true)
	halt()
	if t.Failed() {
		return
	}
	k.all()
	k.rest(f)
	k.model.check(t, k.client)
	k.twoDown()
	k.rest(f)
	k.enough()
}

// lead starts the master.
func (k *killTest) lead(listen string) {
	k.master = start(k.t, "master", "-listen", listen, "-journal", filepath.Join(k.dir, "master"), "-chunk", "256", "-server-timeout", "1s", "-lease", "1s", "-repair-rate", "-1", "-status", "127.0.0.1:0")
	k.page = k.master.next("page at ")
	k.addr = k.master.addr
}

func (k *killTest) disk(i int) string { return filepath.Join(k.dir, fmt.Sprint("disk", i)) }

// serve starts a chunkserver.
func (k *killTest) serve(i int) {
	k.servers[i] = start(k.t, "chunkserver", "-master", k.addr, "-dir", k.disk(i), "-rack", fmt.Sprint("r", i%3), "-scrub", "2s")
}

// kill is kill -9.
func (k *killTest) kill(p **process) {
	_ = (*p).signal(os.Kill)
	k.ended = append(k.ended, *p)
	*p = nil
}

// dial returns a client that tries for long: what it is told to do gets done.
func (k *killTest) dial() *gfs.Client {
	k.t.Helper()
	client, err := gfs.Dial(k.t.Context(), gfs.ClientConfig{Transport: &transport.TCP{}, Masters: []string{k.addr}, Patience: 30 * time.Second, CacheTime: 2 * time.Second})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { client.Close() })
	return client
}

// storm kills for as long as the flag says, and longer if by then the disks have not all
// failed, one after the other, or clients have not done enough.
func (k *killTest) storm() {
	disasters := []func(){k.wipe, k.rot, k.fill, k.wipe, k.rot}
	every := min(*killFor/time.Duration(len(disasters)+1), 10*time.Second)
	next := every
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	for n := 0; n < len(disasters) || time.Since(begin) < *killFor || k.lack() != ""; {
		<-tick.C
		if time.Since(begin) > 10*(*killFor)+time.Minute {
			k.t.Errorf("after %v, too few to prove anything: %s", time.Since(begin), k.lack())
		}
		if k.t.Failed() {
			return
		}
		k.strike()
		k.revive(false)
		if time.Since(begin) >= next {
			calm := time.Now()
			k.calm()
			begin = begin.Add(time.Since(calm)) // nothing is killed meanwhile
			disasters[n%len(disasters)]()
			n, next = n+1, next+every
		}
	}
}

// lack says what has not been done often enough to prove anything.
func (k *killTest) lack() string {
	seconds := int(*killFor / time.Second)
	k.model.mu.Lock()
	defer k.model.mu.Unlock()
	return testutil.Lack(k.model.n, map[string]int{
		"masters killed": seconds / 10, "chunkservers killed": seconds / 4,
		"overwrites": 4 * seconds, "appends": 2 * seconds, "records": seconds, "reads": 2 * seconds, "files written": seconds, "files read": seconds,
		"renames": seconds / 2, "snapshots": seconds / 2, "removals": seconds / 2, "undeletions": seconds / 2, "snapshots of regions": seconds / 10,
	})
}

// strike kills something now and then.
func (k *killTest) strike() {
	switch n := k.rng.IntN(100); {
	case n < 2 && k.master != nil:
		k.kill(&k.master)
		k.model.count("masters killed")
	case n < 12:
		victim := k.rng.IntN(killServers)
		down := 0
		for _, s := range k.servers {
			if s == nil {
				down++
			}
		}
		if down == killDown || k.servers[victim] == nil {
			return
		}
		k.kill(&k.servers[victim])
		k.back[victim] = time.Now().Add(time.Duration(k.rng.Int64N(int64(3 * time.Second)))) // given up for dead, or not
		k.model.count("chunkservers killed")
	}
}

// revive starts what has been down for long enough, or everything.
func (k *killTest) revive(all bool) {
	if k.master == nil && (all || k.rng.IntN(5) == 0) {
		k.lead(k.addr)
	}
	for i, s := range k.servers {
		if s == nil && (all || time.Now().After(k.back[i])) {
			k.serve(i)
		}
	}
}

// calm waits until every chunk has its replicas, so that a disk may fail.
func (k *killTest) calm() {
	k.t.Helper()
	k.revive(true)
	var check gfs.Check
	var err error
	defer func() {
		if k.t.Failed() {
			k.t.Logf("fsck: %.4000s, %v", fmt.Sprintf("%+v", check), err)
			k.t.Logf("%.8000s", fetch(k.t, k.page+"status.json"))
		}
	}()
	testutil.Eventually(k.t, 2*time.Minute, func() bool {
		check, err = k.client.Fsck(k.t.Context(), ".")
		return err == nil && check.Short == 0 || k.t.Failed()
	}, "every chunk has its replicas")
}

// replicas returns the data files of a chunkserver.
func (k *killTest) replicas(i int) []string {
	k.t.Helper()
	all, err := filepath.Glob(filepath.Join(k.disk(i), "chunks", "*", "*.data"))
	if err != nil {
		k.t.Fatal(err)
	}
	return all
}

// wipe kills a chunkserver, and starts it again on an empty disk. The master is told that
// the old one is lost for good: else it would wait for ten minutes for it wherever a chunk
// has only replicas left that kills have interrupted.
func (k *killTest) wipe() {
	victim := k.rng.IntN(killServers - 1)
	testutil.Eventually(k.t, time.Minute, func() bool { return len(k.replicas(victim)) >= wipedReplicas }, "the disk has replicas that can be lost")
	id := k.idOf(k.servers[victim].addr)
	k.kill(&k.servers[victim])
	for _, name := range k.replicas(victim) {
		k.lost[filepath.Base(name)] = true
	}
	if err := os.RemoveAll(k.disk(victim)); err != nil {
		k.t.Fatal(err)
	}
	k.serve(victim)
	k.model.count("disks wiped")
	testutil.Eventually(k.t, time.Minute, func() bool {
		return k.client.Forget(k.t.Context(), id) == nil
	}, "the lost disk is forgotten")
}

// idOf returns the id of the chunkserver at an address.
func (k *killTest) idOf(addr string) uint32 {
	k.t.Helper()
	servers, err := k.client.Servers(k.t.Context())
	i := slices.IndexFunc(servers, func(s gfs.ServerInfo) bool { return s.Addr == addr })
	if err != nil || i < 0 {
		k.t.Fatalf("there is no chunkserver at %s: %+v, %v", addr, servers, err)
	}
	return servers[i].ID
}

// rot flips bits in files of a chunkserver that serves them, until it has found some.
func (k *killTest) rot() {
	victim := k.rng.IntN(killServers - 1)
	found := func() int { return strings.Count(k.servers[victim].stderr.String(), "replica is corrupt") }
	before := found()
	for range 10 {
		all := k.replicas(victim)
		for _, n := range k.rng.Perm(len(all))[:min(len(all), rottenReplicas)] {
			if k.flip(all[n]) {
				k.model.count("bits flipped")
			}
		}
		// What has been overwritten or deleted meanwhile is not found.
		if k.within(10*time.Second, func() bool { return found() >= before+rottenReplicas/2 }) {
			return
		}
	}
	k.t.Errorf("of the replicas that have rotted %d were found to be corrupt", found()-before)
}

// within waits for something that need not come to be, and reports whether it has.
func (k *killTest) within(d time.Duration, so func() bool) (is bool) {
	over := time.Now().Add(d)
	testutil.Eventually(k.t, time.Minute+d, func() bool {
		is = so()
		return is || time.Now().After(over)
	}, "so or not")
	return is
}

// flip flips a bit, unless the file has none any more.
func (k *killTest) flip(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	at, b := k.rng.Int64N(info.Size()), make([]byte, 1)
	if _, err = f.ReadAt(b, at); err == nil {
		b[0] ^= 1 << k.rng.IntN(8)
		_, err = f.WriteAt(b, at)
	}
	return err == nil
}

// fill leaves no room on the last chunkserver's disk for a while, until that has told of a
// write that failed: once it is known to be full, new chunks go elsewhere.
func (k *killTest) fill() {
	if !k.tiny {
		return
	}
	failed := func() int { return strings.Count(k.servers[killServers-1].stderr.String(), "the disk fails") }
	before := failed()
	for range 10 {
		if k.fillOnce(func() bool { return failed() > before }) {
			k.model.count("disks filled")
			return
		}
	}
	k.t.Error("a disk was full ten times, and nothing was written to it")
}

// fillOnce leaves no room on the last chunkserver's disk for a while, and reports whether
// it was noticed.
func (k *killTest) fillOnce(noticed func() bool) bool {
	name := filepath.Join(k.disk(killServers-1), "ballast")
	f, err := os.Create(name)
	if err != nil {
		k.t.Fatal(err)
	}
	piece := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(piece)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		k.t.Fatal(err)
	}
	began := time.Now()
	is := k.within(10*time.Second, func() bool { return time.Since(began) > 3*time.Second && noticed() })
	if err := errors.Join(f.Close(), os.Remove(name)); err != nil {
		k.t.Fatal(err)
	}
	return is
}

// rest waits until fsck ends clean, and disks hold what they should and nothing else.
func (k *killTest) rest(f *fsTest) {
	k.t.Helper()
	f.says(f.do("fsck", "-wait", "2m"), ": 0 short of replicas, 0 with none")
	testutil.Eventually(k.t, 2*time.Minute, func() bool {
		if _, stdout, _ := f.try("fsck"); !strings.Contains(stdout, ": 0 short of replicas, 0 with none; 0 replicas to be deleted") {
			return false
		}
		have := make(map[string]int)
		for i := range k.servers {
			for _, name := range k.replicas(i) {
				have[filepath.Base(name)]++
			}
		}
		for _, n := range have {
			if n != gfs.DefaultReplication {
				return false
			}
		}
		return true
	}, "each chunk that is on a disk is on three")
}

// all kills everything at once.
func (k *killTest) all() {
	for i := range k.servers {
		k.kill(&k.servers[i])
	}
	k.kill(&k.master)
	k.revive(true)
}

// twoDown reads everything while any two of the chunkservers are dead, of which each has
// replicas that nobody else has by then.
func (k *killTest) twoDown() {
	for _, pair := range [][2]int{{0, 1}, {2, 3}} {
		for _, i := range pair {
			k.kill(&k.servers[i])
		}
		k.model.check(k.t, k.dial())
		k.revive(true)
		k.calm()
	}
}

// enough checks that something was tested.
func (k *killTest) enough() {
	var said bytes.Buffer
	for _, p := range k.ended {
		said.WriteString(p.stderr.String())
	}
	for i := range k.servers {
		k.kill(&k.servers[i])
		said.WriteString(k.ended[len(k.ended)-1].stderr.String())
	}
	n := k.model.n
	n["replicas found to be corrupt"] = strings.Count(said.String(), "replica is corrupt")
	n["writes to a full disk"] = strings.Count(said.String(), "the disk fails")
	for i := range k.servers {
		for _, name := range k.replicas(i) {
			if k.lost[filepath.Base(name)] {
				n["replicas made for lost ones"]++
				delete(k.lost, filepath.Base(name))
			}
		}
	}
	k.t.Log(n)
	least := map[string]int{
		"disks wiped": 2, "bits flipped": rottenReplicas, "replicas found to be corrupt": 2 * (rottenReplicas / 2), "replicas made for lost ones": wipedReplicas / 2,
	}
	if k.tiny {
		least["disks filled"], least["writes to a full disk"] = 1, 1
	}
	if lack := testutil.Lack(n, least) + k.lack(); lack != "" {
		k.t.Errorf("too few to prove anything: %s", lack)
	}
}
