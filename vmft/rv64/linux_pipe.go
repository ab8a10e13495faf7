package rv64

import (
	"math"
	"slices"
)

// A pipe is what its ends have in common.
type pipe struct {
	id      int
	data    []byte
	readers int // open files of each end
	writers int
	inode   int       // of a pipe with a name, 0: it has none
	opened  [2]uint64 // how often a named one was opened for reading, and for writing
}

func sysPipe2(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[1]&^(oNONBLOCK|oCLOEXEC|0x4000) != 0 {
		return -eINVAL
	}
	if !k.mem.writable(a[0], 8) {
		return -eFAULT
	}
	p := &pipe{id: slot(&k.pipes), readers: 1, writers: 1}
	k.pipes[p.id] = p
	flags, cloexec := int(a[1]&oNONBLOCK), a[1]&oCLOEXEC != 0
	r := k.install(&file{kind: kindPipe, flags: flags | oRDONLY, pipe: p.id}, cloexec)
	if r < 0 {
		k.pipes[p.id] = nil
		return r
	}
	w := k.install(&file{kind: kindPipe, flags: flags | oWRONLY, pipe: p.id}, cloexec)
	if w < 0 {
		k.closeDescriptor(int(r))
		return w
	}
	k.mem.store(a[0], 4, uint64(r))
	k.mem.store(a[0]+4, 4, uint64(w))
	return 0
}

// ends says which ends of a pipe a file is.
func (f *file) ends() (reads, writes bool) {
	return f.flags&oACCMODE != oWRONLY, f.flags&oACCMODE != oRDONLY
}

// joinPipe makes a file that is not yet a descriptor an end of the pipe of an inode.
func (k *kernel) joinPipe(f *file, in *inode) {
	i := slices.IndexFunc(k.pipes, func(p *pipe) bool { return p != nil && p.inode == in.id })
	if i < 0 {
		i = slot(&k.pipes)
		k.pipes[i] = &pipe{id: i, inode: in.id}
	}
	p := k.pipes[i]
	f.kind, f.pipe = kindPipe, i
	reads, writes := f.ends()
	f.counter = p.opened[truth(reads)] // what it waits for: another one of the other end
	if reads {
		p.readers++
		p.opened[0]++
	}
	if writes {
		p.writers++
		p.opened[1]++
	}
	k.pipeChanged(p)
}

// openPipe opens a named pipe: it waits until somebody has opened the other end. Until
// then the file belongs to the thread.
func (k *kernel) openPipe(t *thread, cloexec bool) int64 {
	f := k.files[t.opening-1]
	p := k.pipes[f.pipe]
	reads, writes := f.ends()
	if there := p.readers > 0 && p.writers > 0 || p.opened[truth(reads)] != f.counter; !there {
		switch {
		case f.flags&oNONBLOCK == 0:
			return k.wait(t, waitChange, 0)
		case writes:
			return -eNXIO
		}
	} else {
		f.counter = math.MaxUint64 // it has somebody to lose
	}
	fd := k.freeDescriptor(0)
	if fd < 0 {
		return -eMFILE
	}
	k.connect(fd, f, cloexec)
	t.opening = 0
	k.kick()
	return int64(fd)
}

// abandonOpen gives up to open a named pipe.
func (k *kernel) abandonOpen(t *thread) {
	f := k.files[t.opening-1]
	t.opening = 0
	k.files[f.id] = nil
	k.discardFile(f)
	k.kick()
}

func (k *kernel) closePipe(f *file) {
	p := k.pipes[f.pipe]
	if p == nil {
		return
	}
	reads, writes := f.ends()
	if reads {
		p.readers--
	}
	if writes {
		p.writers--
	}
	if p.readers+p.writers == 0 {
		k.pipes[p.id] = nil
		return
	}
	k.pipeChanged(p)
}

func (k *kernel) pipeChanged(p *pipe) {
	for _, f := range k.files {
		if f != nil && f.kind == kindPipe && f.pipe == p.id {
			k.changed(f)
		}
	}
	k.kick()
}

func (k *kernel) pipeReadiness(f *file) (r uint32) {
	p := k.pipes[f.pipe]
	reads, writes := f.ends()
	if writes {
		if p.readers == 0 {
			r |= epollOut | epollErr
		} else if maxPipe-len(p.data) >= pageSize {
			r |= epollOut
		}
	}
	if reads {
		if len(p.data) > 0 {
			r |= epollIn
		}
		// Who has opened a named pipe first has not lost a writer yet.
		if p.writers == 0 && (p.inode == 0 || p.opened[1] != f.counter) {
			r |= epollHup
		}
	}
	return r
}

func (k *kernel) readPipe(t *thread, f *file, b []byte) int64 {
	p := k.pipes[f.pipe]
	if len(p.data) == 0 {
		if p.writers == 0 {
			return 0
		}
		return k.blockOr(t, f)
	}
	n := copy(b, p.data)
	p.data = slices.Delete(p.data, 0, n)
	k.pipeChanged(p)
	return int64(n)
}

// writePipe writes all of up to a page at once or nothing, and more in parts.
func (k *kernel) writePipe(t *thread, f *file, b []byte) int64 {
	p := k.pipes[f.pipe]
	if p.readers == 0 {
		if n := t.progress; n > 0 {
			t.progress = 0
			return int64(n)
		}
		k.post(t, signalInfo{number: sigPIPE})
		return -ePIPE
	}
	b = b[t.progress:]
	room := maxPipe - len(p.data)
	if len(b) > room && (room == 0 || len(b) <= pageSize) {
		if f.flags&oNONBLOCK != 0 {
			return -eAGAIN
		}
		return k.wait(t, waitChange, 0)
	}
	n := min(len(b), room)
	p.data = append(p.data, b[:n]...)
	k.pipeChanged(p)
	if t.progress += uint64(n); n < len(b) && f.flags&oNONBLOCK == 0 {
		return k.wait(t, waitChange, 0)
	}
	done := t.progress
	t.progress = 0
	return int64(done)
}

func sysEventfd2(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[1]&^(oNONBLOCK|oCLOEXEC|1) != 0 {
		return -eINVAL
	}
	f := &file{kind: kindEvent, flags: int(a[1]&oNONBLOCK) | oRDWR, counter: uint64(uint32(a[0])), semaphore: a[1]&1 != 0}
	return k.install(f, a[1]&oCLOEXEC != 0)
}
