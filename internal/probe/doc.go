// Package probe lets the benchmarks of this module drive what a package does not export.
// The package that has it sets the variable when it is initialized; whoever imports that
// package can use it. It guarantees nothing, and is for benchmarks alone.
package probe
