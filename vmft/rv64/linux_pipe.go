package rv64

import "slices"

// A pipe is what its ends have in common.
type pipe struct {
	id      int
	data    []byte
	readers int // open files of each end
	writers int
	ends    [2]int // the files: that for reading, that for writing. -1: closed
}

func sysPipe2(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[1]&^(oNONBLOCK|oCLOEXEC|0x4000) != 0 {
		return -eINVAL
	}
	if !k.mem.writable(a[0], 8) {
		return -eFAULT
	}
	p := &pipe{id: slot(&k.pipes), readers: 1, writers: 1, ends: [2]int{-1, -1}}
	k.pipes[p.id] = p
	flags, cloexec := int(a[1]&oNONBLOCK), a[1]&oCLOEXEC != 0
	read := &file{kind: kindPipe, flags: flags | oRDONLY, pipe: p.id}
	write := &file{kind: kindPipe, flags: flags | oWRONLY, pipe: p.id, writeEnd: true}
	r := k.install(read, cloexec)
	if r < 0 {
		p.writers = 0
		k.pipes[p.id] = nil
		return r
	}
	p.ends[0] = read.id
	w := k.install(write, cloexec)
	if w < 0 {
		k.closeDescriptor(int(r))
		return w
	}
	p.ends[1] = write.id
	k.mem.store(a[0], 4, uint64(r))
	k.mem.store(a[0]+4, 4, uint64(w))
	return 0
}

func (k *kernel) closePipe(f *file) {
	p := k.pipes[f.pipe]
	if p == nil {
		return
	}
	if f.writeEnd {
		p.writers, p.ends[1] = 0, -1
	} else {
		p.readers, p.ends[0] = 0, -1
	}
	if p.readers+p.writers == 0 {
		k.pipes[p.id] = nil
		return
	}
	k.pipeChanged(p)
}

func (k *kernel) pipeChanged(p *pipe) {
	for _, id := range p.ends {
		if id >= 0 {
			k.changed(k.files[id])
		}
	}
}

func (k *kernel) pipeReadiness(f *file) (r uint32) {
	p := k.pipes[f.pipe]
	if f.writeEnd {
		if p.readers == 0 {
			return epollOut | epollErr
		}
		if maxPipe-len(p.data) >= pageSize {
			r = epollOut
		}
		return r
	}
	if len(p.data) > 0 {
		r = epollIn
	}
	if p.writers == 0 {
		r |= epollHup
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
