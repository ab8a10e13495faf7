package rv64

import "slices"

// A waitKind is what a thread waits for.
type waitKind uint8

const (
	waitNot    waitKind = iota // it is ready, or runs
	waitChange                 // for a change of files, sockets or signals: its call is tried again
	waitFutex                  // for a FUTEX_WAKE
	waitSleep                  // for its deadline
	waitVfork                  // for a child to leave the memory that they share
	waitDisk                   // for the shared disk, or one who uses it
)

// A thread is one of the program's. While it is the current one its registers are
// in the cpu, and those here are old.
type thread struct {
	id       int
	process  int
	x, f     [32]uint64
	pc       uint64
	fcsr     uint32
	mask     uint64 // blocked signals: bit n-1 is signal n
	saved    uint64 // the mask to restore after a call that changed it for its duration
	hasSaved bool
	pending  []signalInfo // for this thread alone
	altSP    uint64
	altSize  uint64
	altFlags uint32

	clearTID   uint64 // where to write 0 and wake a futex at the end
	robustList uint64
	name       string

	call     pendingCall
	waiting  waitKind
	deadline uint64 // monotonic ns, 0: none
	timedOut bool   // the deadline has passed
	woken    bool   // a futex was woken
	restart  bool   // a signal has interrupted a call that may be done again
	progress uint64 // bytes that the waiting call has moved already
	batch    uint64 // messages that the waiting call has done
	opening  int    // the file of a named pipe that it opens, plus 1; 0: none
	disk     diskWait
}

// A pendingCall is the call that a thread is in, or was in last.
type pendingCall struct {
	nr        uint64
	args      [6]uint64
	restartPC uint64
}

func (k *kernel) thread(id int) *thread {
	i, ok := slices.BinarySearchFunc(k.threads, id, func(t *thread, id int) int { return t.id - id })
	if !ok {
		return nil
	}
	return k.threads[i]
}

// save writes the registers of the current thread down.
func (k *kernel) save(t *thread) {
	copy(t.x[:], k.cpu.x[:32])
	copy(t.f[:], k.cpu.f[:32])
	t.pc, t.fcsr = k.cpu.pc, k.cpu.fcsr
}

// suspend takes the processor from the current thread.
func (k *kernel) suspend() {
	k.save(k.current)
	k.leave()
	k.current = nil
}

// resume gives a thread the processor, for a turn.
func (k *kernel) resume(t *thread) {
	c := k.cpu
	if t.process != k.id {
		k.activate(k.proc(t.process))
	}
	c.mem = k.mem
	copy(c.x[:32], t.x[:])
	copy(c.f[:32], t.f[:])
	c.pc, c.fcsr = t.pc, t.fcsr
	c.reserved = false
	k.current = t
	k.turnEnd = c.count + k.set.quantum
}

func (k *kernel) take() *thread {
	t := k.thread(k.ready[0])
	k.ready = slices.Delete(k.ready, 0, 1)
	return t
}

// rotate ends a turn. If no other thread is ready the next turn is the same one's,
// and it keeps its reservation.
func (k *kernel) rotate() {
	if len(k.ready) == 0 {
		k.turnEnd = k.cpu.count + k.set.quantum
		return
	}
	t := k.current
	k.suspend()
	k.ready = append(k.ready, t.id)
	k.resume(k.take())
}

// Flags of clone.
const (
	cloneVM            = 0x100
	cloneThread        = 0x10000
	cloneSettls        = 0x80000
	cloneParentSettid  = 0x100000
	cloneChildCleartid = 0x200000
	cloneChildSettid   = 0x1000000
)

// sysClone makes threads and processes.
func sysClone(k *kernel, t *thread, a *[6]uint64) int64 {
	flags, stack, parentTID, tls, childTID := a[0], a[1], a[2], a[3], a[4]
	if flags&(cloneVM|cloneThread) != cloneVM|cloneThread {
		return k.newProcess(t, a)
	}
	if len(k.threads) >= maxThreads {
		return -eAGAIN
	}
	k.save(t)
	child := &thread{
		id: k.nextID, process: k.id, x: t.x, f: t.f, pc: t.pc, fcsr: t.fcsr, mask: t.mask, name: t.name, altFlags: ssDisable,
	}
	if flags&cloneParentSettid != 0 && !k.mem.store(parentTID, 4, uint64(child.id)) {
		return -eFAULT
	}
	if flags&cloneChildSettid != 0 && !k.mem.store(childTID, 4, uint64(child.id)) {
		return -eFAULT
	}
	if flags&cloneChildCleartid != 0 {
		child.clearTID = childTID
	}
	if flags&cloneSettls != 0 {
		child.x[4] = tls
	}
	if stack != 0 {
		child.x[2] = stack
	}
	child.x[10] = 0
	k.nextID++
	k.threads = append(k.threads, child)
	k.ready = append(k.ready, child.id)
	return int64(child.id)
}

