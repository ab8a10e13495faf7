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
}

// All returns the examples, in the order in which to show them.
func All() []Example {
	return []Example{
		{WordCount.Name, "counts how often each word occurs", nil, WordCount},
		{Grep.Name, "finds the lines that match a regular expression", []string{PatternArg}, Grep},
		{Index.Name, "lists for each word the files in which it occurs", nil, Index},
	}
}

// Registry returns a registry of all examples.
func Registry() (*mapreduce.Registry, error) {
	var all []mapreduce.Definition
	for _, e := range All() {
		all = append(all, e.Job)
	}
	return mapreduce.NewRegistry(all...)
}
