// Package corpus makes the inputs of the benchmark from seeds, and summarizes outputs
// for comparison.
package corpus
