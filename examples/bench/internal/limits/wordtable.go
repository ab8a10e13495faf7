package limits

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// wordTable is an open hash table of words. Nothing in it is a pointer, and what is
// needed to find a word of up to sixteen bytes lies in one place.
type wordTable struct {
	words []wordCount // a power of two of them, those with no count free
	used  int
	text  []byte // the words, one after the other
	batch []token
}

type wordCount struct {
	start, next uint64 // the first sixteen bytes, big endian; zeros behind a shorter word
	at          uint32 // where it is in text
	size        uint32
	count       uint64
}

// token is a word that is about to be counted: words are taken out of a block in
// batches and then counted, so that the processor waits for many places of the table
// at once.
type token struct {
	start, next uint64
	hash        uint64
	word        []byte
}

const batchWords = 512

func newWordTable() *wordTable {
	return &wordTable{words: make([]wordCount, 1<<12), batch: make([]token, 0, batchWords)}
}

// space says which bytes are between words.
var space = [256]bool{' ': true, '\t': true, '\n': true, '\v': true, '\f': true, '\r': true}

// count counts the words of a block and returns what is left over: a word that may go
// on in the next, unless this is the last.
func (t *wordTable) count(block []byte, last bool) (rest []byte) {
	defer t.countBatch()
	for i := 0; i < len(block); {
		if space[block[i]] {
			i++
			continue
		}
		from := i
		for i++; i < len(block) && !space[block[i]]; i++ {
		}
		if i == len(block) && !last {
			return block[from:]
		}
		if len(t.batch) == batchWords {
			t.countBatch()
		}
		t.batch = append(t.batch, newToken(block[from:i], block[from:]))
	}
	return nil
}

// newToken makes a token of a word. behind begins with the word too.
func newToken(word, behind []byte) token {
	var start, next uint64
	if len(behind) >= 16 {
		start, next = binary.BigEndian.Uint64(behind), binary.BigEndian.Uint64(behind[8:])
		switch n := len(word); {
		case n < 8:
			start, next = start&(^uint64(0)<<(64-8*n)), 0
		case n < 16:
			next &= ^uint64(0) << (128 - 8*n)
		}
	} else {
		var short [16]byte
		copy(short[:], word)
		start, next = binary.BigEndian.Uint64(short[:]), binary.BigEndian.Uint64(short[8:])
	}
	return token{start, next, hash(start, next, word), word}
}

// hash spreads words over the table.
func hash(start, next uint64, word []byte) uint64 {
	const a, b = 0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9
	hi, lo := bits.Mul64(start^a, next^uint64(len(word))^b)
	h := hi ^ lo
	for i := 16; i < len(word); i++ { // few are that long
		h = (h ^ uint64(word[i])) * a
	}
	hi, lo = bits.Mul64(h, a)
	return hi ^ lo
}

// countBatch counts the words of a batch and empties it.
func (t *wordTable) countBatch() {
	mask := uint64(len(t.words) - 1)
	for n := range t.batch {
		k := &t.batch[n]
		for i := k.hash & mask; ; i = (i + 1) & mask {
			w := &t.words[i]
			if w.start == k.start && w.next == k.next && int(w.size) == len(k.word) && (w.size <= 16 || bytes.Equal(t.word(w)[16:], k.word[16:])) {
				w.count++
				break
			}
			if w.count == 0 {
				*w = wordCount{k.start, k.next, uint32(len(t.text)), uint32(len(k.word)), 1}
				t.text = append(t.text, k.word...)
				if t.used++; t.used > len(t.words)/2 {
					t.grow()
					mask = uint64(len(t.words) - 1)
				}
				break
			}
		}
	}
	t.batch = t.batch[:0]
}

func (t *wordTable) word(w *wordCount) []byte { return t.text[w.at : w.at+w.size] }

func (t *wordTable) grow() {
	old := t.words
	t.words = make([]wordCount, 2*len(old))
	mask := uint64(len(t.words) - 1)
	for n := range old {
		w := &old[n]
		if w.count == 0 {
			continue
		}
		i := hash(w.start, w.next, t.word(w)) & mask
		for t.words[i].count != 0 {
			i = (i + 1) & mask
		}
		t.words[i] = *w
	}
}

// sort makes a sorted list of the table.
func (t *wordTable) sort() {
	t.words = slices.DeleteFunc(t.words, func(w wordCount) bool { return w.count == 0 })
	slices.SortFunc(t.words, func(a, b wordCount) int { return compareWords(t, t, &a, &b) })
}

// compareWords compares a word of one table with one of another.
func compareWords(s, t *wordTable, a, b *wordCount) int {
	if a.start != b.start {
		return cmp.Compare(a.start, b.start)
	}
	return bytes.Compare(s.word(a), t.word(b))
}
