package mapreduce

import "bytes"

// Secondary sort: with Job.Group, the bytes that make the group of a key come first in
// its encoding, as OrderBy has it. So the keys of a group are together wherever pairs
// are sorted and merged, and whether two keys are of one group shows in how they begin.

// groupPrefix returns what the encodings of all keys of a group begin with.
func groupPrefix(key []byte) []byte {
	if n := escapedLength(key, 0); n >= 0 {
		return key[:n]
	}
	return key // only its Decode can say what is wrong with it
}

// grouped makes one group of all groups of in whose keys begin alike.
type grouped struct {
	in     groupReader
	first  []byte // the first key of the present group, a copy
	prefix []byte // what all its keys begin with, in first; empty before there is one
	key    []byte // the present one of in
	moved  bool   // to that key, within the group, since this was last set to false
	ahead  bool   // that key begins a group which nextKey has not returned
	end    bool   // in is at its end, or has failed
	err    error
}

var _ groupReader = (*grouped)(nil)

// nextKey implements groupReader. It returns the first key of the group.
func (g *grouped) nextKey() ([]byte, bool, error) {
	for !g.ahead && !g.end {
		g.advance()
	}
	if g.end {
		return nil, false, g.err
	}
	g.ahead, g.moved = false, false
	g.first = append(g.first[:0], g.key...)
	g.prefix = groupPrefix(g.first)
	return g.first, true, nil
}

// nextValue implements groupReader.
func (g *grouped) nextValue() ([]byte, bool) {
	for !g.ahead && !g.end {
		if value, ok := g.in.nextValue(); ok {
			return value, true
		}
		g.advance()
	}
	return nil, false
}

// advance moves to the next key.
func (g *grouped) advance() {
	var ok bool
	if g.key, ok, g.err = g.in.nextKey(); !ok {
		g.end = true
		return
	}
	g.moved = true
	g.ahead = len(g.prefix) == 0 || !bytes.HasPrefix(g.key, g.prefix)
}
