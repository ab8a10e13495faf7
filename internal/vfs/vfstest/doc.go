// Package vfstest tests file systems and what is built on them.
//
// [TestFS] holds any [vfs.FS] to the behaviour of the operating system's.
// [CrashEverywhere] cuts the power at every call that a workload makes and lets
// the workload's own check judge what is left. It returns what it finds instead of
// failing a test, so that a test can also plant a bug and demand that it is found.
package vfstest
