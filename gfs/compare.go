package gfs

import (
	"cmp"
	"slices"
)

// A digested replica is one that has told what it contains, or has not: then err is set.
type digested struct {
	holder
	digest digestResp
	err    error
}

// intact reports whether all blocks match their checksums.
func (d *digested) intact() bool { return d.err == nil && len(d.digest.bad) == 0 }

// same reports whether two intact replicas contain the same.
func (d *digested) same(o *digested) bool {
	return d.digest.length == o.digest.length && d.digest.sum == o.digest.sum
}

// A comparison is what is to be done with the replicas of a chunk after they have been
// compared, in this order.
type comparison struct {
	mend   int   // the replica whose suspicion ends although no other vouches for it, which first takes from the others what it has not whole; -1: none
	accept []int // those whose suspicion ends
	open   bool  // there is none to hold the others against
}

// compareReplicas says what to do with replicas of one chunk, some of which are suspect:
// an unclean stop has interrupted mutations of theirs.
//
// A replica that was not interrupted has all that was acknowledged, so a suspect that
// contains the same has too. So has one that is corrupt, but for the blocks that do not
// match, and for what the disk refused to make durable. If all are suspect, all were
// interrupted: each has whatever was acknowledged before a mere kill, and after a power
// failure whatever was synced. Then the one with the fewest torn blocks is as good as any,
// and among these the longest, so that no record that anybody has read disappears. None is
// if mend does not allow it.
func compareReplicas(replicas []digested, mend mending) comparison {
	todo := comparison{mend: -1}
	base := -1
	for i := range replicas {
		if d := &replicas[i]; d.intact() && d.digest.health == sound {
			base = i
			break
		}
	}
	if base < 0 {
		base = best(replicas, mend)
		if base < 0 {
			todo.open = true
			return todo
		}
		todo.mend = base
	}
	for i := range replicas {
		if d := &replicas[i]; i != base && d.intact() && d.digest.health == suspect && replicas[base].intact() && d.same(&replicas[base]) {
			todo.accept = append(todo.accept, i)
		}
	}
	return todo
}

// best returns the replica that is to be mended: one that was not interrupted, and that is
// whole or can be made so from others, or one that was. It is -1 as long as there may be a
// better one.
func best(replicas []digested, mend mending) int {
	answered, of := 0, -1
	for i := range replicas {
		d := &replicas[i]
		if d.err != nil {
			continue
		}
		answered++
		if d.digest.health == corrupt && !d.curable(replicas) {
			continue
		}
		if of < 0 || d.better(&replicas[of]) {
			of = i
		}
	}
	if of >= 0 && (mend.allows(answered, len(replicas)) || replicas[of].digest.health == corrupt && replicas[of].intact()) {
		return of
	}
	return -1
}

// curable reports whether each of its blocks is whole somewhere.
func (d *digested) curable(replicas []digested) bool {
	for _, block := range d.digest.bad {
		if !slices.ContainsFunc(replicas, func(o digested) bool {
			return o.err == nil && o.digest.version == d.digest.version && o.digest.length > int64(block)*blockSize && !slices.Contains(o.digest.bad, block)
		}) {
			return false
		}
	}
	return true
}

func (d *digested) better(o *digested) bool {
	return cmp.Or(cmp.Compare(btoi(d.digest.health == corrupt), btoi(o.digest.health == corrupt)),
		cmp.Compare(len(o.digest.bad), len(d.digest.bad)), cmp.Compare(d.digest.length, o.digest.length), cmp.Compare(o.id, d.id)) > 0
}

// verdicts says what was found of each replica that answered. accepted tells which of the
// orders to accept were carried out.
func (c *comparison) verdicts(replicas []digested, accepted func(i int) bool) []verdict {
	var list []verdict
	done := make(map[int]bool)
	for _, i := range c.accept {
		done[i] = true
	}
	if c.mend >= 0 {
		done[c.mend] = true
	}
	for i := range replicas {
		d := &replicas[i]
		v := verdict{server: d.id, boot: d.boot, version: d.version, health: corrupt, was: d.health}
		switch {
		case d.err != nil:
			continue
		case done[i] && !accepted(i):
			continue // it stays what it was, and is compared again
		case done[i], d.intact() && d.digest.health == sound:
			v.health = sound
		case c.open && d.digest.health == suspect:
			continue // nobody can say yet: it may be torn, and the best there is
		}
		list = append(list, v)
	}
	return list
}
