package rv64

import (
	"fmt"
	"strconv"
	"strings"
)

// A deviceKind is a file that the kernel answers for.
type deviceKind uint8

const (
	deviceNone deviceKind = iota
	deviceNull
	deviceZero
	deviceRandom
	deviceTTY // there is none to open
	deviceFDs // the directory /proc/self/fd
	deviceMaps
	deviceStatus
	deviceStat
	deviceCPUInfo
	deviceMemInfo
	deviceCmdline
	deviceEnviron
	deviceConst // text that never changes, in the inode's target
	deviceAuxv
	deviceMounts
	deviceExe // the links in /proc/self
	deviceCwd
)

// number is the device number, as stat shows it.
func (d deviceKind) number() uint64 {
	switch d {
	case deviceNull:
		return 1<<8 | 3
	case deviceZero:
		return 1<<8 | 5
	case deviceRandom:
		return 1<<8 | 9
	case deviceTTY:
		return 5 << 8
	}
	return 0
}

// furnish puts the devices and /proc into the tree.
func (k *kernel) furnish() {
	d, now := k.disk, k.realtime()
	special := func(path string, mode uint32, kind deviceKind) {
		in := d.add(mode, now)
		in.device = kind
		d.place(path, in, now)
	}
	special("/dev/null", sIFCHR|0o666, deviceNull)
	special("/dev/zero", sIFCHR|0o666, deviceZero)
	special("/dev/random", sIFCHR|0o666, deviceRandom)
	special("/dev/urandom", sIFCHR|0o666, deviceRandom)
	special("/dev/tty", sIFCHR|0o666, deviceTTY)
	for _, f := range []struct {
		path string
		kind deviceKind
	}{
		{"/proc/self/maps", deviceMaps}, {"/proc/self/status", deviceStatus}, {"/proc/self/stat", deviceStat},
		{"/proc/self/cmdline", deviceCmdline}, {"/proc/self/environ", deviceEnviron}, {"/proc/self/auxv", deviceAuxv},
		{"/proc/self/mounts", deviceMounts}, {"/proc/self/mountinfo", deviceMounts},
		{"/proc/cpuinfo", deviceCPUInfo}, {"/proc/meminfo", deviceMemInfo},
	} {
		special(f.path, sIFREG|0o444, f.kind)
	}
	for _, f := range [][2]string{
		{"/proc/sys/kernel/osrelease", osRelease + "\n"}, {"/proc/sys/kernel/hostname", k.set.hostname + "\n"},
		{"/proc/sys/kernel/pid_max", "32768\n"}, {"/proc/sys/net/core/somaxconn", "4096\n"},
		{"/proc/sys/vm/overcommit_memory", "1\n"}, {"/proc/sys/vm/max_map_count", strconv.Itoa(maxAreas) + "\n"},
		{"/proc/version", "Linux version " + osRelease + "\n"}, {"/proc/filesystems", "nodev\ttmpfs\n"},
		{"/proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n"}, {"/proc/loadavg", "0.00 0.00 0.00 1/1 1000\n"},
		{"/sys/devices/system/cpu/online", "0\n"}, {"/sys/devices/system/cpu/possible", "0\n"},
	} {
		special(f[0], sIFREG|0o444, deviceConst)
		at, _ := k.walk(atFDCWD, f[0], false)
		at.in.target = f[1]
	}
	for _, f := range [][2]string{
		{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"},
		{"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"}, {"/proc/" + strconv.Itoa(processID), "self"},
		{"/proc/thread-self", "self"},
	} {
		in := d.add(sIFLNK|0o777, now)
		in.target = f[1]
		d.place(f[0], in, now)
	}
	special("/proc/self/exe", sIFLNK|0o777, deviceExe)
	special("/proc/self/cwd", sIFLNK|0o777, deviceCwd)
	d.mkdirAll("/proc/self/fd", now).device = deviceFDs
	tmp := d.mkdirAll("/tmp", now)
	tmp.mode = sIFDIR | 0o1777
}

// linkTarget is where a symbolic link leads.
func (k *kernel) linkTarget(in *inode) string {
	switch in.device {
	case deviceExe:
		return k.exe
	case deviceCwd:
		return k.disk.path(k.cwd)
	}
	return in.target
}

func (k *kernel) descriptorNames() (names []dirent) {
	for fd := range k.fds {
		if k.fds[fd].file >= 0 {
			names = append(names, dirent{strconv.Itoa(fd), 1<<21 + fd})
		}
	}
	return names
}

// snapshot is the content of a file in /proc at this moment.
func (k *kernel) snapshot(in *inode) []byte {
	var b strings.Builder
	switch in.device {
	case deviceConst:
		b.WriteString(in.target)
	case deviceMaps:
		for _, a := range k.mem.areas {
			k.mapsLine(&b, a)
		}
	case deviceStatus:
		fmt.Fprintf(&b, "Name:\t%s\nUmask:\t%04o\nState:\tR (running)\nTgid:\t%d\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"+
			"VmSize:\t%d kB\nVmRSS:\t%d kB\nThreads:\t%d\nCpus_allowed:\t1\n",
			k.name, k.umask, k.id, k.id, k.parent, k.mem.areas.bytes()>>10, k.mem.resident*pageSize>>10, k.threadsOf())
	case deviceStat:
		fmt.Fprintf(&b, "%d (%s) R %d %d %d 0 -1 0 0 0 0 0 %d 0 0 0 20 0 %d 0 0 %d %d\n", k.id, k.name, k.parent, k.group, k.session,
			k.cpu.count*k.set.tick/1e7, k.threadsOf(), k.mem.areas.bytes(), k.mem.resident)
	case deviceCPUInfo:
		b.WriteString("processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdc_zicsr_zifencei_zba_zbb_zbs\nmmu\t\t: sv39\n\n")
	case deviceMemInfo:
		total := k.mem.limit * (pageSize >> 10)
		free := total - k.mem.resident*(pageSize>>10)
		fmt.Fprintf(&b, "MemTotal:       %8d kB\nMemFree:        %8d kB\nMemAvailable:   %8d kB\nSwapTotal:      0 kB\nSwapFree:       0 kB\n", total, free, free)
	case deviceCmdline:
		b.Write(k.strings.args)
	case deviceEnviron:
		b.Write(k.strings.env)
	case deviceAuxv:
		b.Write(k.strings.auxv)
	case deviceMounts:
		b.WriteString("root / tmpfs rw 0 0\n")
		if k.mount.root != 0 {
			b.WriteString("shared " + k.disk.path(k.mount.root) + " shared rw 0 0\n")
		}
	}
	return []byte(b.String())
}

func (k *kernel) mapsLine(b *strings.Builder, a area) {
	perm := []byte("---p")
	for i, c := range "rwx" {
		if a.perm>>i&1 != 0 {
			perm[i] = byte(c)
		}
	}
	if a.shared {
		perm[3] = 's'
	}
	name := ""
	switch {
	case a.start == k.brkStart && k.brk > k.brkStart:
		name = "[heap]"
	case a.end == stackTop:
		name = "[stack]"
	case a.start == trampoline:
		name = "[vdso]"
	case a.inode != 0 && k.disk.inode(a.inode) != nil:
		name = k.exe
	}
	line := fmt.Sprintf("%x-%x %s %08x 00:01 %d ", a.start, a.end, perm, a.offset, a.inode)
	if name != "" {
		line = fmt.Sprintf("%-73s%s", line, name)
	}
	b.WriteString(line + "\n")
}
