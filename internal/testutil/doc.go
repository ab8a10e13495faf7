// Package testutil holds what tests of more than one package need: bubbles of
// virtual time, and waiting for something that takes wall-clock time.
//
// Tests do not sleep. In a bubble ([Bubble], of testing/synctest) time is virtual and
// synctest.Wait says when everything has come to rest. Outside one, where other
// processes, the kernel or a disk are part of the test, [Eventually] and
// [Until] are the one place that polls; the lint refuses to sleep everywhere else.
//
// Fuzz targets have some seeds in common ([Strangers]), which the lint looks after too.
package testutil
