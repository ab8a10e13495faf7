package rv64

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// pieBase is where position-independent programs are loaded.
const pieBase = 0x10_0000_0000

// A segment is a part of a program that is loaded.
type segment struct {
	addr, memory uint64
	perm         uint8
	data         []byte
}

// A program is an executable, taken apart.
type program struct {
	entry    uint64
	headers  uint64 // where the program headers are in memory, 0 if nowhere
	count    int    // of program headers
	segments []segment
	tohost   uint64 // see testEnv
}

const (
	headerSize  = 64
	programSize = 56
)

// parse checks an executable and finds its segments, whose data are borrowed.
func parse(elf []byte) (*program, error) {
	le := binary.LittleEndian
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrBadProgram, fmt.Sprintf(format, args...))
	}
	switch {
	case len(elf) < headerSize || string(elf[:4]) != "\x7fELF":
		return nil, bad("no ELF header")
	case elf[4] != 2 || elf[5] != 1:
		return nil, bad("not 64-bit little-endian")
	case le.Uint16(elf[18:]) != 243:
		return nil, bad("for machine %d, not RISC-V; build with GOOS=linux GOARCH=riscv64", le.Uint16(elf[18:]))
	}
	kind, base := le.Uint16(elf[16:]), uint64(0)
	switch kind {
	case 2:
	case 3:
		base = pieBase
	default:
		return nil, bad("a file of kind %d, not an executable", kind)
	}
	p := &program{entry: base + le.Uint64(elf[24:]), count: int(le.Uint16(elf[56:]))}
	at := le.Uint64(elf[32:])
	if le.Uint16(elf[54:]) != programSize || p.count == 0 || at > uint64(len(elf)) || uint64(p.count)*programSize > uint64(len(elf))-at {
		return nil, bad("its program headers are out of its bounds")
	}
	for i := range p.count {
		h := elf[at+uint64(i)*programSize:]
		off, addr, size, memory := le.Uint64(h[8:]), le.Uint64(h[16:]), le.Uint64(h[32:]), le.Uint64(h[40:])
		switch le.Uint32(h) {
		case 3:
			return nil, bad("dynamically linked; link it statically")
		case 1:
		default:
			continue
		}
		if off > uint64(len(elf)) || size > uint64(len(elf))-off || size > memory || memory > maxMapping ||
			addr > maxMapping || base+addr < mapBottom {
			return nil, bad("segment %d is out of bounds", i)
		}
		if memory == 0 {
			continue
		}
		if at >= off && at+uint64(p.count)*programSize <= off+size {
			p.headers = base + addr + at - off
		}
		flags := le.Uint32(h[4:])
		perm := permOf(uint64(flags>>2&1 | flags&2 | flags<<2&4))
		p.segments = append(p.segments, segment{addr: base + addr, memory: memory, perm: perm, data: elf[off : off+size]})
	}
	if len(p.segments) == 0 {
		return nil, bad("nothing to load")
	}
	if kind == 2 {
		p.tohost = tohostOf(elf)
	}
	return p, nil
}

// tohostOf finds the section .tohost of an executable, and returns its address, or 0 if
// there is none: see testEnv.
func tohostOf(elf []byte) uint64 {
	le := binary.LittleEndian
	const size = 64 // of a section header
	at, count, names := le.Uint64(elf[40:]), uint64(le.Uint16(elf[60:])), uint64(le.Uint16(elf[62:]))
	if le.Uint16(elf[58:]) != size || at > uint64(len(elf)) || count*size > uint64(len(elf))-at || names >= count {
		return 0
	}
	table := le.Uint64(elf[at+names*size+24:])
	for i := range count {
		h := elf[at+i*size:]
		name := table + uint64(le.Uint32(h))
		if name >= uint64(len(elf)) || !bytes.HasPrefix(elf[name:], []byte(".tohost\x00")) {
			continue
		}
		if addr := le.Uint64(h[16:]); le.Uint64(h[8:])&2 != 0 && le.Uint64(h[32:]) >= 8 && addr&7 == 0 { // it is loaded
			return addr
		}
	}
	return 0
}

// loadProgram maps a program. It returns false if there is not enough memory.
func (m *memory) loadProgram(p *program) (end uint64, ok bool) {
	for _, s := range p.segments {
		start := s.addr &^ pageMask
		end = max(end, (s.addr+s.memory+pageMask)&^pageMask)
		m.mapArea(area{start: start, end: (s.addr + s.memory + pageMask) &^ pageMask, perm: permRead | permWrite})
	}
	for _, s := range p.segments {
		if !m.writeBytes(s.addr, s.data) {
			return 0, false
		}
	}
	for _, s := range p.segments {
		m.protect(s.addr&^pageMask, (s.addr+s.memory+pageMask)&^pageMask, s.perm)
	}
	return end, true
}

