// Package limits holds bare programs that do one job each with two goroutines and
// nothing else: no framework, no failures to survive, no job but their own, and all
// of the input or the result in memory where that is faster. What they write is what
// the MapReduce jobs of the benchmark write, made durable as theirs is. They are what
// the library is measured against.
package limits
