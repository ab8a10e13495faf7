// Package probe lets the benchmarks of this module drive what a package does not export.
// The package that has it sets the variable when it is initialized; whoever imports that
// package can use it.
package probe
