// Package vmfttest tests what users of package vmft implement: an Arbiter against the
// contract of the chain of epochs ([TestArbiter]), and a Machine for determinism
// ([TestMachine]).
package vmfttest
