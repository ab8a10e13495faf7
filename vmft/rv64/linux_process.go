package rv64

import (
	"encoding/binary"
	"slices"
)

// A process is an address space, descriptors and what else the threads of a program
// have in common. The kernel embeds the one in which it works: while a thread runs,
// and while a call of a thread is done, that is the thread's. So all that is said of
// one process in the other files holds for each.
//
// The first one is the program. When it ends, the machine has: whatever else still
// runs ends with it.
type process struct {
	id      int
	parent  int // outsideID: nobody who would wait for it
	group   int
	session int

	mem     *memory // the same as another one's between a clone that shares it and execve
	actions [signals + 1]sigAction
	pending []signalInfo // for the process
	alarms  [1]alarm     // setitimer: the real one

	fds   []descriptor
	cwd   int
	umask uint32

	brkStart, brk uint64
	exe           string
	name          string                           // prctl(PR_SET_NAME) of the main thread
	strings       struct{ args, env, auxv []byte } // what /proc/self shows
	env           testEnv

	vfork  int  // the thread that waits until this process lets go of its memory, 0: none
	zombie bool // it has ended, and its parent has not asked yet
	status int  // what its parent is told: that of wait
}

const (
	processID = 1000 // of the program, and of its first thread
	outsideID = 1    // whoever has started it

	maxProcesses = 256
)

func (k *kernel) proc(id int) *process {
	i, ok := slices.BinarySearchFunc(k.procs, id, func(p *process, id int) int { return p.id - id })
	if !ok {
		return nil
	}
	return k.procs[i]
}

// activate makes a process the one in which the kernel works. Config.Memory is for all
// of them together, pages that two share counted twice.
func (k *kernel) activate(p *process) {
	k.process = p
	if p.mem == nil {
		return
	}
	p.mem.limit = k.set.pages
	if len(k.procs) == 1 {
		return
	}
	for _, m := range k.spaces() {
		if m != p.mem {
			p.mem.limit -= m.resident
		}
	}
}

// in does something in another process.
func (k *kernel) in(p *process, f func()) {
	old := k.process
	if p == old {
		f()
		return
	}
	k.activate(p)
	f()
	k.activate(old)
}

// spaces are the address spaces, in the order of the processes.
func (k *kernel) spaces() (list []*memory) {
	for _, p := range k.procs {
		if p.mem != nil && !slices.Contains(list, p.mem) {
			list = append(list, p.mem)
		}
	}
	return list
}

// spaceOf is the first process with the address space of p, 0 if p has none.
func (k *kernel) spaceOf(p *process) int {
	if p.mem == nil {
		return 0
	}
	for _, q := range k.procs {
		if q != nil && q.mem == p.mem {
			return q.id
		}
	}
	return 0
}

// threadsOf counts the threads of the process in which the kernel works.
func (k *kernel) threadsOf() (n int) {
	for _, t := range k.threads {
		if t.process == k.id {
			n++
		}
	}
	return n
}

// fork makes a copy of an address space: both copy what they change from here on.
func (m *memory) fork() *memory {
	m.epoch++
	m.flushWrite()
	c := &memory{
		areas: slices.Clone(m.areas), leaves: slices.Clone(m.leaves), used: slices.Clone(m.used),
		epoch: m.epoch, resident: m.resident, limit: m.limit, total: m.total,
	}
	c.flush()
	return c
}

// Flags of clone for a process.
const (
	cloneFS      = 0x200
	cloneFiles   = 0x400
	cloneVfork   = 0x4000
	cloneParent  = 0x8000
	clonePidfd   = 0x1000
	cloneClear   = 0x100000000
	cloneSpaces  = 0x7e020080 // namespaces
	cloneUnknown = cloneFS | cloneFiles | cloneParent | clonePidfd
)

// newProcess makes a child of the process of t, with a thread that goes on where t is.
func (k *kernel) newProcess(t *thread, a *[6]uint64) int64 {
	flags, parentTID, childTID := a[0], a[2], a[4]
	switch {
	case flags&cloneThread != 0, flags&cloneUnknown != 0:
		return -eINVAL
	case flags&cloneSpaces != 0:
		return -ePERM
	case len(k.procs) >= maxProcesses || len(k.threads) >= maxThreads:
		return -eAGAIN
	case flags&cloneVM == 0 && k.mem.resident > k.mem.limit-k.mem.resident:
		return -eNOMEM
	case flags&cloneParentSettid != 0 && !k.mem.writable(parentTID, 4):
		return -eFAULT
	}
	if flags&cloneVM == 0 {
		k.sweepMemory()
		if errno := k.shareMemory(); errno != 0 {
			return errno
		}
	}
	k.save(t)
	p := *k.process
	p.id, p.parent, p.pending, p.alarms, p.vfork = k.nextID, k.id, nil, [1]alarm{}, 0
	p.fds = slices.Clone(k.fds)
	p.env.csrs = slices.Clone(k.env.csrs)
	for _, d := range p.fds {
		if d.file >= 0 {
			k.files[d.file].refs++
		}
	}
	if in := k.disk.inode(p.cwd); in != nil {
		in.opens++
	}
	if flags&cloneClear != 0 {
		p.actions = [signals + 1]sigAction{}
	}
	if flags&cloneVM == 0 {
		p.mem = k.mem.fork()
	}
	child := firstThread(p.id, t, a)
	k.nextID++
	k.procs = append(k.procs, &p)
	k.threads = append(k.threads, child)
	k.ready = append(k.ready, child.id)
	if flags&cloneParentSettid != 0 {
		k.mem.store(parentTID, 4, uint64(child.id))
	}
	if flags&cloneChildSettid != 0 {
		k.in(&p, func() { k.mem.store(childTID, 4, uint64(child.id)) })
	}
	k.activate(k.process)
	if flags&cloneVfork != 0 {
		p.vfork = t.id
		return k.wait(t, waitVfork, 0)
	}
	return int64(p.id)
}

