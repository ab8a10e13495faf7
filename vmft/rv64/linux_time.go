package rv64

import (
	"encoding/binary"
)

// readTimespec reads a duration or a time in ns.
func (k *kernel) readTimespec(addr uint64) (ns, errno int64) {
	var b [16]byte
	if !k.mem.readBytes(addr, b[:]) {
		return 0, -eFAULT
	}
	sec, nsec := int64(binary.LittleEndian.Uint64(b[:])), int64(binary.LittleEndian.Uint64(b[8:]))
	if sec < 0 || nsec < 0 || nsec >= 1e9 {
		return 0, -eINVAL
	}
	return nanoseconds(sec, nsec), 0
}

// nanoseconds saturates at a time that is never reached.
func nanoseconds(sec, nsec int64) int64 {
	if sec > 2e9 {
		return 2e18
	}
	return sec*1e9 + nsec
}

func (k *kernel) writeTimespec(addr uint64, ns int64) int64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(ns/1e9))
	binary.LittleEndian.PutUint64(b[8:], uint64(ns%1e9))
	if !k.mem.writeBytes(addr, b[:]) {
		return -eFAULT
	}
	return 0
}

// fromRealtime gives the monotonic time of a time on the wall clock, at least 1.
func (k *kernel) fromRealtime(ns int64) uint64 {
	return uint64(max(ns-k.set.start+1e9, 1))
}

// clock reads a clock. Processor time is the instructions' alone.
func (k *kernel) clock(id uint64) (ns int64, ok bool) {
	switch int32(id) {
	case 0, 5, 8, 11: // realtime, coarse, alarm, TAI
		return k.realtime(), true
	case 1, 4, 6, 7, 9: // monotonic, raw, coarse, boottime, its alarm
		return int64(k.monotonic()), true
	case 2, 3: // of the process, of the thread
		return int64(k.cpu.count * k.set.tick), true
	}
	if int32(id) < 0 { // of a process or thread by number
		return int64(k.cpu.count * k.set.tick), true
	}
	return 0, false
}

func sysClockGettime(k *kernel, _ *thread, a *[6]uint64) int64 {
	ns, ok := k.clock(a[0])
	if !ok {
		return -eINVAL
	}
	return k.writeTimespec(a[1], ns)
}

func sysClockGetres(k *kernel, _ *thread, a *[6]uint64) int64 {
	if _, ok := k.clock(a[0]); !ok {
		return -eINVAL
	}
	if a[1] == 0 {
		return 0
	}
	return k.writeTimespec(a[1], 1)
}

func sysGettimeofday(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0] == 0 {
		return 0
	}
	now := k.realtime()
	if !k.mem.store(a[0], 8, uint64(now/1e9)) || !k.mem.store(a[0]+8, 8, uint64(now%1e9/1000)) {
		return -eFAULT
	}
	return 0
}

func sysNanosleep(k *kernel, t *thread, a *[6]uint64) int64 {
	return k.sleep(t, a[0], a[1], func(ns int64) uint64 { return k.monotonic() + uint64(ns) })
}

func sysClockNanosleep(k *kernel, t *thread, a *[6]uint64) int64 {
	if _, ok := k.clock(a[0]); !ok {
		return -eINVAL
	}
	absolute := a[1]&1 != 0
	rest := a[3]
	if absolute {
		rest = 0
	}
	return k.sleep(t, a[2], rest, func(ns int64) uint64 {
		switch {
		case !absolute:
			return k.monotonic() + uint64(ns)
		case int32(a[0]) == 0:
			return k.fromRealtime(ns)
		}
		return uint64(max(ns, 1))
	})
}

func (k *kernel) sleep(t *thread, request, rest uint64, until func(ns int64) uint64) int64 {
	if t.timedOut {
		return 0
	}
	ns, errno := k.readTimespec(request)
	if errno != 0 {
		return errno
	}
	deadline := until(ns)
	if deadline <= k.monotonic() {
		return 0
	}
	if rest != 0 {
		// Should a signal come, this is too much by what has been slept: the program
		// sleeps longer than it wanted, which sleep never excludes.
		if errno := k.writeTimespec(rest, int64(deadline-k.monotonic())); errno != 0 {
			return errno
		}
	}
	return k.wait(t, waitSleep, deadline)
}

// An alarm is a timer that sends a signal.
type alarm struct {
	deadline, interval uint64 // monotonic ns; 0: off
}

