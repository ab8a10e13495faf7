package rv64

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config says what a program finds. The zero value is a machine without files.
type Config struct {
	// Args are the program's arguments, the first of which is its name. Default: "program".
	Args []string
	// Env is its environment, as NAME=value. Default: none.
	Env []string
	// Root is the tree that the program finds as /. It is read by Load, as a whole; what
	// the program changes stays in the machine ([Machine.Files] shows it, [Machine.Export]
	// writes it to a directory). Default: an empty one. The kernel adds /proc, /dev, /tmp,
	// and the program itself in /bin.
	Root fs.FS
	// Shared is where the program finds the shared disk, for example /shared: what is there
	// outlasts the machine, and is not read or written before it has left as an output. See
	// the package's documentation. Default: there is none.
	Shared string
	// Dir is the working directory. Default: /.
	Dir string
	// Hostname is what the program takes for the name of the machine. Default: rv64.
	Hostname string

	// Memory is how much the program may use, in bytes. Default: 1 GiB. A program that
	// needs more is killed.
	Memory int64
	// Disk is how much its files may take, in bytes. Default: 1 GiB.
	Disk int64

	// Seed is where its randomness comes from. The same seed, the same program: the same
	// numbers. Default: all zeroes.
	Seed [32]byte
	// Start is the wall clock at position 0. Default: 2026-01-01 00:00 UTC.
	Start time.Time
	// Tick is how long an instruction takes, in virtual time. Default: 2 ns.
	Tick time.Duration
	// Quantum is after how many instructions another thread gets its turn, if one is
	// ready. Default: 100,000; the least is 100.
	Quantum uint64

	// Stepper has every instruction executed alone. It is slow, and makes no difference
	// that the program, or a hash, could show.
	Stepper bool

	// Logger is told, once each, which system calls the program misses. Default: nobody.
	Logger hclog.Logger
}

const (
	defaultMemory  = 1 << 30
	defaultQuantum = 100_000
	leastQuantum   = 100 // enough for a reservation to be kept to its end
	slice          = 100_000
	maxPending     = 4 << 20 // bytes of outputs that nobody takes, until Run stops for them
)