// firstThread makes the only thread of a new process, which goes on where t is.
func firstThread(id int, t *thread, a *[6]uint64) *thread {
	flags, stack, tls, childTID := a[0], a[1], a[3], a[4]
	child := &thread{
		id: id, process: id, x: t.x, f: t.f, pc: t.pc, fcsr: t.fcsr, mask: t.mask, name: t.name,
		altSP: t.altSP, altSize: t.altSize, altFlags: t.altFlags,
	}
	if flags&(cloneVM|cloneVfork) == cloneVM {
		child.altSP, child.altSize, child.altFlags = 0, 0, ssDisable
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
	return child
}

// releaseVfork lets the thread go on that waits for a process to leave its memory.
func (k *kernel) releaseVfork(p *process) {
	t := k.thread(p.vfork)
	p.vfork = 0
	if t != nil && t.waiting == waitVfork {
		k.finish(t, int64(p.id))
	}
}

// endThreads drops all threads of the process in which the kernel works, except one.
func (k *kernel) endThreads(keep *thread) {
	gone := func(id int) bool {
		t := k.thread(id)
		return t != nil && t != keep && t.process == k.id
	}
	var ended []*thread // that have waited for the shared disk
	for _, t := range k.threads {
		if t.opening != 0 && gone(t.id) {
			k.abandonOpen(t)
		}
		if t.waiting == waitDisk && gone(t.id) {
			ended = append(ended, t)
		}
	}
	k.ready = slices.DeleteFunc(k.ready, gone)
	k.futexes = slices.DeleteFunc(k.futexes, func(w futexWaiter) bool { return gone(w.thread) })
	if k.current != nil && gone(k.current.id) {
		k.current = nil
	}
	k.threads = slices.DeleteFunc(k.threads, func(t *thread) bool { return t != keep && t.process == k.id })
	for _, t := range ended {
		k.abandonDisk(t)
	}
}

// end ends the process in which the kernel works. Status is what wait says of it.
func (k *kernel) end(status int) {
	p := k.process
	if p.id == processID {
		code := status >> 8
		if sig := status & 0x7f; sig != 0 {
			code = 128 + sig
		}
		k.exit(code)
		return
	}
	k.flushAll(0, addressEnd)
	k.endThreads(nil)
	for fd := range p.fds {
		if p.fds[fd].file >= 0 {
			k.closeDescriptor(fd)
		}
	}
	if in := k.disk.inode(p.cwd); in != nil {
		in.opens--
		k.disk.release(in)
	}
	k.releaseVfork(p)
	for _, q := range slices.Clone(k.procs) {
		if q.parent == p.id {
			if q.parent = outsideID; q.zombie {
				k.forget(q)
			}
		}
	}
	parent := k.proc(p.parent)
	*p = process{id: p.id, parent: p.parent, group: p.group, session: p.session, zombie: true, status: status}
	k.activate(k.procs[0])
	k.kick()
	if parent == nil {
		k.forget(p)
		return
	}
	if act := parent.actions[sigCHLD]; act.handler == sigIgnore || act.flags&saNocldwait != 0 {
		k.forget(p)
	}
	k.in(parent, func() { k.post(nil, childInfo(p)) })
}

// childInfo is the signal that tells of the end of a process.
func childInfo(p *process) signalInfo {
	s := signalInfo{number: sigCHLD, code: 1, value: uint64(p.id), status: int32(p.status >> 8)}
	if sig := p.status & 0x7f; sig != 0 {
		s.code, s.status = 2, int32(sig)
	}
	return s
}

func (k *kernel) forget(p *process) {
	k.procs = slices.DeleteFunc(k.procs, func(q *process) bool { return q == p })
}

const (
	waitNohang  = 1
	waitExited  = 4
	waitLeave   = 0x1000000
	waitOptions = 0xf | waitLeave | 0xe0000000
)

// waitFor finds a child that has ended among those that want accepts. It returns an
// errno, or 0 if there is none to wait for yet.
func (k *kernel) waitFor(t *thread, options uint64, want func(p *process) bool) (*process, int64) {
	any := false
	for _, p := range k.procs {
		if p.parent != k.id || !want(p) {
			continue
		}
		if any = true; p.zombie {
			if options&waitLeave == 0 {
				k.forget(p)
			}
			return p, 0
		}
	}
	switch {
	case !any:
		return nil, -eCHILD
	case options&waitNohang != 0:
		return nil, 0
	}
	return nil, k.wait(t, waitChange, 0)
}

func sysWait4(k *kernel, t *thread, a *[6]uint64) int64 {
	pid := int(int32(a[0]))
	if a[2]&^waitOptions != 0 {
		return -eINVAL
	}
	if a[1] != 0 && !k.mem.writable(a[1], 4) || a[3] != 0 && !k.mem.writeBytes(a[3], make([]byte, 144)) {
		return -eFAULT
	}
	p, errno := k.waitFor(t, a[2], func(p *process) bool {
		return pid == -1 || pid == p.id || pid == 0 && p.group == k.group || pid == -p.group
	})
	if p == nil {
		return errno
	}
	if a[1] != 0 {
		k.mem.store(a[1], 4, uint64(p.status))
	}
	return int64(p.id)
}

func sysWaitid(k *kernel, t *thread, a *[6]uint64) int64 {
	id := int(int32(a[1]))
	if a[0] > 2 || a[3]&waitExited == 0 || a[3]&^waitOptions != 0 {
		return -eINVAL
	}
	if a[2] != 0 && !k.mem.writable(a[2], frameInfo) || a[4] != 0 && !k.mem.writeBytes(a[4], make([]byte, 144)) {
		return -eFAULT
	}
	p, errno := k.waitFor(t, a[3], func(p *process) bool {
		return a[0] == 0 || a[0] == 1 && p.id == id || a[0] == 2 && (p.group == id || id == 0 && p.group == k.group)
	})
	if errno != 0 {
		return errno
	}
	var b [frameInfo]byte
	if p != nil {
		b = childInfo(p).bytes()
	}
	if a[2] != 0 {
		k.mem.writeBytes(a[2], b[:])
	}
	return 0
}

// bytes are those of a siginfo.
func (s signalInfo) bytes() (b [frameInfo]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(s.number))
	le.PutUint32(b[8:], uint32(s.code))
	le.PutUint64(b[16:], s.value)
	if s.status != 0 {
		le.PutUint32(b[24:], uint32(s.status))
	}
	return b
}

