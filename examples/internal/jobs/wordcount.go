package jobs

import (
	"iter"
	"unicode"
	"unicode/utf8"

	"github.com/trilith-go/trilith/mapreduce"
)

// WordCount counts how often each word occurs, a maximal run of letters.
var WordCount = mapreduce.Job[string, int, int]{
	Name:    "wordcount",
	Input:   mapreduce.Text{Reuse: true},
	Map:     mapWords,
	Reduce:  mapreduce.Sum[string, int],
	Combine: mapreduce.Add[int],
}

// mapWords emits every word of a line, with the count of one.
func mapWords(_ *mapreduce.Task, line mapreduce.Record, emit func(string, int)) error {
	for word := range words(line.Text()) {
		emit(word, 1)
	}
	return nil
}

// words yields the maximal runs of letters of a text.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 0; i < len(text); {
			if n := letterAt(text, i); n <= 0 {
				i -= n
				continue
			}
			start := i
			for i < len(text) {
				n := letterAt(text, i)
				if n <= 0 {
					break
				}
				i += n
			}
			if !yield(text[start:i]) {
				return
			}
		}
	}
}

// asciiLetter says which of the bytes below utf8.RuneSelf are letters.
var asciiLetter = func() (is [utf8.RuneSelf]bool) {
	for c := range is {
		is[c] = unicode.IsLetter(rune(c))
	}
	return is
}()

// letterAt returns the size of the letter at text[i], or the size of what is there
// instead, negated.
func letterAt(text string, i int) int {
	if c := text[i]; c < utf8.RuneSelf {
		if asciiLetter[c] {
			return 1
		}
		return -1
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	if unicode.IsLetter(r) {
		return n
	}
	return -n
}
