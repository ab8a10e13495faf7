package rv64

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// A codec writes the state down or reads it back: the same code goes over the same
// fields in the same order for both, so that they can't differ.
type codec struct {
	reading bool
	d       wire.Decoder
	buf     []byte
	// pieces are what has been written before buf. Content of files is among them
	// without having been copied.
	pieces [][]byte
	// digest is set when what is written is only to be hashed: then files are written
	// as the sums of their chunks.
	digest bool
	// spaces are the address spaces of an image that is read, as far as no process has
	// taken them.
	spaces []*memory

	// Of deltas. Content of files is not in the tables then.
	delta   bool
	cuts    []int // where pieces end in buf
	depth   int   // of tables within tables, which are not cut
	since   uint64
	changed []chunkRef        // chunks of that epoch of the disk, and of later ones
	content map[[2]int][]byte // of the chunks that are new, by inode and number, when reading
	disk    *disk             // that has the others
}

// varint is what is written as one.
type varint interface {
	~int | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

func num[T varint](c *codec, v *T) {
	if c.reading {
		*v = T(c.d.Uvarint())
		return
	}
	c.buf = binary.AppendUvarint(c.buf, uint64(*v))
}

func (c *codec) bool(v *bool) {
	if c.reading {
		*v = c.d.Bool()
		return
	}
	c.buf = wire.AppendBool(c.buf, *v)
}

func (c *codec) text(v *string) {
	if c.reading {
		*v = c.d.String()
		return
	}
	c.buf = wire.AppendString(c.buf, *v)
}

func (c *codec) bytes(v *[]byte) {
	if c.reading {
		*v = append([]byte(nil), c.d.Bytes()...)
		return
	}
	c.buf = wire.AppendBytes(c.buf, *v)
}

// fixed is for arrays.
func (c *codec) fixed(v []byte) {
	if c.reading {
		copy(v, c.d.Next(len(v)))
		return
	}
	c.buf = append(c.buf, v...)
}

// list is for slices: each goes over one element.
func list[T any](c *codec, v *[]T, each func(*T)) {
	n := len(*v)
	if num(c, &n); c.reading {
		if n < 0 || n > c.d.Len() {
			c.d.Fail("a list of %d", n)
			n = 0
		}
		*v = make([]T, n)
	}
	for i := range *v {
		each(&(*v)[i])
	}
}

// table is for slices of pointers, of which some are nil.
func table[T any](c *codec, v *[]*T, each func(*T)) {
	list(c, v, func(p **T) {
		if c.delta && c.depth == 0 {
			c.cuts = append(c.cuts, len(c.buf))
		}
		there := *p != nil
		if c.bool(&there); there {
			if c.reading {
				*p = new(T)
			}
			c.depth++
			each(*p)
			c.depth--
		}
	})
	if c.delta && c.depth == 0 {
		c.cuts = append(c.cuts, len(c.buf))
	}
}

// state goes over the whole state of a kernel and its processor, except memory pages.
func (k *kernel) state(c *codec) {
	p := k.cpu
	num(c, &p.count)
	c.bool(&p.reserved)
	num(c, &p.reservation)
	num(c, &k.set.quantum)
	num(c, &k.set.tick)
	num(c, &k.set.start)
	c.text(&k.set.hostname)
	table(c, &k.threads, k.threadState(c))
	if c.reading && slices.Contains(k.threads, nil) {
		c.d.Fail("a thread is missing")
		k.threads = nil
	}
	current := 0
	if k.current != nil {
		current = k.current.id
	}
	num(c, &current)
	k.current = k.thread(current)
	list(c, &k.ready, func(v *int) { num(c, v) })
	num(c, &k.nextID)
	num(c, &k.turnEnd)
	list(c, &k.futexes, func(w *futexWaiter) { num(c, &w.addr); num(c, &w.thread); num(c, &w.bits) })
	num(c, &k.due)
	num(c, &k.skipped)
	table(c, &k.files, k.fileState(c))
	num(c, &k.timers)
	table(c, &k.pipes, func(p *pipe) {
		num(c, &p.id)
		c.bytes(&p.data)
		num(c, &p.readers)
		num(c, &p.writers)
		num(c, &p.inode)
		num(c, &p.opened[0])
		num(c, &p.opened[1])
	})
	table(c, &k.sockets, k.socketState(c))
	num(c, &k.nextConn)
	num(c, &k.nextPort)
	c.bytes(&k.input.data)
	c.bool(&k.input.ended)
	k.diskState(c)
	c.bool(&k.shared)
	list(c, &k.memoryFiles, func(v *int) { num(c, v) })
	c.fixed(k.noise.seed[:])
	num(c, &k.noise.counter)
	c.fixed(k.outputSum[:])
	k.endState(c)
	num(c, &k.set.pages)
	table(c, &k.procs, k.processState(c))
	k.mountState(c)
}

func (k *kernel) processState(c *codec) func(*process) {
	return func(p *process) {
		num(c, &p.id)
		num(c, &p.parent)
		num(c, &p.group)
		num(c, &p.session)
		num(c, &p.vfork)
		c.bool(&p.zombie)
		num(c, &p.status)
		for i := range p.actions {
			a := &p.actions[i]
			num(c, &a.handler)
			num(c, &a.flags)
			num(c, &a.mask)
		}
		list(c, &p.pending, c.signal)
		c.alarm(&p.alarms[0])
		list(c, &p.fds, func(d *descriptor) { num(c, &d.file); c.bool(&d.cloexec) })
		num(c, &p.cwd)
		num(c, &p.umask)
		num(c, &p.brkStart)
		num(c, &p.brk)
		c.text(&p.exe)
		c.text(&p.name)
		c.bytes(&p.strings.args)
		c.bytes(&p.strings.env)
		c.bytes(&p.strings.auxv)
		num(c, &p.env.tohost)
		list(c, &p.env.csrs, func(r *csr) { num(c, &r.number); num(c, &r.value) })
		k.spaceState(c, p)
	}
}

// spaceState is for a process's address space. It is written with the first process
// that has it; the others name that one.
func (k *kernel) spaceState(c *codec, p *process) {
	owner := k.spaceOf(p)
	num(c, &owner)
	if c.reading {
		switch i := slices.IndexFunc(k.procs, func(q *process) bool { return q != nil && q.id == owner }); {
		case owner == 0:
		case owner == p.id && len(c.spaces) > 0:
			p.mem, c.spaces = c.spaces[0], c.spaces[1:]
		case owner != p.id && i >= 0 && k.procs[i].mem != nil:
			p.mem = k.procs[i].mem
		default:
			c.d.Fail("process %d has the memory of %d", p.id, owner)
			return
		}
	}
	if owner != p.id || p.mem == nil {
		return
	}
	num(c, &p.mem.resident)
	list(c, (*[]area)(&p.mem.areas), func(a *area) {
		num(c, &a.start)
		num(c, &a.end)
		num(c, &a.perm)
		c.bool(&a.shared)
		num(c, &a.inode)
		num(c, &a.offset)
	})
}

func (k *kernel) threadState(c *codec) func(*thread) {
	return func(t *thread) {
		num(c, &t.id)
		num(c, &t.process)
		for i := range t.x {
			num(c, &t.x[i])
		}
		for i := range t.f {
			num(c, &t.f[i])
		}
		num(c, &t.pc)
		num(c, &t.fcsr)
		num(c, &t.mask)
		num(c, &t.saved)
		c.bool(&t.hasSaved)
		list(c, &t.pending, c.signal)
		num(c, &t.altSP)
		num(c, &t.altSize)
		num(c, &t.altFlags)
		num(c, &t.clearTID)
		num(c, &t.robustList)
		c.text(&t.name)
		num(c, &t.call.nr)
		for i := range t.call.args {
			num(c, &t.call.args[i])
		}
		num(c, &t.call.restartPC)
		num(c, &t.waiting)
		num(c, &t.deadline)
		c.bool(&t.timedOut)
		c.bool(&t.woken)
		c.bool(&t.restart)
		num(c, &t.progress)
		num(c, &t.batch)
		num(c, &t.opening)
		c.diskWait(&t.disk)
	}
}

func (c *codec) signal(s *signalInfo) {
	num(c, &s.number)
	num(c, &s.code)
	num(c, &s.value)
	num(c, &s.status)
}

func (c *codec) alarm(a *alarm) {
	num(c, &a.deadline)
	num(c, &a.interval)
}

func (k *kernel) fileState(c *codec) func(*file) {
	return func(f *file) {
		num(c, &f.id)
		num(c, &f.kind)
		num(c, &f.refs)
		num(c, &f.flags)
		num(c, &f.edge)
		c.text(&f.path)
		num(c, &f.inode)
		num(c, &f.offset)
		num(c, &f.mover)
		c.bytes(&f.data)
		num(c, &f.stream)
		num(c, &f.pipe)
		num(c, &f.socket)
		num(c, &f.counter)
		c.bool(&f.semaphore)
		c.alarm(&f.timer)
		num(c, &f.clockID)
		list(c, &f.interests, func(in *interest) {
			num(c, &in.fd)
			num(c, &in.file)
			num(c, &in.events)
			num(c, &in.data)
			num(c, &in.edge)
			c.bool(&in.off)
		})
	}
}

func (c *codec) address(a *address) {
	num(c, &a.family)
	c.fixed(a.ip[:])
	num(c, &a.port)
	c.text(&a.path)
}

func (k *kernel) socketState(c *codec) func(*socket) {
	return func(s *socket) {
		num(c, &s.id)
		num(c, &s.domain)
		num(c, &s.kind)
		num(c, &s.state)
		num(c, &s.file)
		c.address(&s.local)
		c.address(&s.peer)
		c.bool(&s.v6only)
		num(c, &s.inode)
		num(c, &s.errno)
		c.bytes(&s.data)
		list(c, &s.datagrams, func(d *datagram) { c.address(&d.from); c.bytes(&d.data) })
		c.bool(&s.ended)
		c.bool(&s.shutRead)
		c.bool(&s.shutWrite)
		num(c, &s.mate)
		num(c, &s.conn)
		num(c, &s.unacked)
		list(c, &s.backlog, func(v *int) { num(c, v) })
		num(c, &s.backlogMax)
		list(c, &s.options, func(o *socketOption) { num(c, &o.level); num(c, &o.name); num(c, &o.value) })
		num(c, &s.readLimit)
		num(c, &s.writeLimit)
	}
}

func (k *kernel) diskState(c *codec) {
	d := k.disk
	num(c, &d.limit)
	num(c, &d.used)
	list(c, &d.free, func(v *int) { num(c, v) })
	table(c, &d.inodes, func(in *inode) {
		num(c, &in.id)
		num(c, &in.mode)
		num(c, &in.nlink)
		num(c, &in.uid)
		num(c, &in.gid)
		num(c, &in.atime)
		num(c, &in.mtime)
		num(c, &in.ctime)
		num(c, &in.size)
		c.text(&in.target)
		list(c, &in.names, func(e *dirent) { c.text(&e.name); num(c, &e.inode) })
		num(c, &in.parent)
		num(c, &in.device)
		num(c, &in.opens)
		num(c, &in.key)
		num(c, &in.body)
		num(c, &in.writer)
		num(c, &in.failed)
		if c.delta {
			c.versions(in, d.epoch)
		} else {
			table(c, &in.chunks, func(ch *chunk) { c.chunk(ch, d.epoch) })
		}
	})
}

// chunk writes content by reference: the disk's epoch is past once an image has it.
func (c *codec) chunk(ch *chunk, epoch uint64) {
	switch {
	case c.reading:
		ch.data, ch.epoch = append([]byte(nil), c.d.Bytes()...), epoch
		if len(ch.data) > chunkSize {
			c.d.Fail("a chunk of %d bytes", len(ch.data))
		}
	case c.digest:
		if !ch.summed {
			// Zeroes at the end are as good as none.
			b := ch.data
			for len(b) > 0 && b[len(b)-1] == 0 {
				b = b[:len(b)-1]
			}
			h := sha256.Sum256(b)
			ch.sum = sum{binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:])}
			ch.summed = true
		}
		num(c, &ch.sum.hi)
		num(c, &ch.sum.lo)
	default:
		c.buf = binary.AppendUvarint(c.buf, uint64(len(ch.data)))
		c.pieces = append(c.pieces, c.buf, ch.data)
		c.buf = nil
	}
}

func (k *kernel) endState(c *codec) {
	c.bool(&k.exited)
	num(c, &k.exitCode)
	crashed := k.crash != nil
	if c.bool(&crashed); !crashed {
		return
	}
	if c.reading {
		k.crash = new(Crash)
	}
	r := k.crash
	num(c, &r.Signal)
	num(c, &r.Code)
	num(c, &r.Address)
	num(c, &r.Thread)
	num(c, &r.PC)
	for i := range r.Registers {
		num(c, &r.Registers[i])
	}
	num(c, &r.Position)
	c.bool(&r.OutOfMemory)
}
