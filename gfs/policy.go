package gfs

import "math"

// maxPolicies bounds how many directories may have a policy.
const maxPolicies = 1 << 16

// A policyRow is the policy of a directory, and what there is below it, not counting
// itself: what is hidden counts until it is collected. The root always has one.
type policyRow struct {
	policy
	files, dirs, chunks uint64
}

// charge counts what has come to be at a key, or has gone, in all the directories above
// it that have a policy.
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
			add(m.policies[facts.id])
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

// applyPolicy gives a directory a policy, or takes it away if it says nothing.
func (m *metadata) applyPolicy(key []byte, e *nsEntry, p policy) error {
	if e.policy {
		if p == (policy{}) && len(key) > 0 {
			delete(m.policies, e.id)
			e.policy = false
			m.ns.put(key, e)
			return nil
		}
		m.policies[e.id].policy = p
		return nil
	}
	if p == (policy{}) {
		return nil
	}
	if len(m.policies) >= maxPolicies {
		return refuse(outcomeTooLarge, keyPath(key), "%d directories have a policy, the most that may", maxPolicies)
	}
	s := m.ns.survey(key, math.MaxUint64)
	m.policies[e.id] = &policyRow{p, s.files, s.dirs - 1, s.chunks}
	e.policy = true
	m.ns.put(key, e)
	return nil
}
