package rv64

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"
)

// symbols tell what is at an address of a program. Those of a Go program come from
// the table that its runtime uses, so a program that was stripped has them too.
type symbols struct {
	base  uint64 // where it was loaded, for position-independent ones
	funcs []symbol
	gopc  *pclntab
	text  [2]uint64
}

type symbol struct {
	addr, size uint64
	name       string
}

// symbols reads those of the machine's program.
func (m *Machine) symbols() *symbols {
	s := &symbols{}
	b, err := fs.ReadFile(m.Files(), strings.TrimPrefix(m.kernel.exe, "/"))
	if err != nil {
		return s
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return s
	}
	if f.Type == elf.ET_DYN {
		s.base = pieBase
	}
	if t := f.Section(".text"); t != nil {
		s.text = [2]uint64{s.base + t.Addr, s.base + t.Addr + t.Size}
	}
	list, _ := f.Symbols()
	for _, y := range list {
		if elf.ST_TYPE(y.Info) == elf.STT_FUNC {
			s.funcs = append(s.funcs, symbol{s.base + y.Value, y.Size, y.Name})
		}
	}
	sort.SliceStable(s.funcs, func(i, j int) bool { return s.funcs[i].addr < s.funcs[j].addr })
	if t := f.Section(".gopclntab"); t != nil {
		if data, err := t.Data(); err == nil {
			s.gopc = newPclntab(data, s.text[0])
		}
	}
	return s
}

// A Frame is a call that has not returned.
type Frame struct {
	PC       uint64
	Function string // "" if it is not known
	File     string // "" if it is not known
	Line     int
	// Guessed says that the frame was found by looking for return addresses on the
	// stack: it may be left over from a call that has returned.
	Guessed bool
}

// String is like a line of a Go traceback.
func (f Frame) String() string {
	name := f.Function
	if name == "" {
		name = "?"
	}
	s := fmt.Sprintf("%#x %s", f.PC, name)
	if f.File != "" {
		s += fmt.Sprintf(" %s:%d", f.File, f.Line)
	}
	if f.Guessed {
		s += " (guessed)"
	}
	return s
}

// frame describes an address. For a return address that is the call before it.
func (s *symbols) frame(pc uint64, returns bool) Frame {
	f := Frame{PC: pc}
	at := pc
	if returns {
		at--
	}
	if s.gopc != nil {
		if fn, ok := s.gopc.find(at); ok {
			f.Function = fn.name()
			f.File, f.Line = fn.line(at)
			return f
		}
	}
	i, found := slices.BinarySearchFunc(s.funcs, at, func(y symbol, at uint64) int {
		if y.addr < at {
			return -1
		}
		return int(min(y.addr-at, 1))
	})
	if !found {
		i--
	}
	if i >= 0 && at < s.funcs[i].addr+max(s.funcs[i].size, 1) {
		f.Function = s.funcs[i].name
	}
	return f
}

// Registers are those of a thread.
type Registers struct {
	Thread int
	PC     uint64
	X      [32]uint64
	F      [32]uint64
	FCSR   uint32
}

var registerNames = [32]string{
	"zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
	"a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
}

