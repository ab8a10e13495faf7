// Package limits holds bare programs that do one job each and nothing else: no framework,
// no failures to survive, no job but their own. They are what the library is measured
// against.
//
// Those for MapReduce have two goroutines, and all of the input or the result in memory
// where that is faster. What they write is what the jobs of the benchmark write, made
// durable as theirs is. Those for gfs move the bytes of a file from the page cache to a
// reader, or from a writer to three files, over loopback TCP.
package limits
