package mapreduce

import (
	"bytes"
	"math/bits"
)

// fewPairs is how many pairs are sorted by insertion rather than by radix.
const fewPairs = 40

// sort sorts the pairs by partition, then by key, and leaves pairs with equal keys
// in the order in which they were added.
//
// The partitions are told apart by counting. Within one, the pairs are sorted by a
// stable radix sort from the most significant byte on, of the eight bytes of key
// that each pair carries; only where those are all equal the arena is looked at,
// for the next eight. The memory's spare pairs have been prepared.
func (b *pairBuffer) sort() {
	spare := b.mem.spare[:len(b.pairs)]
	if len(b.counts) > 1 {
		next := make([]int, len(b.counts))
		at := 0
		for p := range next {
			next[p] = at
			at += b.counts[p]
		}
		for _, x := range b.pairs {
			spare[next[x.part]] = x
			next[x.part]++
		}
		copy(b.pairs, spare)
	}
	at := 0
	for _, n := range b.counts {
		b.sortFrom(b.pairs[at:at+n], spare[at:at+n], 0)
		at += n
	}
}

// sortFrom sorts pairs whose keys agree in their first depth bytes and whose
// prefixes are the eight bytes that follow. spare is as long as pairs.
func (b *pairBuffer) sortFrom(pairs, spare []pair, depth int) {
	var differ uint64
	for differ == 0 { // keys may agree for megabytes: no recursion
		if len(pairs) <= fewPairs {
			b.insertionSort(pairs, depth)
			return
		}
		for _, p := range pairs {
			differ |= p.prefix ^ pairs[0].prefix
		}
		if differ == 0 {
			done := b.sortShort(pairs, spare, depth)
			pairs, spare = pairs[done:], spare[done:]
			depth += 8
		}
	}
	shift := (63 - bits.LeadingZeros64(differ)) &^ 7
	var counts [256]int
	for _, p := range pairs {
		counts[byte(p.prefix>>shift)]++
	}
	at := 0
	for i, n := range counts {
		counts[i] = at
		at += n
	}
	for _, p := range pairs {
		bucket := &counts[byte(p.prefix>>shift)]
		spare[*bucket] = p
		*bucket++
	}
	copy(pairs, spare)
	// Now counts holds where each bucket ends.
	at = 0
	for _, end := range counts {
		if end-at > 1 {
			b.sortFrom(pairs[at:end], spare[at:end], depth)
		}
		at = end
	}
}

// sortShort sorts those of pairs with equal prefixes whose keys end within them: they
// come first, the shorter ones before the longer as they differ in trailing zeros only.
// It returns how many they are. The others get the next eight bytes as their prefixes.
func (b *pairBuffer) sortShort(pairs, spare []pair, depth int) int {
	var counts [10]int // of keys with 0 to 8 bytes left, and with more
	left := func(p pair) int { return min(b.keyLength(p)-depth, 9) }
	for _, p := range pairs {
		counts[left(p)]++
	}
	short := len(pairs) - counts[9]
	if short > 0 {
		at := 0
		for i, n := range counts {
			counts[i] = at
			at += n
		}
		for _, p := range pairs {
			bucket := &counts[left(p)]
			spare[*bucket] = p
			*bucket++
		}
		copy(pairs, spare)
	}
	for i := short; i < len(pairs); i++ {
		pairs[i].prefix = prefixOf(b.key(pairs[i])[depth+8:])
	}
	return short
}

// insertionSort sorts a few pairs whose keys agree in their first depth bytes.
func (b *pairBuffer) insertionSort(pairs []pair, depth int) {
	for i := 1; i < len(pairs); i++ {
		p := pairs[i]
		j := i
		for j > 0 && b.less(p, pairs[j-1], depth) {
			pairs[j] = pairs[j-1]
			j--
		}
		pairs[j] = p
	}
}

// less reports whether the key of x is less than that of y.
func (b *pairBuffer) less(x, y pair, depth int) bool {
	if x.prefix != y.prefix {
		return x.prefix < y.prefix
	}
	m, n := b.keyLength(x)-depth, b.keyLength(y)-depth
	if m <= 8 || n <= 8 { // one ends within the prefix, so the longer has it and more
		return m < n
	}
	return bytes.Compare(b.key(x)[depth+8:], b.key(y)[depth+8:]) < 0
}
