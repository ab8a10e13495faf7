package sim

import "time"

// begin schedules the first of each fault, and their end.
func (w *World[M]) begin() {
	w.started = true
	w.cuts = append(w.cuts[:0], make([]uint8, len(w.nodes)*len(w.nodes))...)
	w.schedule(int64(w.cfg.Chaos), event[M]{kind: kindCalm})
	w.again(kindCrash, w.profile.CrashEvery)
	w.again(kindPartition, w.profile.PartitionEvery)
	w.again(kindPause, w.profile.PauseEvery)
}

// again schedules the next of a recurring fault.
func (w *World[M]) again(kind eventKind, every time.Duration) {
	if every > 0 {
		w.schedule(w.now+w.exp(every), event[M]{kind: kind})
	}
}

// exp draws a time from an exponential distribution.
func (w *World[M]) exp(mean time.Duration) int64 {
	return int64(float64(mean)*w.chaos.ExpFloat64()) + 1
}

func (w *World[M]) chance(p float64) bool { return p > 0 && w.chaos.Float64() < p }

func (w *World[M]) drawN(limit uint64) uint64 { return w.chaos.Uint64N(limit) }

// send hands a message to the network.
func (w *World[M]) send(from, to *Node[M], m M) {
	w.stats.Sent++
	f := &w.profile
	if !w.calm && w.chance(f.Loss) {
		w.stats.Lost++
		if w.trace != nil {
			w.tracef("    %s ⇢ %s lost: %v", from.name, to.name, m)
		}
		return
	}
	e := event[M]{kind: kindMessage, node: int32(to.id), arg: int32(from.id), msg: m}
	w.queue.add(w.now+w.delay(), e)
	if !w.calm && w.chance(f.Duplicate) {
		w.stats.Duplicated++
		w.queue.add(w.now+w.delay(), e)
	}
}

// delay draws the time that a message takes.
func (w *World[M]) delay() int64 {
	longest := uint64(w.profile.Delay)
	if !w.calm && w.chance(w.profile.Straggle) {
		w.stats.Straggled++
		longest *= 50
	}
	return int64(longest/100 + w.chaos.Uint64N(longest))
}

func (n *Node[M]) sync(log int32, pos int64, key uint64) {
	w := n.w
	longest := uint64(w.profile.Sync)
	at := w.now + int64(longest/10+w.chaos.Uint64N(longest))
	w.schedule(at, event[M]{kind: kindSync, node: int32(n.id), boot: n.incarnation, arg: log, pos: pos, key: key})
}

// perform makes an event happen, and reports whether anything did: a message to
// a dead node, a stopped timer and the like are no step.
func (w *World[M]) perform(k eventKey) bool {
	e := w.queue.bodies[k.body]
	if e.kind >= kindCrash {
		w.queue.free(k.body)
		return w.fault(e)
	}
	n := w.nodes[e.node]
	if n.paused > w.now && e.kind != kindStart {
		w.queue.push(n.paused, k.body)
		return false
	}
	w.queue.free(k.body)
	switch e.kind {
	case kindStart:
		if n.proc != nil {
			return false
		}
	case kindMessage:
		if w.cuts[int(e.arg)*len(w.nodes)+int(e.node)] > 0 {
			w.stats.Cut++
			return false
		}
		if n.proc == nil {
			w.stats.Dead++
			return false
		}
	default:
		if n.proc == nil || e.boot != n.incarnation {
			return false
		}
	}
	w.step(e)
	switch e.kind {
	case kindStart:
		w.traceEvent("%s boots", n.name)
		n.start()
	case kindMessage:
		w.stats.Delivered++
		if w.trace != nil {
			w.traceEvent("%s ⇠ %s: %v", n.name, w.nodes[e.arg].name, e.msg)
		}
		n.proc.Receive(int(e.arg), e.msg)
	case kindTimer:
		w.stats.Timers++
		if w.trace != nil {
			w.traceEvent("%s timer %d", n.name, e.key)
		}
		n.proc.Timer(e.key)
	case kindSync:
		w.stats.Syncs++
		if w.trace != nil {
			w.traceEvent("%s synced to %d", n.name, e.pos)
		}
		n.logs[e.arg].synced(e.pos)
		n.proc.Timer(e.key)
	}
	return true
}

