package rv64

import (
	"encoding/binary"
	"slices"
)

// A sigAction is what a program wants done about a signal.
type sigAction struct {
	handler uint64 // 0: the default, 1: nothing
	flags   uint64
	mask    uint64
}

const (
	sigDefault = 0
	sigIgnore  = 1
)

// A signalInfo is a signal that is to be delivered.
type signalInfo struct {
	number int
	code   int32
	value  uint64 // of faults the address, of others the sender
	status int32  // of a child
}

func bitOf(sig int) uint64 { return 1 << (sig - 1) }

// unblockable are the signals that no mask holds back.
const unblockable = uint64(1)<<(sigKILL-1) | uint64(1)<<(sigSTOP-1)

// ignored reports whether a signal has no effect.
func (k *kernel) ignored(sig int) bool {
	switch k.actions[sig].handler {
	case sigIgnore:
		return true
	case sigDefault:
		switch sig {
		// There is nobody who could continue a process that is stopped.
		case sigCHLD, sigURG, sigWINCH, sigCONT, sigSTOP, sigTSTP, sigTTIN, sigTTOU:
			return true
		}
	}
	return false
}

// post sends a signal to a thread, or to the process if t is nil.
func (k *kernel) post(t *thread, s signalInfo) {
	if k.ignored(s.number) && (t == nil || t.mask&bitOf(s.number) == 0) {
		return
	}
	queue := &k.pending
	if t != nil {
		queue = &t.pending
	}
	// Those below 32 don't queue; the others do, within a limit.
	if len(*queue) > 128 || s.number < 32 && slices.ContainsFunc(*queue, func(p signalInfo) bool { return p.number == s.number }) {
		return
	}
	*queue = append(*queue, s)
	if t == nil {
		t = k.taker(s.number)
	}
	if t != nil && t.mask&bitOf(s.number) == 0 {
		k.interrupt(t)
	}
	k.kick()
}

// taker picks the thread that is to handle a signal of the process.
func (k *kernel) taker(sig int) *thread {
	if t := k.current; t != nil && t.process == k.id && t.mask&bitOf(sig) == 0 {
		return t
	}
	for _, t := range k.threads {
		if t.process == k.id && t.mask&bitOf(sig) == 0 {
			return t
		}
	}
	return nil
}

// restartable are the calls that go on after a handler with SA_RESTART.
var restartable = map[uint64]bool{
	63: true, 64: true, 65: true, 66: true, 98: true, 202: true, 242: true, 203: true, 206: true, 207: true, 211: true, 212: true, 25: true, 32: true,
	56: true, 95: true, 260: true,
}

// interrupt ends the wait of a thread that a signal is for.
func (k *kernel) interrupt(t *thread) {
	if t.waiting == waitNot || t.waiting == waitVfork || t.waiting == waitDisk {
		return
	}
	if t.waiting == waitFutex {
		k.forgetFutex(t.id)
	}
	if n := t.progress; n > 0 || t.batch > 0 {
		if t.batch > 0 {
			n = t.batch
		}
		t.progress, t.batch = 0, 0
		k.finish(t, int64(n))
		return
	}
	if restartable[t.call.nr] && (t.call.nr != 98 || t.deadline == 0) {
		t.restart = true // unless the handler, if there is one, doesn't want it
	}
	k.finish(t, -eINTR)
}

// nextSignal finds a pending signal that t may take.
func (k *kernel) nextSignal(t *thread, allowed uint64) (queue *[]signalInfo, i int) {
	for _, queue := range []*[]signalInfo{&t.pending, &k.pending} {
		for i, s := range *queue {
			if allowed&bitOf(s.number) != 0 {
				return queue, i
			}
		}
	}
	return nil, 0
}

// signalDue reports whether deliver has something to do for the current thread.
func (k *kernel) signalDue(t *thread) bool {
	if t.restart || t.hasSaved {
		return true
	}
	if len(t.pending) == 0 && len(k.pending) == 0 {
		return false
	}
	queue, _ := k.nextSignal(t, ^t.mask|unblockable)
	return queue != nil
}

