package rv64

import "slices"

// Shared mappings of files. A file and its mappings are kept alike at the moments when
// somebody could tell: what was stored in a mapping goes to the file, and to its other
// mappings, before a thread of another process runs, before the file is read or written
// by a call, and before the mapping ends; what a call writes goes to the mappings. As
// one process runs at a time, that is no different from pages that are the file. Shared
// memory without a file gets one, without a name, when a second process comes to have it.

// sharedPages calls f for each page of the shared mappings of a file that holds a part of
// [off, end) of it, if it has the permission.
func (k *kernel) sharedPages(in *inode, perm uint8, off, end int64, f func(m *memory, addr uint64, at int64)) {
	if !k.shared {
		return
	}
	for _, m := range k.spaces() {
		for _, a := range m.areas {
			if !a.shared || a.inode != in.id || a.perm&perm != perm {
				continue
			}
			start, stop := max(int64(a.offset), off&^pageMask), min(int64(a.offset+a.end-a.start), end)
			for at := start; at < stop; at += pageSize {
				f(m, a.start+uint64(at)-a.offset, at)
			}
		}
	}
}

// flush brings a file up to date with what was stored in its mappings.
func (k *kernel) flush(in *inode) {
	k.sharedPages(in, permWrite, 0, in.size, func(m *memory, addr uint64, at int64) {
		var old page
		n := in.read(old[:], at)
		if now := m.peek(addr); string(now[:n]) != string(old[:n]) {
			k.disk.write(in, now[:n], at, k.realtime())
			k.refresh(in, at, at+int64(n))
		}
	})
}

// leave is done when a process loses the processor.
func (k *kernel) leave() {
	if k.shared && len(k.procs) > 1 {
		k.flushAll(0, addressEnd)
	}
}

// shareMemory gives the shared memory of a process a file, before it is forked.
func (k *kernel) shareMemory() int64 {
	for i := range k.mem.areas {
		a := &k.mem.areas[i]
		if !a.shared || a.inode != 0 {
			continue
		}
		in := k.disk.add(sIFREG|0o600, k.realtime())
		in.opens++
		if errno := k.disk.truncate(in, int64(a.end-a.start)); errno != 0 {
			in.opens--
			k.disk.release(in)
			return -eNOMEM
		}
		a.inode, a.offset, k.shared = in.id, 0, true
		k.memoryFiles = append(k.memoryFiles, in.id)
		k.flush(in)
	}
	return 0
}

// sweepMemory lets go of the files of shared memory that no process has any more.
func (k *kernel) sweepMemory() {
	k.memoryFiles = slices.DeleteFunc(k.memoryFiles, func(id int) bool {
		for _, m := range k.spaces() {
			if slices.ContainsFunc(m.areas, func(a area) bool { return a.inode == id }) {
				return false
			}
		}
		in := k.disk.inode(id)
		in.opens--
		k.disk.release(in)
		return true
	})
}

// refresh brings the mappings of a file up to date with a part of it. A page for which
// there is no memory stays what it was.
func (k *kernel) refresh(in *inode, off, end int64) {
	k.sharedPages(in, 0, off, end, func(m *memory, addr uint64, at int64) {
		var now page
		in.read(now[:], at)
		if *m.peek(addr) == now {
			return
		}
		if p := m.own(addr); p != nil {
			*p = now
			m.codeGone(addr, addr+pageSize)
		}
	})
}

// flushAll is flush for all files that are mapped in a range of the process.
func (k *kernel) flushAll(start, end uint64) {
	if !k.shared {
		return
	}
	for _, a := range k.mem.areas {
		if in := k.disk.inode(a.inode); a.shared && in != nil && a.start < end && start < a.end {
			k.flush(in)
		}
	}
}

// truncate changes the size of a file, and of what its mappings show.
func (k *kernel) truncate(in *inode, size int64) int64 {
	k.flush(in)
	old := in.size
	errno := k.disk.truncate(in, size)
	k.refresh(in, min(old, size), max(old, size))
	return errno
}

// forgetInode makes mappings of a file that is gone mappings of no file.
func (k *kernel) forgetInode(id int) {
	for _, m := range k.spaces() {
		for i := range m.areas {
			if m.areas[i].inode == id {
				m.areas[i].inode = 0
			}
		}
	}
}
