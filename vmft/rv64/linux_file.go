package rv64

import (
	"encoding/binary"
	"math"
	"slices"
)

// A fileKind is what an open file is.
type fileKind uint8

const (
	kindInput fileKind = iota + 1 // the console's
	kindOutput
	kindRegular
	kindDir
	kindPath     // opened with O_PATH
	kindSnapshot // a file that the kernel has written: /proc
	kindNull
	kindZero
	kindRandom
	kindPipe
	kindEvent
	kindTimer
	kindEpoll
	kindSocket
)

// A file is an open file: what descriptors that were duplicated have in common.
type file struct {
	id    int
	kind  fileKind
	refs  int    // descriptors, and calls that use it
	flags int    // access mode, O_APPEND, O_NONBLOCK
	edge  uint64 // grows whenever it becomes ready, for edge-triggered polling

	path   string // of what was opened
	inode  int
	offset int64
	mover  int    // the thread that is to move the offset, when the shared disk has answered
	data   []byte // of a snapshot

	stream int // the console's output: 1 or 2
	pipe   int
	socket int

	counter   uint64 // of an event or a timer; of a named pipe, see joinPipe
	semaphore bool
	timer     alarm
	clockID   int

	interests []interest
}

// A descriptor is an entry of the table of descriptors.
type descriptor struct {
	file    int // -1: free
	cloexec bool
}

// slot returns the lowest free place of a table.
func slot[T any](table *[]*T) int {
	for i, v := range *table {
		if v == nil {
			return i
		}
	}
	*table = append(*table, nil)
	return len(*table) - 1
}

// file returns the open file of a descriptor, or nil.
func (k *kernel) file(fd int) *file {
	if fd < 0 || fd >= len(k.fds) || k.fds[fd].file < 0 {
		return nil
	}
	return k.files[k.fds[fd].file]
}

// install gives a new file a descriptor, the lowest one that is free.
func (k *kernel) install(f *file, cloexec bool) int64 {
	fd := k.freeDescriptor(0)
	if fd < 0 {
		k.discardFile(f)
		return -eMFILE
	}
	f.id = slot(&k.files)
	k.files[f.id] = f
	if f.kind == kindTimer {
		k.timers++
	}
	k.connect(fd, f, cloexec)
	return int64(fd)
}

// freeDescriptor finds the lowest free descriptor from one on, or returns -1.
func (k *kernel) freeDescriptor(from int) int {
	for fd := from; fd < maxFiles; fd++ {
		for fd >= len(k.fds) {
			k.fds = append(k.fds, descriptor{file: -1})
		}
		if k.fds[fd].file < 0 {
			return fd
		}
	}
	return -1
}

func (k *kernel) connect(fd int, f *file, cloexec bool) {
	k.fds[fd] = descriptor{file: f.id, cloexec: cloexec}
	f.refs++
}

// closeDescriptor frees a descriptor, and the file if it was the last.
func (k *kernel) closeDescriptor(fd int) {
	f := k.file(fd)
	k.fds[fd] = descriptor{file: -1}
	k.unref(f)
}

// unref drops a reference to a file, and the file if it was the last.
func (k *kernel) unref(f *file) {
	f.refs--
	if f.refs == 0 {
		k.forgetInterests(f)
		k.files[f.id] = nil
		if f.kind == kindTimer {
			k.timers--
		}
		mounted := k.isMounted(f) && f.flags&oACCMODE != oRDONLY
		k.discardFile(f)
		if mounted {
			k.record()
		}
	}
	k.kick()
}

// discardFile lets go of what a file stands for.
func (k *kernel) discardFile(f *file) {
	switch f.kind {
	case kindPipe:
		k.closePipe(f)
	case kindSocket:
		k.closeSocket(k.sockets[f.socket])
	}
	if in := k.disk.inode(f.inode); in != nil {
		in.opens--
		k.disk.release(in)
	}
}

// changed says that a file has become ready for something.
func (k *kernel) changed(f *file) {
	f.edge++
	k.kick()
}

// ready returns what a file is ready for, in the terms of poll.
func (k *kernel) readiness(f *file) uint32 {
	switch f.kind {
	case kindInput:
		if len(k.input.data) > 0 || k.input.ended {
			return epollIn
		}
		return 0
	case kindPipe:
		return k.pipeReadiness(f)
	case kindEvent:
		r := uint32(0)
		if f.counter > 0 {
			r |= epollIn
		}
		if f.counter < math.MaxUint64-1 {
			r |= epollOut
		}
		return r
	case kindTimer:
		if f.counter > 0 {
			return epollIn
		}
		return 0
	case kindEpoll:
		if k.anyReady(f, 0) {
			return epollIn
		}
		return 0
	case kindSocket:
		return k.socketReadiness(k.sockets[f.socket])
	}
	return epollIn | epollOut
}