// restart makes the current thread do its call again.
func (k *kernel) restart(t *thread) {
	k.cpu.pc = t.call.restartPC
	k.cpu.x[10] = t.call.args[0]
	t.restart = false
}

// deliver lets the current thread handle a pending signal.
func (k *kernel) deliver(t *thread) {
	queue, i := k.nextSignal(t, ^t.mask|unblockable)
	if queue == nil {
		k.unswapMask(t)
		if t.restart {
			k.restart(t)
		}
		return
	}
	s := (*queue)[i]
	*queue = slices.Delete(*queue, i, i+1)
	act := k.actions[s.number]
	switch {
	case k.ignored(s.number):
		return
	case act.handler == sigDefault:
		k.kill(t, s)
		return
	}
	if t.restart && act.flags&saRestart != 0 {
		k.restart(t)
	}
	t.restart = false
	k.pushFrame(t, s, act)
}

// fault makes the current thread handle a signal that its last instruction has caused.
func (k *kernel) fault(s signalInfo) {
	t, act := k.current, k.actions[s.number]
	if act.handler == sigDefault || act.handler == sigIgnore || t.mask&bitOf(s.number) != 0 {
		k.kill(t, s)
		return
	}
	k.pushFrame(t, s, act)
}

// The signal frame: siginfo, and a ucontext with the registers.
const (
	frameInfo    = 128
	frameMask    = frameInfo + 40
	frameRegs    = frameInfo + 176
	frameFloat   = frameRegs + 256
	frameSize    = frameFloat + 528
	trampoline   = addressEnd - pageSize // code that calls rt_sigreturn
	frameAltSP   = frameInfo + 16
	frameAltFlag = frameInfo + 24
	frameAltSize = frameInfo + 32
)

// pushFrame enters a handler.
func (k *kernel) pushFrame(t *thread, s signalInfo, act sigAction) {
	c := k.cpu
	sp := c.x[2]
	onAlt := t.altFlags&ssDisable == 0 && sp-t.altSP-1 < t.altSize
	if act.flags&saOnstack != 0 && t.altFlags&ssDisable == 0 && !onAlt {
		sp = t.altSP + t.altSize
	}
	sp = (sp - frameSize) &^ 15
	var b [frameSize]byte
	le := binary.LittleEndian
	info := s.bytes()
	copy(b[:], info[:])
	le.PutUint64(b[frameAltSP:], t.altSP)
	flags := t.altFlags
	if onAlt {
		flags |= ssOnstack
	}
	le.PutUint32(b[frameAltFlag:], flags)
	le.PutUint64(b[frameAltSize:], t.altSize)
	mask := t.mask
	if t.hasSaved {
		mask, t.hasSaved = t.saved, false
	}
	le.PutUint64(b[frameMask:], mask)
	le.PutUint64(b[frameRegs:], c.pc)
	for i := 1; i < 32; i++ {
		le.PutUint64(b[frameRegs+8*i:], c.x[i])
	}
	for i := range 32 {
		le.PutUint64(b[frameFloat+8*i:], c.f[i])
	}
	le.PutUint32(b[frameFloat+256:], c.fcsr)
	if !k.mem.writeBytes(sp, b[:]) {
		k.kill(t, signalInfo{number: sigSEGV, code: 1, value: sp})
		return
	}
	if act.flags&saNodefer == 0 {
		t.mask |= bitOf(s.number)
	}
	t.mask = (t.mask | act.mask) &^ unblockable
	if act.flags&saResethand != 0 {
		k.actions[s.number] = sigAction{}
	}
	c.x[1], c.x[2] = trampoline, sp
	c.x[10], c.x[11], c.x[12] = uint64(s.number), sp, sp+frameInfo
	c.pc = act.handler &^ 1
	c.reserved = false
}

