// Package jobs holds the example jobs that several programs share: each of them is
// a MapReduce of the paper's section 2.3, or close to one.
package jobs

import "github.com/trilith-go/trilith/mapreduce"

// Example is a job, and what to say about it.
type Example struct {
	Name    string
	Summary string   // what it does, in a sentence
	Args    []string // the arguments that it needs
	Job     mapreduce.Definition
	// Sorts says that a run with several reduces needs Spec.Bounds.
	Sorts bool
}

// All returns the examples, in the order in which to show them.
func All() []Example {
	return []Example{
		{Name: WordCount.Name, Summary: "counts how often each word occurs", Job: WordCount},
		{Name: Grep.Name, Summary: "finds the lines that match a regular expression", Args: []string{PatternArg}, Job: Grep},
		{Name: Index.Name, Summary: "lists for each word the files in which it occurs", Job: Index},
		{Name: TeraSort.Name, Summary: "sorts records of 100 bytes by their first 10", Job: TeraSort, Sorts: true},
		{Name: Streaming.Name, Summary: "runs programs of yours as mapper and reducer", Job: Streaming},
	}
}

// Streaming runs the programs that its arguments name.
var Streaming = mapreduce.Command{Name: "streaming", FromArgs: true}

// Registry returns a registry of all examples; of Streaming only if programs is set,
// as whoever can submit it can run anything.
func Registry(programs bool) (*mapreduce.Registry, error) {
	var all []mapreduce.Definition
	for _, e := range All() {
		if programs || e.Name != Streaming.Name {
			all = append(all, e.Job)
		}
	}
	return mapreduce.NewRegistry(all...)
}
