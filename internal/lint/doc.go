// Package lint holds the tree to its own rules. It is a test: `go test
// ./internal/lint` reads every Go file of the module and fails with the file, the
// line and what to do.
//
// What is checked, each in the file of its name:
//
//   - imports.go: which package may import which ([Rules.Layers]), the two
//     dependencies that code outside tests may have, what nobody imports.
//   - core.go: the deterministic cores ([Rules.Cores]) contain no goroutine,
//     channel, clock, randomness or I/O, call nothing that might, and never let
//     the order of a map decide. types.go gives it the types it needs for that.
//   - documentation.go: every package explains itself in doc.go, every exported
//     name has a comment.
//   - examples.go: every package has an example that runs, and so has each of
//     its main verbs ([Rules.Verbs]).
//   - fuzzing.go: every fuzz target has the seeds that all have in common.
//   - sleeps.go: no test waits for the wall clock.
//   - sizes.go: files and functions that can be read in one go.
//   - exceptions.go: the rules name nothing twice, and nothing that is not there.
//   - conduct.go: libraries neither panic, exit nor print; nothing is left to be
//     done later.
//
// Everything that is particular to this module (the layers, the list of cores,
// the exceptions with their reasons) is in rules.go; the checks know none of it,
// so that each can be tested on a few lines of source with one violation in them.
//
// # Notes in the source
//
// Some comments, on the line or directly above it, tell the lint what it cannot
// see. Those with a colon want a reason after it.
//
//	// order-free: …     this iteration over a map has the same effect in any order
//	// unreachable: …    this panic can only be reached through a bug in this package
//	// caught: …         this panic never leaves the package: it is recovered there
//	//lint:bubble        this function, or file, runs only in a synctest bubble or calls what it is passed in one
//
// # What it does not do
//
// It reads source and, for the cores alone, types. It cannot see through an
// interface: a core that is handed one may be led to a clock by it. The
// simulations, which run each core twice from the same seed, find that.
package lint