func sysRtSigreturn(k *kernel, t *thread, _ *[6]uint64) int64 {
	c := k.cpu
	var b [frameSize]byte
	if !k.mem.readBytes(c.x[2], b[:]) {
		k.kill(t, signalInfo{number: sigSEGV, code: 1, value: c.x[2]})
		return callReturnsItself
	}
	le := binary.LittleEndian
	t.mask = le.Uint64(b[frameMask:]) &^ unblockable
	c.pc = le.Uint64(b[frameRegs:]) &^ 1
	for i := 1; i < 32; i++ {
		c.x[i] = le.Uint64(b[frameRegs+8*i:])
	}
	for i := range 32 {
		c.f[i] = le.Uint64(b[frameFloat+8*i:])
	}
	c.fcsr = le.Uint32(b[frameFloat+256:]) & 0xff
	k.kick()
	return callReturnsItself
}

// kill ends the process by a signal.
func (k *kernel) kill(t *thread, s signalInfo) {
	if k.id != processID {
		k.end(s.number)
		return
	}
	if t == k.current {
		k.save(t)
	}
	k.crash = &Crash{
		Signal: s.number, Code: int(s.code), Address: s.value, Thread: t.id, PC: t.pc, Registers: t.x, Position: k.cpu.count,
	}
	k.end(s.number)
}

func sysRtSigaction(k *kernel, _ *thread, a *[6]uint64) int64 {
	sig := int(a[0])
	if a[0] < 1 || a[0] > signals || a[3] != 8 {
		return -eINVAL
	}
	old := k.actions[sig]
	if a[1] != 0 {
		if sig == sigKILL || sig == sigSTOP {
			return -eINVAL
		}
		var b [24]byte
		if !k.mem.readBytes(a[1], b[:]) {
			return -eFAULT
		}
		k.actions[sig] = sigAction{
			handler: binary.LittleEndian.Uint64(b[:]), flags: binary.LittleEndian.Uint64(b[8:]),
			mask: binary.LittleEndian.Uint64(b[16:]) &^ unblockable,
		}
		if k.ignored(sig) {
			drop := func(s signalInfo) bool { return s.number == sig }
			k.pending = slices.DeleteFunc(k.pending, drop)
			for _, t := range k.threads {
				if t.process == k.id {
					t.pending = slices.DeleteFunc(t.pending, drop)
				}
			}
		}
	}
	if a[2] != 0 {
		var b [24]byte
		binary.LittleEndian.PutUint64(b[:], old.handler)
		binary.LittleEndian.PutUint64(b[8:], old.flags)
		binary.LittleEndian.PutUint64(b[16:], old.mask)
		if !k.mem.writeBytes(a[2], b[:]) {
			return -eFAULT
		}
	}
	return 0
}

func sysRtSigprocmask(k *kernel, t *thread, a *[6]uint64) int64 {
	if a[3] != 8 {
		return -eINVAL
	}
	old := t.mask
	if a[1] != 0 {
		set, ok := k.mem.load(a[1], 8)
		if !ok {
			return -eFAULT
		}
		switch a[0] {
		case 0:
			t.mask |= set
		case 1:
			t.mask &^= set
		case 2:
			t.mask = set
		default:
			return -eINVAL
		}
		t.mask &^= unblockable
	}
	if a[2] != 0 && !k.mem.store(a[2], 8, old) {
		return -eFAULT
	}
	return 0
}

func sysRtSigpending(k *kernel, t *thread, a *[6]uint64) int64 {
	set := uint64(0)
	for _, queue := range [][]signalInfo{t.pending, k.pending} {
		for _, s := range queue {
			set |= bitOf(s.number)
		}
	}
	if !k.mem.store(a[0], 8, set&t.mask) {
		return -eFAULT
	}
	return 0
}

