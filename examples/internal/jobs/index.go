package jobs

import (
	"iter"
	"slices"
	"strings"

	"github.com/trilith-go/trilith/mapreduce"
)

// Index is the inverted index of the paper: it lists for each word the files in
// which it occurs, sorted by name and separated by spaces.
var Index = mapreduce.Job[string, string, string]{
	Name:  "index",
	Input: mapreduce.Text{Reuse: true},
	Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		for word := range words(line.Text()) {
			emit(word, line.File)
		}
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ string, files iter.Seq[string], emit func(string)) error {
		var names []string
		for name := range files {
			// Values come in the order of the input: repetitions are neighbours.
			if len(names) == 0 || names[len(names)-1] != name {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		emit(strings.Join(slices.Compact(names), " "))
		return nil
	},
}