// String lists the integer registers, four a line.
func (r Registers) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "thread %d, pc %#x, fcsr %#x\n", r.Thread, r.PC, r.FCSR)
	for i, v := range r.X {
		fmt.Fprintf(&b, "%5s %016x", registerNames[i], v)
		if i%4 == 3 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Registers returns those of the thread that runs or, if none does, of the one that
// crashed or the first.
func (m *Machine) Registers() Registers {
	k := m.kernel
	t := k.current
	if t != nil {
		k.save(t)
	} else {
		t = k.threads[0]
	}
	r := Registers{Thread: t.id, PC: t.pc, X: t.x, F: t.f, FCSR: t.fcsr}
	if k.crash != nil {
		r = Registers{Thread: k.crash.Thread, PC: k.crash.PC, X: k.crash.Registers}
	}
	return r
}

// maxFrames bounds a backtrace.
const maxFrames = 64

// Backtrace returns the calls of the thread that Registers is about, the innermost
// first. In Go code it is exact; elsewhere it looks for return addresses on the stack.
func (m *Machine) Backtrace() []Frame {
	s, r := m.symbols(), m.Registers()
	frames := []Frame{s.frame(r.PC, false)}
	pc, sp, ra := r.PC, r.X[2], r.X[1]
	for len(frames) < maxFrames && s.gopc != nil {
		at := pc
		if len(frames) > 1 {
			at--
		}
		fn, ok := s.gopc.find(at)
		if !ok {
			return frames
		}
		size := fn.frameSize(at)
		if size > 0 {
			v, ok := m.kernel.mem.load(sp, 8)
			if !ok {
				return frames
			}
			ra = v
		} else if len(frames) > 1 {
			return frames
		}
		if ra == 0 || fn.outermost() {
			return frames
		}
		pc, sp = ra, sp+uint64(size)
		frames = append(frames, s.frame(pc, true))
	}
	if s.gopc == nil {
		frames = m.guess(s, frames, ra, sp)
	}
	return frames
}

// guess finds return addresses: what the instruction before is a call.
func (m *Machine) guess(s *symbols, frames []Frame, ra, sp uint64) []Frame {
	add := func(v uint64) {
		if v < s.text[0]+4 || v >= s.text[1] || v&1 != 0 {
			return
		}
		w, ok := m.kernel.mem.load(v-4, 4)
		if !ok {
			return
		}
		wide, short := decode(uint32(w)), decode(uint32(w>>16))
		if wide.size == 4 && (wide.op == opJAL || wide.op == opJALR) && wide.rd == 1 || short.size == 2 && short.op == opJALR && short.rd == 1 {
			f := s.frame(v, true)
			f.Guessed = true
			frames = append(frames, f)
		}
	}
	add(ra)
	for off := uint64(0); off < 64<<10 && len(frames) < maxFrames; off += 8 {
		v, ok := m.kernel.mem.load(sp+off, 8)
		if !ok {
			break
		}
		add(v)
	}
	return frames
}

// Word reads 8 bytes of the program's memory, for looking at them. ok is false if
// nothing can be read there.
func (m *Machine) Word(addr uint64) (v uint64, ok bool) { return m.kernel.mem.load(addr, 8) }

// A pclntab is the table by which the Go runtime finds functions.
type pclntab struct {
	text  uint64
	funcs []byte // pairs of offsets: of the entry, of the function's record
	count int
	names []byte
	cu    []byte
	files []byte
	pc    []byte
}

const pclntabMagic = 0xfffffff1

// newPclntab returns nil if the table is of another version.
func newPclntab(b []byte, text uint64) *pclntab {
	le := binary.LittleEndian
	if len(b) < 72 || le.Uint32(b) != pclntabMagic || b[7] != 8 {
		return nil
	}
	part := func(at int) []byte {
		if off := le.Uint64(b[at:]); off <= uint64(len(b)) {
			return b[off:]
		}
		return nil
	}
	t := &pclntab{text: text, count: int(le.Uint64(b[8:])), names: part(32), cu: part(40), files: part(48), pc: part(56), funcs: part(64)}
	if t.count < 0 || t.count > len(t.funcs)/8-1 {
		return nil
	}
	return t
}

type pcFunc struct {
	t      *pclntab
	entry  uint64
	record []byte
}

func (t *pclntab) find(pc uint64) (pcFunc, bool) {
	le := binary.LittleEndian
	entry := func(i int) uint64 { return t.text + uint64(le.Uint32(t.funcs[8*i:])) }
	if t.count == 0 || pc < entry(0) || pc >= entry(t.count) {
		return pcFunc{}, false
	}
	i := sort.Search(t.count, func(i int) bool { return entry(i) > pc }) - 1
	off := int(le.Uint32(t.funcs[8*i+4:]))
	if off+44 > len(t.funcs) {
		return pcFunc{}, false
	}
	return pcFunc{t, entry(i), t.funcs[off:]}, true
}

func (f pcFunc) field(i int) uint32 { return binary.LittleEndian.Uint32(f.record[4*i:]) }

func (f pcFunc) name() string { return cstring(f.t.names, int(f.field(1))) }

// outermost reports whether nothing called the function: it is where a thread or a
// goroutine starts.
func (f pcFunc) outermost() bool {
	switch f.name() {
	case "runtime.goexit", "runtime.mstart", "runtime.rt0_go", "runtime.mcall", "runtime.morestack", "_rt0_riscv64_linux":
		return true
	}
	return false
}

func cstring(b []byte, off int) string {
	if off < 0 || off >= len(b) {
		return ""
	}
	if n := bytes.IndexByte(b[off:], 0); n >= 0 {
		return string(b[off : off+n])
	}
	return ""
}

// value looks a pc up in one of the function's tables.
func (f pcFunc) value(table uint32, pc uint64) int {
	if int(table) >= len(f.t.pc) {
		return -1
	}
	b, at, v := f.t.pc[table:], f.entry, int64(-1)
	for first := true; ; first = false {
		d, n := binary.Uvarint(b)
		if n <= 0 || d == 0 && !first {
			return -1
		}
		step, n2 := binary.Uvarint(b[n:])
		if n2 <= 0 {
			return -1
		}
		v += int64(d>>1) ^ -int64(d&1)
		at += step * 2 // the least instruction has two bytes
		if pc < at {
			return int(v)
		}
		b = b[n+n2:]
	}
}

func (f pcFunc) frameSize(pc uint64) int { return f.value(f.field(4), pc) }

func (f pcFunc) line(pc uint64) (string, int) {
	file := f.value(f.field(5), pc)
	at := (int(f.field(8)) + file) * 4
	if file < 0 || at < 0 || at+4 > len(f.t.cu) {
		return "", 0
	}
	return cstring(f.t.files, int(binary.LittleEndian.Uint32(f.t.cu[at:]))), f.value(f.field(6), pc)
}