func sysSigaltstack(k *kernel, t *thread, a *[6]uint64) int64 {
	onAlt := t.altFlags&ssDisable == 0 && k.cpu.x[2]-t.altSP-1 < t.altSize
	old := [24]byte{}
	binary.LittleEndian.PutUint64(old[:], t.altSP)
	flags := t.altFlags
	if onAlt {
		flags |= ssOnstack
	}
	binary.LittleEndian.PutUint32(old[8:], flags)
	binary.LittleEndian.PutUint64(old[16:], t.altSize)
	if a[0] != 0 {
		var b [24]byte
		if !k.mem.readBytes(a[0], b[:]) {
			return -eFAULT
		}
		if onAlt {
			return -ePERM
		}
		flags, size := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[16:])
		switch {
		case flags&ssDisable != 0:
			t.altSP, t.altSize, t.altFlags = 0, 0, ssDisable
		case size < 2048:
			return -eNOMEM
		default:
			t.altSP, t.altSize, t.altFlags = binary.LittleEndian.Uint64(b[:]), size, 0
		}
	}
	if a[1] != 0 && !k.mem.writeBytes(a[1], old[:]) {
		return -eFAULT
	}
	return 0
}

// send is kill, tkill and tgkill: to a thread of a process, or to any if it is nil.
// Signal 0 only asks whether there is the target.
func (k *kernel) send(p *process, target *thread, sig uint64, code int32) int64 {
	if sig > signals {
		return -eINVAL
	}
	if from := k.id; sig != 0 && !p.zombie {
		k.in(p, func() { k.post(target, signalInfo{number: int(sig), code: code, value: uint64(from)}) })
	}
	return 0
}

const sentByThread = -6 // SI_TKILL

func sysTkill(k *kernel, _ *thread, a *[6]uint64) int64 {
	target := k.thread(int(int32(a[0])))
	if target == nil {
		return -eSRCH
	}
	return k.send(k.proc(target.process), target, a[1], sentByThread)
}

func sysTgkill(k *kernel, t *thread, a *[6]uint64) int64 {
	if target := k.thread(int(int32(a[1]))); target == nil || target.process != int(int32(a[0])) {
		return -eSRCH
	}
	return sysTkill(k, t, &[6]uint64{a[1], a[2]})
}

// sysRtSigsuspend waits for a signal, with another mask for the time.
func sysRtSigsuspend(k *kernel, t *thread, a *[6]uint64) int64 {
	if t.waiting == waitNot {
		set, ok := k.mem.load(a[0], 8)
		if !ok {
			return -eFAULT
		}
		k.swapMask(t, set)
		if queue, _ := k.nextSignal(t, ^t.mask); queue != nil {
			return -eINTR
		}
	}
	return k.wait(t, waitChange, 0)
}

// swapMask changes the mask for the duration of a call: it is restored when the call
// returns, or by the handler that interrupts it.
func (k *kernel) swapMask(t *thread, set uint64) {
	t.saved, t.hasSaved = t.mask, true
	t.mask = set &^ unblockable
}

func (k *kernel) unswapMask(t *thread) {
	if t.hasSaved {
		t.mask, t.hasSaved = t.saved, false
	}
}

// sysRtSigtimedwait takes a pending signal of a set without handling it.
func sysRtSigtimedwait(k *kernel, t *thread, a *[6]uint64) int64 {
	set, ok := k.mem.load(a[0], 8)
	if !ok {
		return -eFAULT
	}
	if queue, i := k.nextSignal(t, set); queue != nil {
		s := (*queue)[i]
		*queue = slices.Delete(*queue, i, i+1)
		b := s.bytes()
		if a[1] != 0 && !k.mem.writeBytes(a[1], b[:]) {
			return -eFAULT
		}
		return int64(s.number)
	}
	if t.timedOut {
		return -eAGAIN
	}
	deadline := uint64(0)
	if a[2] != 0 && t.waiting == waitNot {
		ns, errno := k.readTimespec(a[2])
		if errno != 0 {
			return errno
		}
		if ns == 0 {
			return -eAGAIN
		}
		deadline = k.monotonic() + uint64(ns)
	}
	return k.wait(t, waitChange, deadline)
}