// sysExit ends a thread.
func sysExit(k *kernel, t *thread, a *[6]uint64) int64 {
	if k.threadsOf() == 1 {
		k.end(int(uint8(a[0])) << 8)
		return callReturnsItself
	}
	if t.clearTID != 0 && k.mem.store(t.clearTID, 4, 0) {
		k.wakeFutex(t.clearTID, 1, ^uint32(0))
	}
	k.releaseRobust(t)
	i, _ := slices.BinarySearchFunc(k.threads, t.id, func(t *thread, id int) int { return t.id - id })
	k.threads = slices.Delete(k.threads, i, i+1)
	k.current = nil
	k.kick() // signals that it would have taken are others' now
	return callReturnsItself
}

func sysExitGroup(k *kernel, _ *thread, a *[6]uint64) int64 {
	k.end(int(uint8(a[0])) << 8)
	return callReturnsItself
}

func sysSchedYield(k *kernel, t *thread, _ *[6]uint64) int64 {
	k.cpu.x[10] = 0
	if len(k.ready) > 0 {
		k.turnEnd = k.cpu.count // the turn is over
	}
	return callReturnsItself
}

// A futexWaiter is a thread that waits for a word. They are woken in order.
type futexWaiter struct {
	addr   uint64
	thread int
	bits   uint32
}

const (
	futexWait       = 0
	futexWake       = 1
	futexRequeue    = 3
	futexCmpRequeue = 4
	futexWakeOp     = 5
	futexWaitBits   = 9
	futexWakeBits   = 10
	futexRealtime   = 256
)

func sysFutex(k *kernel, t *thread, a *[6]uint64) int64 {
	addr, op, val := a[0], a[1], uint32(a[2])
	if addr&3 != 0 {
		return -eINVAL
	}
	switch op &^ (128 | futexRealtime) {
	case futexWait:
		return k.futexWait(t, addr, val, a[3], ^uint32(0), op, false)
	case futexWaitBits:
		return k.futexWait(t, addr, val, a[3], uint32(a[5]), op, true)
	case futexWake:
		return k.wakeFutex(addr, int(int32(val)), ^uint32(0))
	case futexWakeBits:
		if uint32(a[5]) == 0 {
			return -eINVAL
		}
		return k.wakeFutex(addr, int(int32(val)), uint32(a[5]))
	case futexCmpRequeue, futexRequeue:
		if op&^128 == futexCmpRequeue {
			v, ok := k.mem.load(addr, 4)
			if !ok {
				return -eFAULT
			}
			if uint32(v) != uint32(a[5]) {
				return -eAGAIN
			}
		}
		woken := k.wakeFutex(addr, int(int32(val)), ^uint32(0))
		moved := int64(0)
		for i := range k.futexes {
			if w := &k.futexes[i]; w.addr == addr && k.thread(w.thread).process == k.id && moved < int64(int32(a[3])) {
				w.addr = a[4]
				moved++
			}
		}
		return woken + moved
	case futexWakeOp:
		return k.futexWakeOp(a)
	}
	return -eNOSYS
}

// futexWait is called first, and again when the thread is woken or too late.
func (k *kernel) futexWait(t *thread, addr uint64, val uint32, timeout uint64, bits uint32, op uint64, absolute bool) int64 {
	switch {
	case t.woken:
		t.woken = false
		return 0
	case t.timedOut:
		return -eTIMEDOUT
	case bits == 0:
		return -eINVAL
	}
	v, ok := k.mem.load(addr, 4)
	if !ok {
		return -eFAULT
	}
	if uint32(v) != val {
		return -eAGAIN
	}
	deadline := uint64(0)
	if timeout != 0 {
		ns, errno := k.readTimespec(timeout)
		if errno != 0 {
			return errno
		}
		switch {
		case !absolute:
			deadline = k.monotonic() + uint64(ns)
		case op&futexRealtime != 0:
			deadline = k.fromRealtime(ns)
		default:
			deadline = max(uint64(ns), 1)
		}
		if deadline <= k.monotonic() {
			return -eTIMEDOUT
		}
	}
	k.futexes = append(k.futexes, futexWaiter{addr, t.id, bits})
	return k.wait(t, waitFutex, deadline)
}

