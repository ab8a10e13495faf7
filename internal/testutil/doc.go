// Package testutil holds what tests of more than one package need: bubbles of
// virtual time, and waiting for something that takes wall-clock time.
//
// Tests do not sleep. In a bubble ([Bubble], of testing/synctest) time is virtual and
// synctest.Wait says when everything has come to rest. Outside one, where other
// processes, the kernel or a disk are part of the test, [Eventually] is the one
// place that polls; the lint refuses time.Sleep everywhere else.
package testutil
