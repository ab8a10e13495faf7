package gfs

// maxPolicies bounds how many directories may have a policy.
const maxPolicies = 1 << 16

// A policyRow is the policy of a directory, and if that sets a quota, what there is below
// it, not counting itself: what is hidden counts until it is collected. The root always has
// one, which counts.
type policyRow struct {
	policy
	files, dirs, chunks uint64
}

// quota reports whether a policy limits anything.
func (p *policy) quota() bool { return p.maxFiles > 0 || p.maxChunks > 0 }

// counted reports whether a row knows what is below its directory.
func (m *metadata) counted(row *policyRow) bool { return row == m.root || row.quota() }

// charge counts what has come to be at a key, or has gone, in all the directories above
// it that have a quota.
func (m *metadata) charge(key []byte, files, dirs, chunks int64) {
	add := func(row *policyRow) {
		row.files += uint64(files)
		row.dirs += uint64(dirs)
		row.chunks += uint64(chunks)
	}
	if len(m.policies) == 1 {
		if len(key) > 0 {
			add(m.root)
		}
		return
	}
	for len(key) > 0 {
		key = keyParent(key)
		if facts, _, _ := m.ns.dir(key); facts.policy {
			if row := m.policies[facts.id]; m.counted(row) {
				add(row)
			}
		}
	}
}

// afford refuses what goes beyond the quota of a directory above a key. What comes from
// another key is there already for the directories above both. from may be nil.
func (m *metadata) afford(key, from []byte, entries, chunks uint64) error {
	if len(m.policies) == 1 && m.root.maxFiles == 0 && m.root.maxChunks == 0 {
		return nil
	}
	for len(key) > 0 {
		key = keyParent(key)
		facts, _, _ := m.ns.dir(key)
		if !facts.policy || from != nil && len(from) != len(key) && keyWithin(from, key) {
			continue
		}
		row := m.policies[facts.id]
		if row.maxFiles > 0 && row.files+row.dirs+entries > row.maxFiles {
			return refuse(outcomeQuota, keyPath(key), "%d files and directories, %d may be there", row.files+row.dirs, row.maxFiles)
		}
		if row.maxChunks > 0 && row.chunks+chunks > row.maxChunks {
			return refuse(outcomeQuota, keyPath(key), "%d chunks, %d may be there", row.chunks, row.maxChunks)
		}
	}
	return nil
}

// setPolicy carries out cmdSetPolicy.
func (m *metadata) setPolicy(c *cmdSetPolicy) error {
	var buf [256]byte
	var e nsEntry
	key, err := m.find(&c.who, c.path, buf[:0], &e)
	switch {
	case err != nil:
		return err
	case !e.dir:
		return refuseAt(outcomeNotDir, key)
	case c.policy.goal > MaxReplication:
		return refuse(outcomeInvalid, c.path, "%d replicas; %d are the most", c.policy.goal, MaxReplication)
	case !m.owns(&c.who, e.owner):
		return refuseAt(outcomePermission, key)
	}
	var old policyRow
	if e.policy {
		old = *m.policies[e.id]
	}
	if !c.who.super && (old.maxFiles != c.policy.maxFiles || old.maxChunks != c.policy.maxChunks) {
		return refuse(outcomePermission, c.path, "only super users set quotas")
	}
	return m.applyPolicy(key, &e, c.policy)
}

// applyPolicy gives a directory a policy, or takes it away if it says nothing. That takes no
// time to speak of, whatever is below, unless it sets the first quota: then what is there is
// counted, which is no more than one command may take on.
func (m *metadata) applyPolicy(key []byte, e *nsEntry, p policy) error {
	var had policyRow
	if e.policy {
		row := m.policies[e.id]
		if p == (policy{}) && len(key) > 0 {
			delete(m.policies, e.id)
			e.policy = false
			m.ns.put(key, e)
			return nil
		}
		if m.counted(row) && (p.quota() || row == m.root) {
			row.policy = p
			return nil
		}
		had = *row
	}
	if had.policy == p {
		return nil
	}
	if !e.policy && len(m.policies) >= maxPolicies {
		return refuse(outcomeTooLarge, keyPath(key), "%d directories have a policy, the most that may", maxPolicies)
	}
	row := &policyRow{policy: p}
	if p.quota() {
		s, err := m.tree(key)
		if err != nil {
			return err
		}
		row.files, row.dirs, row.chunks = s.files, s.dirs-1, s.chunks
	}
	m.policies[e.id] = row
	e.policy = true
	m.ns.put(key, e)
	return nil
}
