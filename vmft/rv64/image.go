package rv64

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/trilith-go/trilith/internal/wire"
)

// An image of a machine: the magic, the length of the tables, the number of address
// spaces, and the tables; for each address space its pages, each with its number plus
// one, and a zero; and a SHA-256 of all before it. Pages of
// zeroes count too: how much a guest uses is part of its state.
const imageMagic = "rv64img\x03"

// A frozen is a machine at a position. Its pages and files are those of the machine,
// as long as that has not changed them.
type frozen struct {
	tables [][]byte
	spaces []frozenSpace
}

type frozenSpace struct {
	leaves []*leaf
	used   []int
}

// Freeze makes an image of now while the machine may go on: what it writes to from
// here on it copies first. It takes microseconds for each MiB that was written
// since the last one. The image may be written, at any time and more than once,
// beside the machine.
func (m *Machine) Freeze() (io.WriterTo, error) {
	k := m.kernel
	if k.current != nil {
		k.save(k.current)
	}
	var c codec
	k.state(&c)
	img := &frozen{tables: append(c.pieces, c.buf)}
	for _, mem := range k.spaces() {
		s := frozenSpace{used: append([]int(nil), mem.used...)}
		for _, n := range s.used {
			s.leaves = append(s.leaves, mem.leaves[n])
		}
		img.spaces = append(img.spaces, s)
		mem.epoch++
		mem.flushWrite()
	}
	k.disk.epoch++
	return img, nil
}

// WriteTo writes the image.
func (f *frozen) WriteTo(w io.Writer) (int64, error) {
	out := &imageWriter{w: bufio.NewWriterSize(w, 1<<20), sum: sha256.New()}
	out.write([]byte(imageMagic))
	size := 0
	for _, b := range f.tables {
		size += len(b)
	}
	out.write(binary.LittleEndian.AppendUint64(nil, uint64(size)))
	out.write(binary.LittleEndian.AppendUint64(nil, uint64(len(f.spaces))))
	for _, b := range f.tables {
		out.write(b)
	}
	for _, s := range f.spaces {
		out.writeSpace(s)
	}
	out.write(out.sum.Sum(nil))
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return out.n, out.err
}

func (w *imageWriter) writeSpace(s frozenSpace) {
	for i, n := range s.used {
		for j, p := range s.leaves[i].pages {
			if p != nil {
				w.write(binary.LittleEndian.AppendUint64(nil, uint64(n*leafPages+j)+1))
				w.write(p[:])
			}
		}
	}
	w.write(make([]byte, 8))
}

type imageWriter struct {
	w   *bufio.Writer
	sum hash.Hash
	n   int64
	err error
}

func (w *imageWriter) write(b []byte) {
	if w.err == nil {
		w.sum.Write(b)
		var n int
		n, w.err = w.w.Write(b)
		w.n += int64(n)
	}
}

// Restore replaces the machine's state by that of an image. On an error, which
// matches ErrBadImage or is of r, the machine is unchanged.
func (m *Machine) Restore(r io.Reader) error {
	fresh, err := readImage(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return &Error{Op: "restore", Err: err}
	}
	fresh.stepper, fresh.log = m.stepper, m.log
	m.cpu, m.kernel, m.engines, m.last = fresh.cpu, fresh.kernel, nil, lineage{}
	m.kernel.report = func(name string) {
		m.log.Warn("the program misses a system call", "name", name, "position", m.cpu.count)
	}
	return nil
}

// NewFrom makes a machine of an image. Of the Config, only Stepper and Logger count:
// the image has the rest.
func NewFrom(r io.Reader, cfg Config) (*Machine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m := newMachine(cfg)
	if err := m.Restore(r); err != nil {
		return nil, err
	}
	return m, nil
}

// maxTables bounds the tables of an image, files included.
const maxTables = 1 << 40

func readImage(r io.Reader) (*Machine, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrBadImage, fmt.Sprintf(format, args...))
	}
	sum := sha256.New()
	in := io.TeeReader(r, sum)
	head := make([]byte, len(imageMagic)+16)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, bad("%v", err)
	}
	size, count := binary.LittleEndian.Uint64(head[len(imageMagic):]), binary.LittleEndian.Uint64(head[len(imageMagic)+8:])
	if string(head[:len(imageMagic)]) != imageMagic || size > maxTables || count > maxProcesses {
		return nil, bad("it starts with %x", head)
	}
	// As much as there is, rather than as much as is said.
	tables, err := io.ReadAll(io.LimitReader(in, int64(size)))
	if err != nil {
		return nil, bad("%v", err)
	}
	if uint64(len(tables)) != size {
		return nil, bad("it ends after %d bytes of tables, of %d", len(tables), size)
	}
	var cfg Config
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m := newMachine(cfg)
	var spaces []*memory
	var pages []int
	for range count {
		mem := newMemory(0)
		n, err := mem.readPages(in)
		if err != nil {
			return nil, bad("its pages: %v", err)
		}
		spaces, pages = append(spaces, mem), append(pages, n)
	}
	want := sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != string(want) {
		return nil, bad("its checksum is wrong")
	}
	c := codec{reading: true, d: wire.NewDecoder(tables), spaces: spaces}
	m.kernel.state(&c)
	if err := c.d.Finish(); err != nil {
		return nil, bad("its tables: %v", err)
	}
	if err := m.kernel.check(); err != nil {
		return nil, bad("its tables: %v", err)
	}
	for i, mem := range spaces {
		if mem.resident != pages[i] {
			return nil, bad("%d pages, of %d", pages[i], mem.resident)
		}
		mem.flush()
	}
	if len(c.spaces) > 0 {
		return nil, bad("pages of no process")
	}
	m.kernel.activate(m.kernel.procs[0])
	if t := m.kernel.current; t != nil {
		turn, reserved := m.kernel.turnEnd, m.cpu.reserved
		m.kernel.resume(t)
		m.kernel.turnEnd, m.cpu.reserved = turn, reserved
	}
	return m, nil
}

// readPages reads the pages of an image into an empty memory.
func (m *memory) readPages(r io.Reader) (count int, err error) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, err
		}
		n := binary.LittleEndian.Uint64(head[:])
		if n == 0 {
			return count, nil
		}
		if n--; n >= addressEnd>>pageShift {
			return 0, fmt.Errorf("page %d", n)
		}
		l, i := m.leafFor(n<<pageShift), n%leafPages
		if l.pages[i] != nil {
			return 0, fmt.Errorf("page %d twice", n)
		}
		l.pages[i] = new(page)
		if _, err := io.ReadFull(r, l.pages[i][:]); err != nil {
			return 0, err
		}
		l.owned[i/64] |= 1 << (i % 64)
		l.stale[i/64] |= 1 << (i % 64)
		count++
	}
}
