package rv64

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// A delta is what has changed of a machine between two positions:
//
//	the magic, and a checksum of the tables that it follows (0: it follows nothing, and has all)
//	the tables, in pieces: those that are as they were are named, the others are here
//	chunks of files, each with its inode, its number and its content; a zero
//	for each address space its number in the state before, plus one (0: it is new), and its pages
//
// A piece is an element of a table: a thread, an open file, an inode.
const deltaMagic = "rv64dlt\x01"

// A lineage is what a machine remembers of the state that the next delta follows. It is no
// part of the state.
type lineage struct {
	known  bool
	pieces [][]byte  // of the tables
	sum    uint32    // of them
	spaces []*memory // in order
	epoch  uint64    // of the disk: chunks of this one and later ones have changed
}

// follow remembers the state as it is now: pieces are those of its tables.
func (m *Machine) follow(pieces [][]byte) {
	k := m.kernel
	sum := uint32(1)
	for _, p := range pieces {
		sum = crc32.Update(sum, castagnoli, p)
	}
	k.disk.epoch++
	m.last = lineage{known: true, pieces: pieces, sum: max(sum, 1), spaces: k.spaces(), epoch: k.disk.epoch}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A chunkRef is a chunk of a file on its way in a delta.
type chunkRef struct {
	inode, index int
	data         []byte
}

// Delta returns what has changed since the last Delta, ApplyDelta or Restore, and all there
// is the first time. Few pages are compared with what they were at once; of many the machine
// copies first what it writes to from here on, so that it takes microseconds for each MiB.
// What is returned may be written beside the machine, once.
func (m *Machine) Delta() (io.WriterTo, error) {
	k := m.kernel
	if k.current != nil {
		k.save(k.current)
	}
	whole := !m.last.known
	c := codec{delta: true, since: m.last.epoch}
	if whole {
		c.since = 0
	}
	k.state(&c)
	pieces := c.cut()
	d := &delta{head: append(make([]byte, 0, 4<<10), deltaMagic...), chunks: c.changed}
	d.head = binary.LittleEndian.AppendUint32(d.head, m.last.sum)
	d.head = appendPieces(d.head, m.last.pieces, pieces)
	changed := 0
	for _, mem := range k.spaces() {
		changed += mem.changed()
	}
	for _, mem := range k.spaces() {
		s := deltaSpace{before: slices.Index(m.last.spaces, mem) + 1}
		if changed > m.many || s.before == 0 {
			mem.share(&s)
		} else {
			mem.compare(&s)
		}
		mem.flushWrite()
		d.spaces = append(d.spaces, s)
	}
	m.follow(pieces)
	return d, nil
}

// manyPages is how many pages are compared at once, at most.
const manyPages = 4096

// A deltaSpace is the pages of an address space that have changed: written already, or those
// that are to be written.
type deltaSpace struct {
	before  int
	written []byte
	pages   []numberedPage // by number; nil: it is gone
}

type numberedPage struct {
	number uint64
	page   *page
}

// A delta is one that is frozen.
type delta struct {
	head   []byte
	chunks []chunkRef
	spaces []deltaSpace
}

// Len is about how many bytes it has.
func (d *delta) Len() int {
	n := len(d.head)
	for _, c := range d.chunks {
		n += len(c.data)
	}
	for _, s := range d.spaces {
		n += len(s.written) + len(s.pages)*pageSize
	}
	return n
}

// WriteTo writes the delta.
func (d *delta) WriteTo(w io.Writer) (n int64, err error) {
	put := func(b []byte) {
		if err == nil {
			var k int
			k, err = w.Write(b)
			n += int64(k)
		}
	}
	b := d.head
	for _, c := range d.chunks {
		b = binary.AppendUvarint(b, uint64(c.inode))
		b = binary.AppendUvarint(b, uint64(c.index))
		put(binary.AppendUvarint(b, uint64(len(c.data))))
		put(c.data)
		b = nil
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(d.spaces)))
	for _, s := range d.spaces {
		b = append(binary.AppendUvarint(b, uint64(s.before)), s.written...)
		last := uint64(0)
		for _, p := range s.pages {
			b = appendPage(b, p.number-last, nil, p.page)
			if last = p.number; len(b) > 1<<18 {
				put(b)
				b = b[:0]
			}
		}
		b = append(b, 0)
	}
	put(b)
	return n, err
}

// ApplyDelta makes the machine what it was where Delta was called, if it is as that was when
// that was called before. The delta is borrowed. The error matches ErrBadImage; then the
// machine is of no use any more.
func (m *Machine) ApplyDelta(b []byte) error {
	if err := m.applyDelta(b); err != nil {
		return &Error{Op: "apply a delta", Err: fmt.Errorf("%w: %v", ErrBadImage, err)}
	}
	return nil
}