// Keys of the auxiliary vector.
const (
	atNull, atPhdr, atPhent, atPhnum, atPagesz, atBase, atFlags, atEntry = 0, 3, 4, 5, 6, 7, 8, 9
	atUID, atEUID, atGID, atEGID, atHwcap, atClktck, atSecure            = 11, 12, 13, 14, 16, 17, 23
	atRandom, atExecfn                                                   = 25, 31
)

// hwcap says which single-letter extensions there are.
const hwcap = 1<<('I'-'A') | 1<<('M'-'A') | 1<<('A'-'A') | 1<<('F'-'A') | 1<<('D'-'A') | 1<<('C'-'A')

// start loads the program of the machine and gives it its first thread.
func (k *kernel) start(p *program, args, env []string) error {
	sp, err := k.load(p, args, env)
	if err != nil {
		return err
	}
	t := &thread{id: processID, process: processID, pc: p.entry, altFlags: ssDisable, name: k.name}
	t.x[2] = sp
	k.threads, k.nextID = []*thread{t}, processID+1
	k.resume(t)
	return nil
}

// load loads a program into an empty address space, with its arguments on the stack.
func (k *kernel) load(p *program, args, env []string) (sp uint64, err error) {
	end, ok := k.mem.loadProgram(p)
	if !ok {
		return 0, fmt.Errorf("%w: its segments need more memory than Config.Memory", ErrBadProgram)
	}
	k.openTestEnv(p)
	k.brkStart = end
	k.brk = end
	k.mem.mapArea(area{start: stackTop - stackSize, end: stackTop, perm: permRead | permWrite})
	k.mem.mapArea(area{start: trampoline, end: trampoline + pageSize, perm: permRead | permWrite})
	k.mem.store(trampoline, 4, uint64(encI(0x13, 0, 17, 0, 139))) // li a7, rt_sigreturn
	k.mem.store(trampoline+4, 4, 0x73)                            // ecall
	k.mem.protect(trampoline, trampoline+pageSize, permRead|permExec)

	var text []byte // what pointers on the stack point to, at its top
	k.strings.args = []byte(strings.Join(args, "\x00") + "\x00")
	k.strings.env = nil
	for _, s := range env {
		k.strings.env = append(append(k.strings.env, s...), 0)
	}
	if len(k.strings.args)+len(k.strings.env) > maxArguments {
		return 0, fmt.Errorf("rv64: %d bytes of arguments and environment are too many", len(k.strings.args)+len(k.strings.env))
	}
	var random [16]byte
	k.noise.read(random[:])
	text = append(text, random[:]...)
	text = append(text, k.exe...)
	text = append(text, 0)
	argsAt := len(text)
	text = append(text, k.strings.args...)
	envAt := len(text)
	text = append(text, k.strings.env...)
	base := (stackTop - uint64(len(text)) - 16) &^ 15

	var words []uint64
	words = append(words, uint64(len(args)))
	words = pointers(words, base+uint64(argsAt), args)
	words = pointers(words, base+uint64(envAt), env)
	auxv := []uint64{
		atPhdr, p.headers, atPhent, programSize, atPhnum, uint64(p.count), atPagesz, pageSize, atBase, 0, atFlags, 0,
		atEntry, p.entry, atUID, 0, atEUID, 0, atGID, 0, atEGID, 0, atHwcap, hwcap, atClktck, 100, atSecure, 0,
		atRandom, base, atExecfn, base + 16, atNull, 0,
	}
	words = append(words, auxv...)
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	k.strings.auxv = b[len(b)-8*len(auxv):]
	sp = (base - uint64(len(b))) &^ 15
	if !k.mem.writeBytes(base, text) || !k.mem.writeBytes(sp, b) {
		return 0, fmt.Errorf("%w: its stack needs more memory than Config.Memory", ErrBadProgram)
	}
	return sp, nil
}

// pointers appends the addresses of strings that lie one after the other, and 0.
func pointers(words []uint64, at uint64, list []string) []uint64 {
	for _, s := range list {
		words = append(words, at)
		at += uint64(len(s)) + 1
	}
	return append(words, 0)
}