// A console is the standard input that has arrived.
type console struct {
	data  []byte
	ended bool
}

// maxInput is how much standard input may wait for the program.
const maxInput = 256 << 10

// blockOr returns errno EAGAIN for a file that does not block, and waits otherwise.
func (k *kernel) blockOr(t *thread, f *file) int64 {
	if f.flags&oNONBLOCK != 0 {
		return -eAGAIN
	}
	return k.wait(t, waitChange, 0)
}

// readFile reads from a file into b, which is not empty, at its own offset or, if
// off is not negative, at that.
func (k *kernel) readFile(t *thread, f *file, b []byte, off int64) int64 {
	if f.flags&oACCMODE == oWRONLY || f.kind == kindPath {
		return -eBADF
	}
	switch f.kind {
	case kindInput:
		n := copy(b, k.input.data)
		if n == 0 && !k.input.ended {
			return k.blockOr(t, f)
		}
		k.input.data = slices.Delete(k.input.data, 0, n)
		if n > 0 {
			k.emit(output{Kind: OutputWindow, Number: uint64(n)})
		}
		return int64(n)
	case kindOutput:
		return -eBADF
	case kindRegular, kindSnapshot:
		return k.readAt(f, b, off)
	case kindDir:
		return -eISDIR
	case kindNull:
		return 0
	case kindZero:
		clear(b)
		return int64(len(b))
	case kindRandom:
		k.noise.read(b)
		return int64(len(b))
	case kindPipe:
		return k.readPipe(t, f, b)
	case kindEvent, kindTimer:
		return k.readCounter(t, f, b)
	case kindSocket:
		n, _ := k.receive(t, k.sockets[f.socket], b, f.flags&oNONBLOCK != 0, 0, nil)
		return n
	}
	return -eINVAL
}

func (k *kernel) readAt(f *file, b []byte, off int64) int64 {
	at := off
	if off < 0 {
		at = f.offset
	}
	n := 0
	if f.kind == kindSnapshot {
		if at < int64(len(f.data)) {
			n = copy(b, f.data[at:])
		}
	} else {
		in := k.disk.inode(f.inode)
		k.flush(in)
		n = in.read(b, at)
	}
	if off < 0 {
		f.offset += int64(n)
	}
	return int64(n)
}

// readCounter reads an event or a timer.
func (k *kernel) readCounter(t *thread, f *file, b []byte) int64 {
	if len(b) < 8 {
		return -eINVAL
	}
	if f.counter == 0 {
		return k.blockOr(t, f)
	}
	v := f.counter
	if f.semaphore {
		v = 1
	}
	f.counter -= v
	k.changed(f)
	binary.LittleEndian.PutUint64(b, v)
	return 8
}

// writeFile writes b to a file, at its own offset or, if off is not negative, at that.
func (k *kernel) writeFile(t *thread, f *file, b []byte, off int64) int64 {
	if f.flags&oACCMODE == oRDONLY || f.kind == kindPath {
		return -eBADF
	}
	switch f.kind {
	case kindInput:
		return -eBADF
	case kindOutput:
		k.emit(output{Kind: OutputData, Conn: uint64(f.stream), Data: slices.Clone(b)})
		return int64(len(b))
	case kindRegular:
		return k.writeAt(f, b, off)
	case kindNull, kindZero, kindRandom:
		return int64(len(b))
	case kindPipe:
		return k.writePipe(t, f, b)
	case kindEvent:
		if len(b) < 8 {
			return -eINVAL
		}
		v := binary.LittleEndian.Uint64(b)
		if v == math.MaxUint64 {
			return -eINVAL
		}
		if v > math.MaxUint64-1-f.counter {
			return k.blockOr(t, f)
		}
		f.counter += v
		k.changed(f)
		return 8
	case kindSocket:
		return k.transmit(t, k.sockets[f.socket], b, f.flags&oNONBLOCK != 0, 0)
	}
	return -eINVAL
}

func (k *kernel) writeAt(f *file, b []byte, off int64) int64 {
	in, at := k.disk.inode(f.inode), off
	if off < 0 {
		at = f.offset
	}
	if f.flags&oAPPEND != 0 {
		at = in.size
	}
	if at > math.MaxInt64-int64(len(b)) {
		return -eFBIG
	}
	k.flush(in)
	if errno := k.disk.write(in, b, at, k.realtime()); errno != 0 {
		return errno
	}
	k.refresh(in, at, at+int64(len(b)))
	if off < 0 {
		f.offset = at + int64(len(b))
	}
	return int64(len(b))
}