func (m *Machine) applyDelta(b []byte) error {
	k := m.kernel
	d := wire.NewDecoder(b)
	magic, follows := string(d.Next(len(deltaMagic))), uint32(0)
	if s := d.Next(4); len(s) == 4 {
		follows = binary.LittleEndian.Uint32(s)
	}
	if d.Err() != nil || magic != deltaMagic {
		return fmt.Errorf("it starts with %q", magic)
	}
	var before lineage
	if follows != 0 {
		if before = m.last; !before.known {
			if k.current != nil {
				k.save(k.current)
			}
			c := codec{delta: true, since: noChunks}
			k.state(&c)
			m.follow(c.cut())
			before = m.last
		}
		if before.sum != follows {
			return fmt.Errorf("it follows another state than that at %d", m.cpu.count)
		}
	}
	pieces := takePieces(&d, before.pieces)
	c := codec{reading: true, delta: true, content: make(map[[2]int][]byte), disk: newDisk(0)}
	for inode := d.Int(math.MaxInt32); inode != 0; inode = d.Int(math.MaxInt32) { // 0 after an error, too
		c.content[[2]int{inode, d.Int(math.MaxInt32)}] = d.Bytes()
	}
	if follows != 0 {
		c.disk = k.disk
	}
	count := d.Count(2)
	pages := make([]deltaPages, 0, count)
	for range count {
		s, err := takeSpace(&d, before.spaces)
		if err != nil {
			return err
		}
		pages = append(pages, s)
		c.spaces = append(c.spaces, m.stand(len(c.spaces)))
	}
	if err := d.Finish(); err != nil {
		return err
	}
	return m.become(&c, pieces, pages)
}

// stand returns a memory that stands for the i-th while tables are read. It has no pages.
func (m *Machine) stand(i int) *memory {
	if i == len(m.stands) {
		m.stands = append(m.stands, new(memory))
	}
	m.stands[i].areas, m.stands[i].resident = nil, 0
	return m.stands[i]
}

// deltaPages is an address space, and what is to be done to its pages.
type deltaPages struct {
	mem  *memory
	data []byte
}

// takeSpace reads where the pages of a space are, and what they belong to.
func takeSpace(d *wire.Decoder, before []*memory) (s deltaPages, err error) {
	n := d.Int(len(before))
	if n == 0 {
		s.mem = newMemory(0)
	} else {
		s.mem = before[n-1]
	}
	rest := d.Rest()
	size, err := skipPages(rest)
	if err != nil {
		return s, err
	}
	s.data = rest[:size]
	*d = wire.NewDecoder(rest[size:])
	return s, nil
}

// become takes over tables and pages.
func (m *Machine) become(c *codec, pieces [][]byte, pages []deltaPages) error {
	k := m.kernel
	c.d = wire.NewDecoder(slices.Concat(pieces...))
	states := slices.Clone(c.spaces)
	fresh := m.successor()
	fresh.disk.epoch = k.disk.epoch
	fresh.state(c)
	if err := c.d.Finish(); err != nil {
		return err
	}
	if err := fresh.check(); err != nil {
		return err
	}
	if len(c.spaces) > 0 {
		return fmt.Errorf("pages of no process")
	}
	for i, s := range pages {
		s.mem.applyPages(s.data)
		if s.mem.resident != states[i].resident {
			return fmt.Errorf("%d pages, of %d", s.mem.resident, states[i].resident)
		}
		s.mem.areas, s.mem.recent = states[i].areas, 0
		s.mem.forgetCode()
		s.mem.flush()
		for _, p := range fresh.procs {
			if p.mem == states[i] {
				p.mem = s.mem
			}
		}
	}
	m.kernel, m.engines = fresh, nil
	fresh.activate(fresh.procs[0])
	fresh.cpu.mem = fresh.mem
	if t := fresh.current; t != nil {
		turn, reserved := fresh.turnEnd, m.cpu.reserved
		fresh.resume(t)
		fresh.turnEnd, m.cpu.reserved = turn, reserved
	}
	m.follow(pieces)
	return nil
}

// successor is a kernel without a state, for the machine's processor.
func (m *Machine) successor() *kernel {
	k := &kernel{cpu: m.cpu, process: &process{}, disk: newDisk(0), told: m.kernel.told, report: m.kernel.report}
	m.cpu.clock = func() uint64 { return k.monotonic() / 100 }
	k.disk.gone, k.disk.mount = k.forgetInode, &k.mount
	return k
}
