// Package toy is a small free-running processor, which really executes a program, of a few
// kinds of instructions, on memory, registers and threads, and holds the contract of
// vmft.Processor. It is for tests of what is built upon processors, and is itself an example
// of one. It knows nothing of package vmft.
package toy
