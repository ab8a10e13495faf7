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
	mend   int   // the replica whose suspicion ends although no other vouches for it, which first takes from others what it has not whole; -1: none
	from   []int // those others, the best first
	lossy  bool  // what nobody had synced may be lost: the verifier changes
	accept []int // those whose suspicion ends
	open   bool  // there is none to hold the others against
	base   int   // the replica that the others are held against; -1: none
}

// compareReplicas says what to do with replicas of one chunk, some of which are suspect:
// an unclean stop has interrupted mutations of theirs.
//
// A replica that was not interrupted has all that was acknowledged, so a suspect that
// contains the same has too. So has one that is corrupt, but for the blocks that do not
// match, and for what the disk refused to make durable.
//
// If all are suspect, all were interrupted. One whose machine has run on, as after a mere
// kill, still has whatever was acknowledged, if only in the memory of the operating system;
// blocks of it that match no checksum were being written, and what was in them before is
// there. One that has lost power has whatever was synced. So the first kind goes before the
// second, however many of its blocks are torn, and takes no blocks from it. Otherwise the
// one with the fewest torn blocks is as good as any, and among these the longest, so that
// no record that anybody has read disappears. None is if mend does not allow it.
func compareReplicas(replicas []digested, mend mending) comparison {
	todo := comparison{mend: -1, base: -1}
	for i := range replicas {
		if d := &replicas[i]; d.intact() && d.digest.health == sound {
			todo.base = i
			break
		}
	}
	if todo.base < 0 && !todo.choose(replicas, mend) {
		todo.open = true
		return todo
	}
	base := &replicas[todo.base]
	for i := range replicas {
		if d := &replicas[i]; i != todo.base && d.intact() && d.digest.health == suspect && base.intact() && d.same(base) {
			todo.accept = append(todo.accept, i)
		}
	}
	return todo
}

// choose picks the replica that is mended, and from which others. It reports whether
// there is one: there is none as long as there may be a better one.
func (c *comparison) choose(replicas []digested, mend mending) bool {
	answered, best := 0, -1
	for i := range replicas {
		d := &replicas[i]
		if d.err != nil {
			continue
		}
		answered++
		if d.mendable(replicas, false) && (best < 0 || d.better(&replicas[best], replicas)) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	d := &replicas[best]
	// A server that is away may have a replica that was not interrupted. One that has lost
	// nothing, and not a block of which is torn, need not wait for it: it has all that was
	// acknowledged too.
	whole := d.digest.kept && d.intact()
	if !whole && !mend.allows(answered, len(replicas)) {
		return false
	}
	c.base, c.mend, c.lossy = best, best, !d.complete(replicas)
	for _, kept := range []bool{true, false} {
		for i := range replicas {
			o := &replicas[i]
			if i != best && o.err == nil && o.digest.kept == kept && (kept || c.lossy) {
				c.from = append(c.from, i)
			}
		}
	}
	return true
}

// mendable reports whether a replica can be made whole from others, or from those that
// have lost nothing. The blocks of a suspect are taken as they are if they must; those that
// have rotted have to be whole in another.
func (d *digested) mendable(replicas []digested, kept bool) bool {
	if d.digest.health == suspect {
		return true
	}
	for _, block := range d.digest.bad {
		if !slices.ContainsFunc(replicas, func(o digested) bool {
			return o.err == nil && (o.digest.kept || !kept) && o.digest.version == d.digest.version &&
				int64(block)*blockSize < o.digest.length && !slices.Contains(o.digest.bad, block)
		}) {
			return false
		}
	}
	return true
}

// complete reports whether a replica, once it is mended, has all that was acknowledged.
func (d *digested) complete(replicas []digested) bool {
	return d.digest.kept && d.mendable(replicas, true)
}

// better reports whether a replica is a better one to mend than another.
func (d *digested) better(o *digested, replicas []digested) bool {
	return cmp.Or(
		cmp.Compare(btoi(d.complete(replicas)), btoi(o.complete(replicas))),
		cmp.Compare(btoi(d.digest.kept), btoi(o.digest.kept)),
		cmp.Compare(btoi(d.digest.health == corrupt), btoi(o.digest.health == corrupt)), // it was not interrupted
		cmp.Compare(len(o.digest.bad), len(d.digest.bad)),
		cmp.Compare(d.digest.length, o.digest.length),
		cmp.Compare(o.id, d.id),
	) > 0
}

// verifier returns that of all replicas that are good from now on. fresh makes one that
// no replica has.
func (c *comparison) verifier(replicas []digested, fresh func() writeVerifier) writeVerifier {
	switch {
	case c.lossy:
		return fresh()
	case c.base < 0:
		return 0
	}
	return replicas[c.base].digest.verifier
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
