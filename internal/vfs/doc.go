// Package vfs is the file system as code that must survive crashes sees it: few
// calls, each with a stated effect on what a power failure leaves behind.
//
// There are three versions of [FS]:
//
//   - [OS], the operating system's.
//   - [Memory], kept in memory, which can crash: of what was not synced it loses
//     or tears a part that is drawn from a seed.
//   - [Inject], around either, which makes calls fail, fall short, lie or corrupt
//     what passes, and numbers the calls, so that a test can fail each in turn.
//
// Each says how much room is left, as a [Spacer], and whether the machine has been
// started anew, as a [Runner].
//
// Package vfstest holds the conformance suite that all of them pass, and the
// harness that cuts the power at every call of a workload.
//
// # What survives a crash
//
// Two kinds of things become durable separately, each by its own call:
//
//   - The content and size of a file: by [File.Sync].
//   - The entries of a directory, that is the effect of creating, renaming,
//     linking and removing in it: by [FS.SyncDir] of that directory. This goes for
//     directories as entries of their parents too. A rename between directories
//     is durable when either has been synced.
//
// Nothing else is promised, not even an order, except among changes of one name. A
// file that was synced can be missing because its directory was not; an entry can be durable and the file
// behind it empty. [MkdirAllSync] and [WriteFile] join the calls correctly for
// the common cases.
//
// A sector of [SectorSize] bytes is assumed to be written wholly or not at all,
// also when only a part of it changes, which is what disks and the storage
// systems above them provide. Rename and link are assumed to be atomic, which is
// what journaling file systems provide. Memory gives no more than this and takes
// away all the rest.
package vfs
