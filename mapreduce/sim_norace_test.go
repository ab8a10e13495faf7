//go:build !race

package mapreduce

const simSeeds = 10_000
