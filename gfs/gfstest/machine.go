package gfstest

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
)

// errDead is what a process that was killed gets from its disk.
var errDead = errors.New("gfstest: the process has been killed")

// A process is a Master or a Chunkserver.
type process interface{ Close() error }

// A machine is a host with a disk, and a process that runs on it or does not.
type machine struct {
	c    *Cluster
	name string
	addr string // where it was first reached: it stays there

	disk    *vfs.Memory
	view    *vfs.Injector // the disk, as the process that runs now sees it
	alive   *atomic.Bool  // whether view works
	process process
	rng     *rand.Rand

	mu   sync.Mutex // guards fail
	fail error      // what writes fail with
}

func (c *Cluster) newMachine(name string) *machine {
	seed := c.cfg.Seed
	for _, b := range []byte(name) {
		seed = seed*31 + uint64(b)
	}
	m := &machine{c: c, name: name, disk: vfs.NewMemory(seed), rng: rand.New(rand.NewPCG(seed, 0))}
	if c.network != nil {
		m.addr = name + ":1"
	}
	return m
}

// start starts the machine's process.
func (m *machine) start(boot func(t transport.Transport, addr string) (process, string, error)) {
	m.c.t.Helper()
	if m.process != nil {
		m.c.t.Fatalf("%s is running", m.name)
	}
	alive := new(atomic.Bool)
	alive.Store(true)
	m.alive = alive
	m.view = vfs.Inject(m.disk, func(call vfs.Call) vfs.Fault {
		if !alive.Load() {
			return vfs.Fault{Err: errDead}
		}
		if call.Op.Mutates() {
			m.mu.Lock()
			defer m.mu.Unlock()
			return vfs.Fault{Err: m.fail}
		}
		return vfs.Fault{}
	})
	if m.c.network != nil {
		m.c.network.Host(m.name).Restart()
	}
	t, addr := m.c.transport(m.name)
	if m.c.network == nil && m.addr != "" {
		addr = m.addr
	}
	p, at, err := boot(t, addr)
	if err != nil {
		m.c.t.Fatalf("%s does not start: %v", m.name, err)
	}
	m.process = p
	if m.addr == "" {
		m.addr = at
	}
}

// kill ends the process at once: it has no more effect on the network or the disk.
func (m *machine) kill() {
	if m.process == nil {
		return
	}
	m.alive.Store(false)
	if m.c.network != nil {
		m.c.network.Host(m.name).Crash(transport.CrashReset)
	}
	m.stop()
}

// crash cuts the power.
func (m *machine) crash() {
	m.kill()
	m.disk = m.disk.Crash()
}

// stop ends the process in good order, if it still can.
func (m *machine) stop() {
	if m.process != nil {
		_ = m.process.Close() // whoever was killed complains of its disk
		m.process = nil
	}
}

func (m *machine) wipe(capacity int64) {
	if m.process != nil {
		m.c.t.Fatalf("%s is running: its disk cannot be replaced", m.name)
	}
	m.disk = vfs.NewMemory(m.rng.Uint64())
	m.disk.SetCapacity(capacity)
}

func (m *machine) failWrites(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// rot flips bits in files that hold data of chunks.
func (m *machine) rot(n int) (done int) {
	var files []string
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := m.disk.ReadDir(dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			if e.IsDir() {
				walk(name)
			} else if filepath.Ext(name) == ".data" {
				files = append(files, name)
			}
		}
	}
	walk("/chunks")
	m.rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	for _, name := range files {
		if done == n {
			break
		}
		if m.flip(name) {
			done++
		}
	}
	return done
}

func (m *machine) flip(name string) bool {
	f, err := m.disk.OpenFile(name, os.O_RDWR)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size == 0 {
		return false
	}
	at := m.rng.Int64N(size)
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return false
	}
	b[0] ^= 1 << m.rng.IntN(8)
	_, err = f.WriteAt(b[:], at)
	return err == nil
}