func (c *Config) complete() error {
	if len(c.Args) == 0 {
		c.Args = []string{"program"}
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	if c.Hostname == "" {
		c.Hostname = "rv64"
	}
	if c.Memory == 0 {
		c.Memory = defaultMemory
	}
	if c.Disk == 0 {
		c.Disk = defaultMemory
	}
	if c.Start.IsZero() {
		c.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if c.Tick == 0 {
		c.Tick = 2
	}
	if c.Quantum == 0 {
		c.Quantum = defaultQuantum
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	switch {
	case c.Memory < 1<<20 || c.Memory > 1<<37:
		return fmt.Errorf("rv64: Config.Memory is %d bytes; it must be from 1 MiB to 128 GiB", c.Memory)
	case c.Disk < 1<<20 || c.Disk > 1<<40:
		return fmt.Errorf("rv64: Config.Disk is %d bytes; it must be from 1 MiB to 1 TiB", c.Disk)
	case c.Tick < 1 || c.Tick > time.Millisecond:
		return fmt.Errorf("rv64: Config.Tick is %v; it must be from 1ns to 1ms", c.Tick)
	case c.Quantum < leastQuantum:
		return fmt.Errorf("rv64: Config.Quantum is %d; it must be at least %d", c.Quantum, leastQuantum)
	case c.Shared != "" && !strings.HasPrefix(c.Shared, "/"):
		return fmt.Errorf("rv64: Config.Shared is %q; it must start with /", c.Shared)
	case !strings.HasPrefix(c.Dir, "/"):
		return fmt.Errorf("rv64: Config.Dir is %q; it must start with /", c.Dir)
	case c.Start.Year() < 1970 || c.Start.Year() > 2200:
		return fmt.Errorf("rv64: Config.Start is in %d; it must be from 1970 to 2200", c.Start.Year())
	}
	for _, s := range slices.Concat(c.Args, c.Env) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("rv64: %q in Config.Args or Config.Env contains a zero byte", s)
		}
	}
	return nil
}

// A Machine runs one program. Its methods are for one goroutine at a time, except
// Interrupt, and what Freeze returns, which go beside all others.
type Machine struct {
	cpu     *cpu
	kernel  *kernel
	engines []spaceEngine // of the address spaces
	pacer   pacer
	stepper bool
	stop    atomic.Bool
	log     hclog.Logger
	last    lineage // of deltas
	stands  []*memory
	many    int // pages that a delta compares at once, at most

	// What Export has to know. It is not part of the state: a machine of an image has none.
	loaded  map[string]bool // the paths of Config.Root
	program string          // the path of the program
}

// Load makes a machine that is about to execute the first instruction of a program,
// a static executable, which is borrowed. The error matches ErrBadProgram, or
// says what is wrong with the Config or Config.Root.
func Load(elf []byte, cfg Config) (*Machine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	p, err := parse(elf)
	if err != nil {
		return nil, &Error{Op: "load", Path: cfg.Args[0], Err: err}
	}
	m := newMachine(cfg)
	k := m.kernel
	if m.loaded, err = k.disk.fill(cfg.Root, cfg.Start.UnixNano()); err != nil {
		return nil, &Error{Op: "load Config.Root of", Path: cfg.Args[0], Err: err}
	}
	k.name = path.Base(cfg.Args[0])
	k.exe = "/bin/" + k.name
	exe := k.disk.add(sIFREG|0o755, k.realtime())
	if errno := k.disk.write(exe, elf, 0, k.realtime()); errno != 0 {
		return nil, &Error{Op: "load", Path: cfg.Args[0], Err: errors.New("the program does not fit in Config.Disk")}
	}
	k.disk.place(k.exe, exe, k.realtime())
	m.program = strings.TrimPrefix(k.exe, "/")
	k.furnish()
	k.name = k.name[:min(len(k.name), 15)]
	k.cwd = rootInode
	k.disk.inode(rootInode).opens++
	if errno := k.enter(k.disk.mkdirAll(cfg.Dir, k.realtime())); errno != 0 {
		return nil, &Error{Op: "load", Path: cfg.Args[0], Err: fmt.Errorf("Config.Dir %s is no directory", cfg.Dir)}
	}
	for i, f := range []*file{
		{kind: kindInput, flags: oRDONLY, path: "/dev/stdin"}, {kind: kindOutput, flags: oWRONLY, stream: 1, path: "/dev/stdout"},
		{kind: kindOutput, flags: oWRONLY, stream: 2, path: "/dev/stderr"},
	} {
		if fd := k.install(f, false); fd != int64(i) {
			return nil, &Error{Op: "load", Path: cfg.Args[0], Err: errors.New("the standard descriptors are taken")}
		}
	}
	if err := k.start(p, cfg.Args, cfg.Env); err != nil {
		return nil, &Error{Op: "load", Path: cfg.Args[0], Err: err}
	}
	if cfg.Shared != "" {
		if err := k.mountAt(cfg.Shared); err != nil {
			return nil, &Error{Op: "load", Path: cfg.Args[0], Err: err}
		}
	}
	k.settle()
	return m, nil
}

// newMachine makes one without a program.
func newMachine(cfg Config) *Machine {
	mem := newMemory(int(cfg.Memory / pageSize))
	m := &Machine{cpu: &cpu{mem: mem}, stepper: cfg.Stepper, log: cfg.Logger, many: manyPages}
	first := &process{id: processID, parent: outsideID, group: processID, session: processID, mem: mem, umask: 0o022}
	k := &kernel{
		cpu: m.cpu, process: first, procs: []*process{first}, disk: newDisk(cfg.Disk), due: ^uint64(0), nextConn: firstConn, told: make(map[string]bool),
		set:   settings{quantum: cfg.Quantum, tick: uint64(cfg.Tick), start: cfg.Start.UnixNano(), hostname: cfg.Hostname, pages: mem.limit},
		noise: noise{seed: cfg.Seed},
	}
	k.report = func(name string) {
		m.log.Warn("the program misses a system call", "name", name, "position", m.cpu.count)
	}
	m.cpu.clock = func() uint64 { return k.monotonic() / 100 } // RDTIME counts at 10 MHz
	m.kernel = k
	k.disk.gone, k.disk.mount = k.forgetInode, &k.mount
	return m
}

// A spaceEngine is the engine of an address space: what it has decoded is of that.
type spaceEngine struct {
	mem    *memory
	engine engine
}

// engine returns the one of the process that runs.
func (m *Machine) engine() engine {
	mem := m.kernel.mem
	for i := range m.engines {
		if m.engines[i].mem == mem {
			return m.engines[i].engine
		}
	}
	spaces := m.kernel.spaces()
	m.engines = slices.DeleteFunc(m.engines, func(e spaceEngine) bool { return !slices.Contains(spaces, e.mem) })
	e := spaceEngine{mem, stepper{}}
	if !m.stepper {
		e.engine = newBlocks(mem)
	}
	m.engines = append(m.engines, e)
	return e.engine
}

// Position is the clock: how many instructions have been executed.
func (m *Machine) Position() uint64 { return m.cpu.count }

// Run executes up to a position, and never past it. It returns where the machine is:
// short of that when it is idle or has exited, when it was interrupted, when outputs of
// some MiB wait for being taken, or when one asks something of the shared disk: a thread
// waits for that.
func (m *Machine) Run(until uint64) uint64 {
	k, c := m.kernel, m.cpu
	k.asked = false
	for !k.exited && k.current != nil && c.count < until && k.outputBytes < maxPending && !k.asked {
		if m.stop.CompareAndSwap(true, false) {
			break
		}
		limit := min(until, k.turnEnd, k.countAt(k.due), c.count+slice)
		if t := m.pacer.run(m.engine(), c, limit); t != trapNone {
			m.trap(t)
		}
		k.settle()
	}
	return c.count
}

// trap does what a trap asks for.
func (m *Machine) trap(t trap) {
	k, c := m.kernel, m.cpu
	s := signalInfo{number: sigSEGV, code: 1, value: k.mem.fault.addr}
	switch t {
	case trapCall:
		k.trapCall()
		return
	case trapBreak:
		s = signalInfo{number: sigTRAP, code: 1, value: c.pc}
	case trapIllegal:
		if k.privileged() {
			return
		}
		s = signalInfo{number: sigILL, code: 1, value: c.pc}
	default:
		if t == trapStore && k.toHost() {
			return
		}
		switch k.mem.fault.kind {
		case faultAccess:
			s.code = 2
		case faultMisaligned:
			s.number = sigBUS
		case faultMemory:
			c.count++
			k.kill(k.current, signalInfo{number: sigKILL, value: s.value})
			if k.crash != nil {
				k.crash.OutOfMemory = true
			}
			return
		}
	}
	c.count++ // a fault takes time too, so that a program that does nothing else gets somewhere
	k.fault(s)
}

// Interrupt makes a Run that goes on, or else the next one, return soon.
func (m *Machine) Interrupt() { m.stop.Store(true) }

// Inject gives the machine an event, at the position where it stands. The error
// matches ErrBadEvent: then nothing has changed.
func (m *Machine) Inject(event []byte) error {
	if _, exited := m.Exited(); exited {
		return nil
	}
	if err := m.kernel.inject(event); err != nil {
		return &Error{Op: "inject", Path: fmt.Sprint("at ", m.cpu.count), Err: fmt.Errorf("%w: %v", ErrBadEvent, err)}
	}
	m.kernel.settle()
	return nil
}

// NextOutput takes the next output, with the position at which it left. [ParseOutput]
// reads it.
func (m *Machine) NextOutput() (at uint64, out []byte, ok bool) {
	k := m.kernel
	if len(k.outputs) == 0 {
		return 0, nil, false
	}
	o := k.outputs[0]
	k.outputs[0] = output{}
	k.outputs = k.outputs[1:]
	k.outputBytes -= len(o.wire)
	return o.at, o.wire, true
}

// Idle reports whether the machine can't go on without an event. If it waits for a
// time too, wake is how long until then; else it is negative.
func (m *Machine) Idle() (wake time.Duration, idle bool) {
	k := m.kernel
	switch {
	case k.exited:
		return -1, k.mount.leaving != 0
	case k.current != nil:
		return 0, false
	case k.due > maxTime: // as good as never
		return -1, true
	}
	return time.Duration(min(k.due-min(k.due, k.monotonic()), maxSkip)), true
}

// Now is the virtual time since position 0.
func (m *Machine) Now() time.Duration { return time.Duration(m.kernel.monotonic() - 1e9) }

// Skip returns the event that lets d pass at once: [SkipEvent].
func (m *Machine) Skip(d time.Duration) []byte { return SkipEvent(d) }

// Exited reports whether the program has ended, and with which status: that of a
// program killed by a signal is 128 more than the signal.
func (m *Machine) Exited() (status int, exited bool) {
	return m.kernel.exitCode, m.kernel.exited && m.kernel.mount.leaving == 0
}

// Crash returns how the program was killed, or nil if it was not.
func (m *Machine) Crash() *Crash { return m.kernel.crash }

// Hash is that of the whole state: memory, registers, the kernel's tables, files, and
// all outputs so far. Machines with the same history have the same, whatever engine
// they run on. Its cost is that of the pages written since the last one.
func (m *Machine) Hash() [32]byte {
	k := m.kernel
	if k.current != nil {
		k.save(k.current)
	}
	c := codec{digest: true}
	k.state(&c)
	for _, mem := range k.spaces() {
		pages := mem.digest()
		c.buf = binary.LittleEndian.AppendUint64(c.buf, pages.hi)
		c.buf = binary.LittleEndian.AppendUint64(c.buf, pages.lo)
	}
	return sha256.Sum256(c.buf)
}

// version is that of the state, the events and the outputs.
const version = 3

// Fingerprint is that of all machines whose images and logs this one can read.
func (m *Machine) Fingerprint() string { return fmt.Sprintf("rv64/%d", version) }

// Resident is how much memory the program uses, in bytes.
func (m *Machine) Resident() (n int64) {
	for _, mem := range m.kernel.spaces() {
		n += int64(mem.resident) * pageSize
	}
	return n
}

// Dirty is how much memory was written since the last Freeze or Delta, in bytes, as far as
// either has had it copied before.
func (m *Machine) Dirty() (n int64) {
	for _, mem := range m.kernel.spaces() {
		n += int64(mem.dirty()) * pageSize
	}
	return n
}

var _ interface {
	Position() uint64
	Run(until uint64) uint64
	Interrupt()
	Inject(event []byte) error
	NextOutput() (at uint64, out []byte, ok bool)
	Idle() (wake time.Duration, idle bool)
	Exited() (status int, exited bool)
	Now() time.Duration
	Skip(d time.Duration) []byte
	Freeze() (io.WriterTo, error)
	Restore(r io.Reader) error
	Delta() (io.WriterTo, error)
	ApplyDelta(delta []byte) error
	Hash() [32]byte
	Fingerprint() string
} = (*Machine)(nil)