func sysGetpid(k *kernel, _ *thread, _ *[6]uint64) int64  { return int64(k.id) }
func sysGetppid(k *kernel, _ *thread, _ *[6]uint64) int64 { return int64(k.parent) }

// other finds a process by number, 0 for the caller's own.
func (k *kernel) other(pid uint64) *process {
	if int32(pid) == 0 {
		return k.process
	}
	return k.proc(int(int32(pid)))
}

func sysGetpgid(k *kernel, _ *thread, a *[6]uint64) int64 {
	if p := k.other(a[0]); p != nil {
		return int64(p.group)
	}
	return -eSRCH
}

func sysGetsid(k *kernel, _ *thread, a *[6]uint64) int64 {
	if p := k.other(a[0]); p != nil {
		return int64(p.session)
	}
	return -eSRCH
}

func sysSetpgid(k *kernel, _ *thread, a *[6]uint64) int64 {
	p, group := k.other(a[0]), int(int32(a[1]))
	switch {
	case group < 0:
		return -eINVAL
	case p == nil || p != k.process && p.parent != k.id:
		return -eSRCH
	case p.session != k.session || p.session == p.id:
		return -ePERM
	}
	if group == 0 {
		group = p.id
	}
	if group != p.id && !slices.ContainsFunc(k.procs, func(q *process) bool { return q.group == group && q.session == k.session }) {
		return -ePERM
	}
	p.group = group
	return 0
}

func sysSetsid(k *kernel, _ *thread, _ *[6]uint64) int64 {
	if slices.ContainsFunc(k.procs, func(q *process) bool { return q.group == k.id }) {
		return -ePERM
	}
	k.session, k.group = k.id, k.id
	return int64(k.id)
}

// sysKill sends to a process, to a group (0: one's own, or negative), or to all others
// but the first.
func sysKill(k *kernel, _ *thread, a *[6]uint64) int64 {
	pid := int(int32(a[0]))
	if a[1] > signals {
		return -eINVAL
	}
	found := false
	for _, p := range slices.Clone(k.procs) {
		switch {
		case pid > 0 && p.id == pid, pid == 0 && p.group == k.group, pid < -1 && p.group == -pid:
		case pid == -1 && p != k.process && p.id != processID:
		default:
			continue
		}
		found = true
		k.send(p, nil, a[1], 0)
	}
	if !found {
		return -eSRCH
	}
	return 0
}
