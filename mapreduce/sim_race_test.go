//go:build race

package mapreduce

// The simulation has one goroutine a world: the race detector finds nothing in it
// and makes it ten times slower.
const simSeeds = 1_000
