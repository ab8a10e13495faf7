// Package vmfttest tests what users of package vmft implement: an Arbiter against the
// contract of the chain of epochs ([TestArbiter]), a Machine for determinism
// ([TestMachine]), and a Processor for determinism and for what else a free-running machine
// promises ([TestProcessor]). Package toy is a small Processor, for tests of what uses one.
package vmfttest