// step counts an event and mixes it into the digest.
func (w *World[M]) step(e event[M]) {
	w.stats.Steps++
	h := w.digest
	for _, v := range [...]uint64{uint64(w.now), uint64(e.kind)<<56 | uint64(uint32(e.node))<<28 ^ uint64(uint32(e.arg)), e.key} {
		h = (h ^ v) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	w.digest = h
}

func (w *World[M]) traceEvent(format string, args ...any) {
	if w.trace != nil {
		w.tracef("%6d %11.6fs "+format, append([]any{w.stats.Steps, time.Duration(w.now).Seconds()}, args...)...)
	}
}

// fault makes something go wrong.
func (w *World[M]) fault(e event[M]) bool {
	if w.calm {
		return false
	}
	w.step(e)
	switch e.kind {
	case kindCrash:
		w.again(kindCrash, w.profile.CrashEvery)
		if n := w.victim(); n != nil {
			w.Crash(n.id)
			w.schedule(w.now+w.exp(w.profile.Down), event[M]{kind: kindStart, node: int32(n.id)})
		}
	case kindPartition:
		w.again(kindPartition, w.profile.PartitionEvery)
		w.partition()
	case kindHeal:
		w.heal(int(e.arg))
	case kindPause:
		w.again(kindPause, w.profile.PauseEvery)
		if n := w.victim(); n != nil {
			w.Pause(n.id, time.Duration(w.exp(w.profile.Pause)))
		}
	case kindCalm:
		w.repair()
	}
	return true
}

// victim draws a mortal node that is up, or nil.
func (w *World[M]) victim() *Node[M] {
	if len(w.nodes) == 0 {
		return nil
	}
	n := w.nodes[w.chaos.IntN(len(w.nodes))]
	if !n.mortal || n.proc == nil {
		return nil
	}
	return n
}

// Crash stops a node, which stays down until Restart.
func (w *World[M]) Crash(id int) {
	n := w.nodes[id]
	if n.proc == nil {
		return
	}
	w.traceEvent("%s crashes", n.name)
	n.crash()
}

// Restart boots a node that is down, as an event of its own.
func (w *World[M]) Restart(id int) {
	w.schedule(w.now, event[M]{kind: kindStart, node: int32(id)})
}

// Pause makes a node do nothing for d; then it finds all that has come for it.
func (w *World[M]) Pause(id int, d time.Duration) {
	n := w.nodes[id]
	w.stats.Pauses++
	w.traceEvent("%s pauses for %v", n.name, d)
	n.paused = max(n.paused, w.now+int64(d))
}

// Cut makes the network lose what from sends to to, until Heal. It is for worlds
// whose nodes have all been added.
func (w *World[M]) Cut(from, to int) {
	w.begun()
	if c := &w.cuts[from*len(w.nodes)+to]; *c < 255 {
		*c++
	}
}

// Heal undoes one Cut.
func (w *World[M]) Heal(from, to int) {
	w.begun()
	if c := &w.cuts[from*len(w.nodes)+to]; *c > 0 {
		*c--
	}
}

// begun makes sure that the table of links is there.
func (w *World[M]) begun() {
	if !w.started {
		w.begin()
	}
}

// partition draws two groups and cuts the links between them, or those in one
// direction.
func (w *World[M]) partition() {
	n := len(w.nodes)
	side := w.chaos.Uint64()
	oneWay := w.chaos.Uint64()&1 == 0
	var p partition
	for from := range n {
		for to := range n {
			a, b := side>>(from%64)&1, side>>(to%64)&1
			if a == b || oneWay && a == 0 {
				continue
			}
			link := int32(from*n + to)
			if w.cuts[link] < 255 {
				w.cuts[link]++
				p.links = append(p.links, link)
			}
		}
	}
	w.stats.Partitions++
	w.traceEvent("partition %d cuts %d links", len(w.parts), len(p.links))
	w.parts = append(w.parts, p)
	w.schedule(w.now+w.exp(w.profile.Partition), event[M]{kind: kindHeal, arg: int32(len(w.parts) - 1)})
}

func (w *World[M]) heal(i int) {
	p := &w.parts[i]
	if p.healed {
		return
	}
	p.healed = true
	w.traceEvent("partition %d heals", i)
	for _, link := range p.links {
		if w.cuts[link] > 0 { // unless Heal was there before
			w.cuts[link]--
		}
	}
	p.links = nil
}

// repair ends all faults.
func (w *World[M]) repair() {
	w.traceEvent("calm")
	w.calm = true
	clear(w.cuts)
	for i := range w.parts {
		w.parts[i] = partition{healed: true}
	}
	for _, n := range w.nodes {
		n.paused = 0
		n.steadyClock()
		w.schedule(w.now, event[M]{kind: kindStart, node: int32(n.id)})
	}
}
