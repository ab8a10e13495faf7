package rv64

import (
	"fmt"
	"math"
)

// A kernel is the Linux that the program sees. Its state is tables in which things
// refer to one another by number, so that it can be written down, restored and
// compared.
//
// Invariants, whenever the machine may stop: a thread is either the current one, in
// the queue of those who are ready, or waiting; the current one has no signal to be
// delivered; no deadline has passed; no call that waits could go on.
type kernel struct {
	cpu *cpu
	set settings

	*process            // in which the kernel works now
	procs    []*process // by rising id, the program first

	// Threads. The registers of the current one are in the cpu.
	threads []*thread // by rising id
	current *thread   // nil when all wait
	ready   []int     // ids, in order
	nextID  int
	turnEnd uint64 // the count at which the current thread's turn ends
	futexes []futexWaiter
	due     uint64 // the next deadline of all, in ns; math.MaxUint64: none
	kicked  bool   // something has changed that calls may wait for

	skipped uint64 // ns that events have added to the clock

	// Open files and what is behind them, by number.
	files   []*file
	timers  int // files that are timers
	pipes   []*pipe
	sockets []*socket
	disk    *disk
	shared  bool // there has been a shared mapping of a file
	// memoryFiles are the inodes of shared memory.
	memoryFiles []int
	mount       mount // of the shared disk
	input       console

	nextConn uint64 // external connections are never given a number twice
	nextPort uint16

	noise noise

	exited   bool
	exitCode int
	crash    *Crash

	outputSum [32]byte // of all outputs so far, with their positions
	// What has not been taken yet. It is not part of the state, as it depends on when
	// somebody looks.
	outputs     []output
	outputBytes int
	asked       bool // the shared disk, since Run was called

	told   map[string]bool // calls that were reported as missing. Not part of the state
	report func(name string)
}

// settings are what a kernel is started with and never changes.
type settings struct {
	quantum  uint64 // instructions of a turn
	tick     uint64 // ns of an instruction
	start    int64  // wall clock at position 0, Unix ns
	hostname string
	pages    int // of memory, for all processes
}

// A syscall is one of the calls. It returns a result, -errno, or callBlocks after
// wait has been called: then it is called again whenever it may be able to go on.
type syscall struct {
	name string
	call func(k *kernel, t *thread, a *[6]uint64) int64
}

// monotonic is the virtual time in ns since the machine was started, plus a second
// (a program may take zero for never).
func (k *kernel) monotonic() uint64 {
	return 1e9 + k.skipped + k.cpu.count*k.set.tick
}

// realtime is the wall clock in ns since 1970.
func (k *kernel) realtime() int64 { return k.set.start + int64(k.monotonic()) - 1e9 }

// countAt is the position at which the clock will have reached a time.
func (k *kernel) countAt(ns uint64) uint64 {
	if ns == math.MaxUint64 {
		return math.MaxUint64
	}
	now := k.monotonic()
	if ns <= now {
		return k.cpu.count
	}
	return k.cpu.count + (ns-now+k.set.tick-1)/k.set.tick
}

// trapCall does the call that the current thread has come to.
func (k *kernel) trapCall() {
	c, t := k.cpu, k.current
	c.count++
	c.pc += 4
	c.reserved = false
	t.call = pendingCall{nr: c.x[17], restartPC: c.pc - 4}
	copy(t.call.args[:], c.x[10:16])
	k.finish(t, k.invoke(t))
}

// invoke runs the function of a thread's call.
func (k *kernel) invoke(t *thread) int64 {
	call, ok := syscalls[t.call.nr]
	if !ok {
		name := missingCalls[t.call.nr]
		if name == "" {
			name = fmt.Sprintf("system call %d", t.call.nr)
		}
		if !k.told[name] {
			k.told[name] = true
			k.report(name)
		}
		return -eNOSYS
	}
	args := t.call.args
	if t.process == k.id {
		return call.call(k, t, &args)
	}
	var result int64
	k.in(k.proc(t.process), func() { result = call.call(k, t, &args) })
	return result
}

// finish gives a thread the result of its call, or lets it wait.
func (k *kernel) finish(t *thread, result int64) {
	switch result {
	case callReturnsItself:
		t.waiting = waitNot
	case callBlocks:
		if t == k.current {
			k.suspend()
		}
	default:
		wasWaiting := t.waiting != waitNot
		if t.opening != 0 {
			k.abandonOpen(t)
		}
		t.waiting, t.deadline, t.timedOut = waitNot, 0, false
		if t == k.current {
			k.cpu.x[10] = uint64(result)
			return
		}
		t.x[10] = uint64(result)
		if wasWaiting {
			k.ready = append(k.ready, t.id)
		}
	}
}

// settle lets everything happen that follows from what has just happened.
func (k *kernel) settle() {
	for !k.exited {
		switch {
		case k.monotonic() >= k.due:
			k.expire()
		case k.kicked:
			k.kicked = false
			k.retry()
		case k.current == nil && len(k.ready) > 0:
			k.resume(k.take())
		case k.current == nil:
			k.activate(k.procs[0])
			return
		case k.cpu.count >= k.turnEnd:
			k.rotate()
		case k.signalDue(k.current):
			k.deliver(k.current)
		default:
			return
		}
	}
}

// retry calls again the calls that wait for a change, in the order of their threads.
func (k *kernel) retry() {
	for _, t := range k.threads {
		if t.waiting == waitChange {
			k.finish(t, k.invoke(t))
		}
	}
}

// expire wakes those whose deadline has passed.
func (k *kernel) expire() {
	now := k.monotonic()
	for _, t := range k.threads {
		if t.waiting == waitNot || t.deadline == 0 || t.deadline > now {
			continue
		}
		t.timedOut = true
		if t.waiting == waitFutex {
			k.forgetFutex(t.id)
		}
		k.finish(t, k.invoke(t))
	}
	k.expireTimers(now)
	k.findDue()
}

// findDue computes the next deadline.
func (k *kernel) findDue() {
	k.due = math.MaxUint64
	for _, t := range k.threads {
		if t.waiting != waitNot && t.deadline != 0 {
			k.due = min(k.due, t.deadline)
		}
	}
	k.dueTimers()
}

// kick says that something has changed that a call may wait for.
func (k *kernel) kick() { k.kicked = true }

// wait makes a call wait for a change, or until a time in ns (0: for ever). Called
// again, it keeps the first deadline.
func (k *kernel) wait(t *thread, kind waitKind, deadline uint64) int64 {
	if t.waiting == waitNot {
		t.deadline = deadline
		if deadline != 0 {
			k.due = min(k.due, deadline)
		}
	}
	t.waiting = kind
	return callBlocks
}

// exit ends the program.
func (k *kernel) exit(code int) {
	for _, p := range k.procs {
		if !p.zombie {
			k.in(p, func() { k.flushAll(0, addressEnd) })
		}
	}
	k.exited, k.exitCode = true, code
	k.unmount()
}
