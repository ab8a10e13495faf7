package rv64

import (
	"math"
	"slices"
)

// The calls on files of the shared disk. Each has one request out at a time, and its thread
// waits for the answer whatever signals come, as for any disk. A file is written to by one
// thread at a time, and read by any number.

// await lets a thread wait for the answer to a request. What it is about is kept for it.
func (k *kernel) await(t *thread, w diskWait) int64 {
	if w.file != 0 {
		k.files[w.file-1].refs++
	}
	if in := k.disk.inode(w.inode); in != nil {
		in.opens++
		if w.locks {
			in.writer = t.id
		}
	}
	if w.seek {
		k.files[w.file-1].mover = t.id
	}
	t.disk = w
	return k.wait(t, waitDisk, 0)
}

// queue lets a thread wait until another has done with a file; then its call is tried again.
func (k *kernel) queue(t *thread, in *inode) int64 {
	t.disk = diskWait{inode: in.id}
	return k.wait(t, waitDisk, 0)
}

// disown lets go of what was kept for a thread, and lets others have it.
func (k *kernel) disown(w *diskWait) {
	if w.request == 0 {
		return
	}
	in := k.disk.inode(w.inode)
	if w.seek {
		k.files[w.file-1].mover = 0
	}
	if w.locks {
		in.writer = 0
	}
	if w.file != 0 {
		k.unref(k.files[w.file-1])
	}
	if in == nil {
		return
	}
	if w.seek || w.locks {
		for _, t := range slices.Clone(k.threads) {
			if t.waiting == waitDisk && t.disk.request == 0 && t.disk.inode == in.id {
				t.disk = diskWait{}
				k.finish(t, k.invoke(t))
			}
		}
	}
	in.opens--
	k.disk.release(in)
}

// abandonDisk gives up what a thread waits for that ends. What it has asked for is done
// nevertheless.
func (k *kernel) abandonDisk(t *thread) {
	w := t.disk
	t.disk, t.waiting = diskWait{}, waitNot
	k.disown(&w)
}

// isMounted reports whether a file's content is on the shared disk.
func (k *kernel) isMounted(f *file) bool {
	if f.kind != kindRegular || k.mount.root == 0 {
		return false
	}
	in := k.disk.inode(f.inode)
	return in != nil && in.body != 0
}

// readShared reads from the shared disk.
func (k *kernel) readShared(t *thread, f *file, list []vector, off int64) int64 {
	in := k.disk.inode(f.inode)
	if f.flags&oACCMODE == oWRONLY {
		return -eBADF
	}
	at, seek := off, off < 0
	if seek {
		if f.mover != 0 {
			return k.queue(t, in)
		}
		at = f.offset
	}
	n := min(int64(total(list)), in.size-at)
	if n <= 0 {
		return 0
	}
	id := k.request(DiskRequest{Kind: DiskRead, Object: in.body, Offset: at, Length: int(n)})
	return k.await(t, diskWait{request: id, kind: DiskRead, file: f.id + 1, inode: in.id, off: at, n: n, seek: seek, list: list})
}

// writeShared writes to the shared disk.
func (k *kernel) writeShared(t *thread, f *file, b []byte, off int64) int64 {
	in := k.disk.inode(f.inode)
	if f.flags&oACCMODE == oRDONLY {
		return -eBADF
	}
	at, seek := off, off < 0
	if in.writer != 0 || seek && f.mover != 0 {
		return k.queue(t, in)
	}
	if seek {
		at = f.offset
	}
	if f.flags&oAPPEND != 0 {
		at = in.size
	}
	if at > math.MaxInt64-int64(len(b)) {
		return -eFBIG
	}
	if at > in.size {
		k.clip(in)
	}
	id := k.request(DiskRequest{Kind: DiskWrite, Object: in.body, Offset: at, Data: b})
	return k.await(t, diskWait{request: id, kind: DiskWrite, file: f.id + 1, inode: in.id, off: at, n: int64(len(b)), seek: seek, locks: true})
}

// clip makes sure that what is beyond the end of a file is zeroes: it is about to be seen,
// and a write that has failed may have left something.
func (k *kernel) clip(in *inode) {
	k.request(DiskRequest{Kind: DiskTruncate, Object: in.body, Offset: in.size})
}

