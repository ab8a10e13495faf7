package rv64

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

const (
	maxArguments   = stackSize / 4 // bytes of arguments and environment
	maxInterpreter = 255           // bytes of a line that starts with #!
	maxScripts     = 4             // that are interpreted by scripts
)

// stringList reads an array of pointers to strings, which ends with a zero.
func (k *kernel) stringList(addr uint64, room *int) (list []string, errno int64) {
	for ; addr != 0; addr += 8 {
		at, ok := k.mem.load(addr, 8)
		if !ok {
			return nil, -eFAULT
		}
		if at == 0 {
			break
		}
		s, ok := k.mem.readString(at, max(*room, 1))
		if !ok {
			if k.mem.fault.kind == faultNone {
				return nil, -e2BIG
			}
			return nil, -eFAULT
		}
		if *room -= len(s) + 9; *room < 0 {
			return nil, -e2BIG
		}
		list = append(list, s)
	}
	return list, 0
}

// executable reads the file of a path and takes it apart. If it is a script, that is the
// file of its interpreter, with arguments put before those that there are.
func (k *kernel) executable(name string, args []string) (p *program, exe string, out []string, errno int64) {
	for range maxScripts {
		at, errno := k.walk(atFDCWD, name, true)
		switch {
		case errno != 0:
			return nil, "", nil, errno
		case at.in == nil:
			return nil, "", nil, -eNOENT
		case at.in.mode&sIFMT != sIFREG || at.in.mode&0o111 == 0 || at.in.device != deviceNone || at.in.body != 0:
			return nil, "", nil, -eACCES
		}
		b := make([]byte, at.in.size)
		at.in.read(b, 0)
		if !bytes.HasPrefix(b, []byte("#!")) {
			p, err := parse(b)
			if err != nil {
				return nil, "", nil, -eNOEXEC
			}
			return p, strings.TrimSuffix(k.disk.path(at.dir.id), "/") + "/" + at.name, args, 0
		}
		line, _, found := bytes.Cut(b[:min(len(b), maxInterpreter)], []byte("\n"))
		words := strings.SplitN(strings.Trim(string(line[2:]), " \t"), " ", 2)
		if !found && len(b) > maxInterpreter || words[0] == "" {
			return nil, "", nil, -eNOEXEC
		}
		if len(words) == 2 {
			words[1] = strings.TrimLeft(words[1], " \t")
		}
		args = slices.Concat(words, []string{name}, args[min(len(args), 1):])
		name = words[0]
	}
	return nil, "", nil, -eLOOP
}

// sysExecve replaces the program of a process.
func sysExecve(k *kernel, t *thread, a *[6]uint64) int64 {
	name, errno := k.path(a[0])
	if errno != 0 {
		return errno
	}
	room := maxArguments - 1024
	args, errno := k.stringList(a[1], &room)
	if errno != 0 {
		return errno
	}
	env, errno := k.stringList(a[2], &room)
	if errno != 0 {
		return errno
	}
	p, exe, args, errno := k.executable(name, args)
	if errno != 0 {
		return errno
	}
	// The new address space is made beside the old one, which stays if that fails.
	old := *k.process
	k.mem = newMemory(0)
	k.activate(k.process)
	k.exe, k.name = exe, path.Base(name)[:min(len(path.Base(name)), 15)]
	sp, err := k.load(p, args, env)
	if err != nil {
		*k.process = old
		k.activate(k.process)
		return -eNOMEM
	}
	if new := k.mem; old.mem != nil {
		k.mem = old.mem
		k.flushAll(0, addressEnd)
		k.mem = new
	}
	k.endThreads(t)
	*t = thread{id: k.id, process: k.id, mask: t.mask, pending: t.pending, pc: p.entry, altFlags: ssDisable, name: k.name}
	t.x[2] = sp
	slices.SortFunc(k.threads, func(a, b *thread) int { return a.id - b.id })
	for i := range k.actions {
		if k.actions[i].handler != sigIgnore {
			k.actions[i] = sigAction{}
		}
	}
	for fd := range k.fds {
		if k.fds[fd].file >= 0 && k.fds[fd].cloexec {
			k.closeDescriptor(fd)
		}
	}
	k.releaseVfork(k.process)
	turn := k.turnEnd
	k.resume(t)
	k.turnEnd = turn
	return callReturnsItself
}