// wakeFutex wakes up to n of those who wait for a word.
func (k *kernel) wakeFutex(addr uint64, n int, bits uint32) int64 {
	woken := int64(0)
	for i := 0; i < len(k.futexes) && n > 0; {
		w := k.futexes[i]
		if w.addr != addr || w.bits&bits == 0 || k.thread(w.thread).process != k.id {
			i++
			continue
		}
		k.futexes = slices.Delete(k.futexes, i, i+1)
		t := k.thread(w.thread)
		t.woken = true
		k.finish(t, k.invoke(t))
		n--
		woken++
	}
	return woken
}

func (k *kernel) forgetFutex(id int) {
	k.futexes = slices.DeleteFunc(k.futexes, func(w futexWaiter) bool { return w.thread == id })
}

func (k *kernel) futexWakeOp(a *[6]uint64) int64 {
	old, ok := k.mem.load(a[4], 4)
	if !ok {
		return -eFAULT
	}
	code := uint32(a[5])
	arg, limit := uint32(signed(code>>12&0xfff, 12)), uint32(signed(code&0xfff, 12))
	if code>>31 != 0 {
		arg = 1 << (arg & 31)
	}
	v := uint32(old)
	switch code >> 28 & 7 {
	case 0:
		v = arg
	case 1:
		v += arg
	case 2:
		v |= arg
	case 3:
		v &^= arg
	case 4:
		v ^= arg
	default:
		return -eNOSYS
	}
	if !k.mem.store(a[4], 4, uint64(v)) {
		return -eFAULT
	}
	woken := k.wakeFutex(a[0], int(int32(a[2])), ^uint32(0))
	x, y := int32(old), int32(limit)
	hit := [...]bool{x == y, x != y, x < y, x <= y, x > y, x >= y}
	if n := code >> 24 & 15; int(n) < len(hit) && hit[n] {
		woken += k.wakeFutex(a[4], int(int32(a[3])), ^uint32(0))
	}
	return woken
}

// releaseRobust marks the robust mutexes of a thread that ends as ownerless.
func (k *kernel) releaseRobust(t *thread) {
	head := t.robustList
	if head == 0 {
		return
	}
	offset, ok := k.mem.load(head+8, 8)
	entry, ok2 := k.mem.load(head, 8)
	for n := 0; ok && ok2 && entry&^1 != head && n < 2048; n++ {
		addr := entry&^1 + offset
		if v, ok := k.mem.load(addr, 4); ok && addr&3 == 0 && uint32(v)&0x3fffffff == uint32(t.id) {
			if k.mem.store(addr, 4, v&0x80000000|0x40000000) && v&0x80000000 != 0 {
				k.wakeFutex(addr, 1, ^uint32(0))
			}
		}
		entry, ok2 = k.mem.load(entry&^1, 8)
	}
}

func sysSetTidAddress(_ *kernel, t *thread, a *[6]uint64) int64 {
	t.clearTID = a[0]
	return int64(t.id)
}

func sysSetRobustList(_ *kernel, t *thread, a *[6]uint64) int64 {
	if a[1] != 24 {
		return -eINVAL
	}
	t.robustList = a[0]
	return 0
}

func sysGettid(_ *kernel, t *thread, _ *[6]uint64) int64 { return int64(t.id) }

func sysSchedGetaffinity(k *kernel, t *thread, a *[6]uint64) int64 {
	if a[0] != 0 && k.thread(int(a[0])) == nil && k.proc(int(a[0])) == nil {
		return -eSRCH
	}
	if a[1] < 8 || a[1]%8 != 0 {
		return -eINVAL
	}
	if !k.mem.store(a[2], 8, 1) {
		return -eFAULT
	}
	return 8
}