// resizeShared changes the size of a file on the shared disk.
func (k *kernel) resizeShared(t *thread, in *inode, size int64) int64 {
	if in.writer != 0 {
		return k.queue(t, in)
	}
	now := k.realtime()
	switch {
	case size == 0:
		k.mount.empty(in)
	case size < in.size:
		id := k.request(DiskRequest{Kind: DiskTruncate, Object: in.body, Offset: size})
		return k.await(t, diskWait{request: id, kind: DiskTruncate, inode: in.id, n: size, locks: true})
	case size > in.size:
		k.clip(in)
		in.size = size
	}
	in.mtime, in.ctime = now, now
	k.mount.touch(in)
	return 0
}

// syncShared makes everything on the shared disk durable. What fails of the file f, or of
// none in particular, is told; n is what the call returns if nothing does.
func (k *kernel) syncShared(t *thread, f *file, n int64) int64 {
	k.record()
	w := diskWait{request: k.request(DiskRequest{Kind: DiskSync}), kind: DiskSync, n: n}
	if f != nil {
		w.file, w.inode = f.id+1, f.inode
	}
	return k.await(t, w)
}

// settled is what a sync comes to: it tells what has failed since the last one.
func (k *kernel) settled(in *inode, errno int64) int64 {
	m := &k.mount
	if in != nil {
		if errno == 0 {
			errno = in.failed
		}
		in.failed = 0
	}
	if errno == 0 {
		errno = m.errno
	}
	m.errno = 0
	return -errno
}

// diskDone is the answer to a request: to the thread that waits for it, if there is one.
// What fails otherwise is told by the next sync.
func (k *kernel) diskDone(id, object uint64, errno int64, data []byte) {
	if id == k.mount.leaving && id != 0 {
		k.unmount()
		return
	}
	for _, t := range k.threads {
		if !k.exited && t.waiting == waitDisk && t.disk.request == id {
			w := t.disk
			t.disk = diskWait{}
			var result int64
			k.in(k.proc(t.process), func() { result = k.answer(t, &w, errno, data) })
			k.finish(t, result)
			return
		}
	}
	if object == 0 {
		return
	}
	if object == k.mount.catalog {
		k.catalogDone(id, errno)
		return
	}
	if errno == 0 {
		return
	}
	for _, in := range k.disk.inodes {
		if in != nil && in.body == object {
			in.failed = errno
		}
	}
}

// answer goes on with a call that has waited for the disk.
func (k *kernel) answer(t *thread, w *diskWait, errno int64, data []byte) (result int64) {
	in, now := k.disk.inode(w.inode), k.realtime()
	var f *file
	if w.file != 0 {
		f = k.files[w.file-1]
	}
	switch {
	case w.kind == DiskSync && errno == 0 && k.mount.unsettled(): // it is asked for by now
		result = k.syncShared(t, f, w.n)
	case w.kind == DiskSync:
		result = k.settled(in, errno)
	case errno != 0:
		result = -errno
	case w.kind == DiskRead:
		result = k.scatterRead(w, data)
	case w.kind == DiskWrite:
		in.size = max(in.size, w.off+w.n)
		in.mtime, in.ctime = now, now
		k.mount.touch(in)
		result = w.n
	case w.kind == DiskTruncate:
		in.size = w.n
		in.mtime, in.ctime = now, now
		k.mount.touch(in)
	}
	if w.seek && result > 0 {
		f.offset = w.off + result
	}
	if w.kind == DiskWrite && result > 0 && f.flags&oDSYNC != 0 {
		result = k.syncShared(t, f, w.n)
	}
	if w.kind == DiskSync && result == 0 {
		result = w.n
	}
	k.disown(w)
	if now-k.mount.written > catalogEvery || len(k.mount.changes) > maxUnwritten {
		k.record()
	}
	return result
}

// scatterRead puts what was read where it is wanted.
func (k *kernel) scatterRead(w *diskWait, data []byte) int64 {
	data = data[:min(int64(len(data)), w.n)]
	n := int64(len(data))
	for _, v := range w.list {
		part := data[:min(uint64(len(data)), v.n)]
		if !k.mem.writeBytes(v.addr, part) {
			return -eFAULT
		}
		data = data[len(part):]
	}
	return n
}