func sysSetitimer(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0] != 0 {
		return -eINVAL // those of processor time
	}
	al := &k.alarms[0]
	old := *al
	if a[1] != 0 {
		var b [32]byte
		if !k.mem.readBytes(a[1], b[:]) {
			return -eFAULT
		}
		var v [4]int64
		for i := range v {
			v[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
			if v[i] < 0 || i&1 == 1 && v[i] >= 1e6 {
				return -eINVAL
			}
		}
		*al = repeated(nanoseconds(v[0], v[1]*1000))
		if first := nanoseconds(v[2], v[3]*1000); first != 0 {
			al.deadline = k.monotonic() + uint64(first)
		}
		k.findDue()
	}
	if a[2] != 0 {
		return k.writeTimer(a[2], old, 1000)
	}
	return 0
}

func sysGetitimer(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0] != 0 {
		return -eINVAL
	}
	return k.writeTimer(a[1], k.alarms[0], 1000)
}

// writeTimer writes an itimerval or itimerspec, whose fractions are of unit ns.
func (k *kernel) writeTimer(addr uint64, al alarm, unit uint64) int64 {
	left := uint64(0)
	if al.deadline != 0 {
		left = al.deadline - k.monotonic()
	}
	var b [32]byte
	for i, v := range []uint64{al.interval / 1e9, al.interval % 1e9 / unit, left / 1e9, left % 1e9 / unit} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	if !k.mem.writeBytes(addr, b[:]) {
		return -eFAULT
	}
	return 0
}

// repeated is a timer that goes off every so many ns, or once if that is 0.
func repeated(ns int64) alarm {
	if ns == 0 {
		return alarm{}
	}
	return alarm{interval: max(uint64(ns), leastInterval)}
}

// leastInterval is how often a timer goes off at most.
const leastInterval = 10_000 // ns

// advance moves an alarm past now and returns how often it went off.
func (al *alarm) advance(now uint64) (times uint64) {
	if al.deadline == 0 || al.deadline > now {
		return 0
	}
	if al.interval == 0 {
		al.deadline = 0
		return 1
	}
	times = (now-al.deadline)/al.interval + 1
	al.deadline += times * al.interval
	return times
}

// expireTimers lets alarms and timer descriptors go off.
func (k *kernel) expireTimers(now uint64) {
	for _, p := range k.procs {
		if p.alarms[0].advance(now) > 0 {
			k.in(p, func() { k.post(nil, signalInfo{number: sigALRM, code: 0x80}) })
		}
	}
	if k.timers == 0 {
		return
	}
	for _, f := range k.files {
		if f != nil && f.kind == kindTimer {
			if n := f.timer.advance(now); n > 0 {
				f.counter += n
				k.changed(f)
			}
		}
	}
}

func (k *kernel) dueTimers() {
	for _, p := range k.procs {
		if d := p.alarms[0].deadline; d != 0 {
			k.due = min(k.due, d)
		}
	}
	if k.timers == 0 {
		return
	}
	for _, f := range k.files {
		if f != nil && f.kind == kindTimer && f.timer.deadline != 0 {
			k.due = min(k.due, f.timer.deadline)
		}
	}
}

func sysTimerfdCreate(k *kernel, _ *thread, a *[6]uint64) int64 {
	if a[0] > 9 || a[1]&^(oNONBLOCK|oCLOEXEC) != 0 {
		return -eINVAL
	}
	f := &file{kind: kindTimer, flags: int(a[1]&oNONBLOCK) | oRDWR, counter: 0, clockID: int(a[0])}
	return k.install(f, a[1]&oCLOEXEC != 0)
}

func sysTimerfdSettime(k *kernel, _ *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	if f == nil {
		return -eBADF
	}
	if f.kind != kindTimer || a[1]&^3 != 0 {
		return -eINVAL
	}
	interval, errno := k.readTimespec(a[2])
	if errno != 0 {
		return errno
	}
	first, errno := k.readTimespec(a[2] + 16)
	if errno != 0 {
		return errno
	}
	old := f.timer
	f.timer, f.counter = repeated(interval), 0
	switch {
	case first == 0:
	case a[1]&1 == 0:
		f.timer.deadline = k.monotonic() + uint64(first)
	case f.clockID == 0:
		f.timer.deadline = k.fromRealtime(first)
	default:
		f.timer.deadline = uint64(first)
	}
	k.findDue()
	if a[3] != 0 {
		return k.writeTimer(a[3], old, 1)
	}
	return 0
}

func sysTimerfdGettime(k *kernel, _ *thread, a *[6]uint64) int64 {
	f := k.file(int(int32(a[0])))
	if f == nil {
		return -eBADF
	}
	if f.kind != kindTimer {
		return -eINVAL
	}
	return k.writeTimer(a[1], f.timer, 1)
}
