//go:build unix

package main

import (
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
	"github.com/trilith-go/trilith/vmft"
)

// A failoverTest is a gfs of processes with two masters.
type failoverTest struct {
	t       *testing.T
	dir     string
	decides []string // the flags by which masters find who decides
	addrs   []string // of the masters
	nodes   []string
	journal bool
	arbiter vmft.Arbiter
	masters [2]*process
	model   *killModel
	pauses  map[string][]time.Duration
}

// lead starts a master.
func (k *failoverTest) lead(i int) {
	args := []string{"master", "-listen", k.addrs[i], "-node", k.nodes[i], "-standby", strings.Join(k.nodes, ","), "-chunk", "256", "-lease", "5s"}
	args = append(args, k.decides...)
	if k.journal {
		args = append(args, "-journal", filepath.Join(k.dir, fmt.Sprint("master", i)))
	}
	k.masters[i] = start(k.t, args...)
}

// newest returns the newest record of the chain.
func (k *failoverTest) newest() vmft.Record {
	k.t.Helper()
	r, err := k.arbiter.Newest(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

// paired waits until a master leads and the other stands by, and returns which leads.
func (k *failoverTest) paired() int {
	k.t.Helper()
	var leads int
	testutil.Eventually(k.t, time.Minute, func() bool {
		r := k.newest()
		leads = slices.Index(k.nodes, r.Primary.Addr)
		return leads >= 0 && !r.Backup.IsZero()
	}, "one master leads, and the other stands by")
	return leads
}

func (k *failoverTest) dial() *gfs.Client {
	k.t.Helper()
	client, err := gfs.Dial(k.t.Context(), gfs.ClientConfig{Transport: &transport.TCP{}, Masters: k.addrs, CacheTime: 2 * time.Second})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { client.Close() })
	return client
}

// strike does something to the master that leads, and returns when the other does, a
// directory was made, and there is a pair again.
func (k *failoverTest) strike(what string, client *gfs.Client, n int) {
	k.t.Helper()
	leads := k.paired()
	before := k.newest()
	began := time.Now()
	if what == "kill" {
		_ = k.masters[leads].signal(os.Kill) // the status is that of a kill
	} else {
		k.stop(k.masters[leads].cmd.Process)
	}
	if err := client.Mkdir(k.t.Context(), fmt.Sprint("struck", n), 0o755); err != nil {
		k.t.Errorf("after %s: %v", what, err)
	}
	k.pauses[what] = append(k.pauses[what], time.Since(began).Round(time.Millisecond))
	if r := k.newest(); r.Primary == before.Primary || r.Primary.Addr != k.nodes[1-leads] {
		k.t.Errorf("after %s of %v: %v", what, before, r)
	}
	// The load goes on for a while, without a master that stands by.
	testutil.Eventually(k.t, time.Minute, k.goesOn(), "clients and chunkservers go on")
	if what == "kill" {
		k.lead(leads)
	} else if err := k.masters[leads].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		k.t.Fatal(err)
	}
	k.paired()
	k.model.count("masters struck: " + what)
}

// stop stops a process, and returns when it has stopped: the signal alone may take a while.
func (k *failoverTest) stop(p *os.Process) {
	k.t.Helper()
	err := p.Signal(syscall.SIGSTOP)
	for status := syscall.WaitStatus(0); err == nil && !status.Stopped(); {
		if _, err = syscall.Wait4(p.Pid, &status, syscall.WUNTRACED, nil); err == syscall.EINTR {
			err = nil
		}
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// goesOn returns a function that reports whether clients have done some of everything since.
func (k *failoverTest) goesOn() func() bool {
	work := []string{"overwrites", "appends", "files written", "files read", "renames", "removals"}
	counts := func() (all []int) {
		k.model.mu.Lock()
		defer k.model.mu.Unlock()
		for _, what := range work {
			all = append(all, k.model.n[what])
		}
		return all
	}
	before := counts()
	return func() bool {
		for i, n := range counts() {
			if n < before[i]+3 {
				return false
			}
		}
		return true
	}
}

// TestGFSFailsOver kills and stops the master that leads while clients write, overwrite,
// append, read, rename, take snapshots and remove: the other one leads, clients and
// chunkservers go on by themselves, and everything that was acknowledged is there. A master
// that was stopped goes on later, and stands by. Who leads is decided in a directory or,
// for masters with journals, by an arbiter in a process of its own.
func TestGFSFailsOver(t *testing.T) {
	for _, journal := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal=%v", journal), func(t *testing.T) {
			if journal && testing.Short() {
				t.Skip("takes seconds")
			}
			testFailsOver(t, journal)
		})
	}
}

func testFailsOver(t *testing.T, journal bool) {
	k := &failoverTest{t: t, dir: t.TempDir(), journal: journal, addrs: testutil.FreeAddrs(t, 2), model: newKillModel(), pauses: make(map[string][]time.Duration)}
	k.nodes = testutil.FreeAddrs(t, 2)
	lock := filepath.Join(k.dir, "lock")
	if err := os.Mkdir(lock, 0o777); err != nil {
		t.Fatal(err)
	}
	k.decides = []string{"-lock", lock}
	records := filepath.Join(lock, "master")
	if journal { // and a third process
		decider := start(t, "arbiter", "-listen", "127.0.0.1:0", "-dir", records)
		k.decides = []string{"-arbiter", decider.addr}
	}
	k.arbiter = vmft.DirArbiter(records)
	for i := range k.masters {
		k.lead(i)
	}
	for i := range 4 {
		start(t, "chunkserver", "-master", strings.Join(k.addrs, ","), "-dir", filepath.Join(k.dir, fmt.Sprint("disk", i)))
	}
	client := k.dial()
	testutil.Eventually(t, time.Minute, func() bool {
		servers, err := client.Servers(t.Context())
		return err == nil && len(servers) == 4
	}, "all chunkservers have registered")
	for _, name := range []string{regionFile, appendFile, recordFile} {
		if err := client.WriteFile(t.Context(), name, nil, 0o644); err != nil {
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
	testutil.Eventually(t, time.Minute, k.goesOn(), "clients work")
	for n := range 4 {
		k.strike([]string{"kill", "stop"}[n%2], client, n)
	}
	halt()
	if t.Failed() {
		return
	}
	k.model.check(t, k.dial())
	f := &fsTest{t, []string{"-master", strings.Join(k.addrs, ",")}}
	f.says(f.do("fsck", "-wait", "1m"), ": 0 short of replicas, 0 with none")
	if n := k.model.n["failures"]; n > 0 {
		t.Errorf("%d operations failed: clients do not go on by themselves", n)
	}
	t.Log(k.model.n)
	t.Logf("until a directory was made: %v", k.pauses)
}
