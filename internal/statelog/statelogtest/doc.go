// Package statelogtest holds what implementations of package statelog's interfaces
// can be tested with.
//
// [TestLog] is the conformance suite for a [statelog.Log], solo or replicated: the
// order of commands, that each is applied exactly once, outputs and their release,
// Confirm as a read barrier, what a restart and a crash must keep, epochs and
// terms, and the errors that tell what was not logged from what is unknown. The
// log is its own witness: every output and every read says where in the log it
// stands, so that the checks need no search for an order that explains them.
//
// [TestMachine] checks that a [statelog.Machine] of the reader's own is
// deterministic and that its images are what they should be.
//
// Both exist in a form that returns what is wrong instead of failing a test
// ([Checks], [CheckMachine]), so that they can themselves be held against planted
// bugs.
package statelogtest
