package vmft

// Receive is what a node does with a message.
func (s *simNode) Receive(from int, m *simMessage) {
	switch m.kind {
	case simCall, simRead:
		s.serve(from, m)
	case simChain:
		s.heardChain(m)
	case simBeat:
		s.heardBeat(m)
	case simJoin:
		if s.p != nil && !s.p.fenced && !s.p.sealed && s.p.record.Backup.IsZero() && s.p.claim.Epoch == 0 && s.p.peer.member.IsZero() {
			s.n.Send(from, &simMessage{kind: simImage, session: m.session, member: s.self, record: s.p.record, image: s.machine})
		} else if s.p != nil && s.p.record.Backup.Addr == m.member.Addr && s.p.record.Backup.Incarnation != m.member.Incarnation {
			s.p.lose() // the backup was started again
		}
	case simImage:
		s.takeImage(m)
	case simAttach:
		if s.p != nil && s.p.attach(m.member, m.session, m.position) {
			s.next = m.position
			s.pulse.heard()
			s.feed(true)
		} else {
			s.n.Send(from, &simMessage{kind: simLost, session: m.session})
		}
	case simEntries:
		s.takeEntries(from, m)
	case simAck:
		if s.p != nil && s.p.ack(m.session, m.position, m.round) {
			if m.position >= s.next {
				s.ackedAt = s.n.Now()
			}
			s.pulse.heard()
			s.p.heard()
		}
	case simLost:
		if s.b != nil && m.session == s.b.session && !s.b.joined() && !s.b.sealed && s.b.claim.Epoch == 0 && !s.b.primary.IsZero() {
			s.leave("is not wanted")
		}
	case simTold:
		if s.b != nil {
			s.b.told(m.record)
		}
	}
	s.pump()
}

func (s *simNode) serve(from int, m *simMessage) {
	if s.p == nil || s.p.fenced || !s.p.heir.IsZero() {
		s.n.Send(from, &simMessage{kind: simElsewhere, id: m.id})
		return
	}
	// The reply's position says whom it goes to.
	if m.kind == simRead {
		result := s.machine.read()
		s.reads = append(s.reads, simRead1{
			reply:    &simMessage{kind: simReply, id: m.id, seq: m.seq, result: result, position: uint64(from)},
			position: s.machine.position, round: s.p.ask(),
		})
		return
	}
	result := s.propose(simEntry{client: m.client, seq: m.seq})
	reply := &simMessage{kind: simReply, seq: m.seq, result: result, position: uint64(from)}
	s.sync()
	if !s.outputs.push(s.machine.position, reply) {
		s.n.Failf("position %d was released before it was there", s.machine.position)
	}
}

func (s *simNode) heardBeat(m *simMessage) {
	if s.p != nil {
		switch {
		case m.session == s.p.peer.session && m.session != 0:
			s.pulse.heard()
			s.p.heard()
		case m.member.Addr == s.p.peer.member.Addr && m.member.Incarnation != s.p.peer.member.Incarnation:
			s.p.lose() // another incarnation: the one we knew has gone
		}
	}
}

func (s *simNode) heardChain(m *simMessage) {
	if m.id != s.asked {
		return
	}
	s.asked = 0
	switch {
	case s.p != nil && s.p.claim.Epoch != 0:
		if m.record.Epoch == s.p.claim.Epoch {
			s.p.claimed(m.record)
		}
	case s.p != nil:
		s.p.saw(m.record)
	case s.b == nil:
	case s.b.claim.Epoch != 0:
		s.b.claimed(m.record)
	default:
		s.b.saw(m.record)
	}
}

// takeImage begins a life as a clone, if an image was asked for.
func (s *simNode) takeImage(m *simMessage) {
	if m.session != s.joining || s.joining == 0 || s.p != nil || s.pending != 0 {
		return
	}
	if s.b.claim.Epoch != 0 || s.b.live || m.record.Epoch < s.b.record.Epoch || m.record.entitles(s.self) {
		return
	}
	session := s.joining
	s.reborn()
	s.fresh = false
	s.machine = m.image
	s.entries, s.base, s.logBase = nil, m.image.position, m.image.position
	clear(s.syncs)
	s.b = newCandidate(s.self, m.member, m.record, 0, m.image.position)
	s.b.bugs = s.bugs
	s.tries = 0
	if !s.durable {
		s.b.session = session
		s.n.Count("clones", 1)
		s.attach()
		return
	}
	// The image is staged beside the old journal, and made durable there.
	if s.bugs.mixedClone && s.disk.current != 0 { // not beside it, but into it
		image := m.image
		s.disk.mixed, s.self.Log = &image, s.disk.current
		s.b.self, s.journal = s.self, s.open(s.self.Log)
		s.pending, s.staged = session, m.image.position
		s.sync()
		return
	}
	s.self.Log = ID(s.id())
	s.b.self = s.self
	s.journal = s.open(s.self.Log)
	image := m.image
	s.journal.Append(simItem{image: &image})
	s.pending, s.staged = session, m.image.position
	s.sync()
}

// installed switches to the clone's journal, which is durable now.
func (s *simNode) installed() {
	s.disk.current = s.self.Log
	s.b.session, s.pending = s.pending, 0
	s.n.Count("clones", 1)
	s.attach()
}

func (s *simNode) attach() {
	for _, peer := range s.peers {
		if simName(peer) == s.b.primary.Addr {
			s.n.Send(peer, &simMessage{kind: simAttach, member: s.self, session: s.b.session, position: s.b.received})
		}
	}
}

// takeEntries takes the log on.
func (s *simNode) takeEntries(from int, m *simMessage) {
	b := s.b
	if b == nil || m.session != b.session || b.session == 0 || m.member.Incarnation != b.primary.Incarnation {
		if b == nil || b.primary.IsZero() {
			s.n.Send(from, &simMessage{kind: simBeat, member: s.self}) // whom it looks for is gone
		}
		return
	}
	s.pulse.heard()
	b.heard()
	s.tries, s.alone = 0, false
	if !b.told(m.record) || m.position > b.received {
		return // a gap: it will be sent again
	}
	entries := m.entries[min(uint64(len(m.entries)), b.received-m.position):]
	if !b.receive(m.session, b.received+uint64(len(entries)), m.round) {
		return
	}
	for _, e := range entries {
		s.store(e)
	}
	if len(entries) > 0 {
		s.sync()
	}
	if position, round, news := b.ack(); news || len(m.entries) > 0 {
		s.ackTo(position, round)
	}
}
