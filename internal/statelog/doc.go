// Package statelog runs a deterministic machine behind a log, on one computer: the
// solo host. Whatever must survive is a command in the log, applied by the
// [Machine]; a reply is an output of it, released when the log is safe up to the
// command. This is what gfs, mapreduce and their like stand on by default; a
// replicated log takes its place behind the same interface, [Log].
//
// # One command's way
//
//	Propose ─► queue ─► append to the journal ─► Apply ─┐
//	                          │                         ├─► released to the caller
//	                          └─► write, fsync ─────────┘
//
// One goroutine, the applier, takes from the queue all that there is room for,
// gives each command its index and its time, appends them to the buffer of the
// journal and applies them in that order. Another, the syncer, meanwhile writes and
// syncs what has been appended; it never waits for the applier, nor the applier for
// it, until the buffer or [Config.MaxPending] is reached: while one batch is being
// synced the next is appended and applied. An output leaves when both have passed
// its index. Many callers share one fsync, and the
// more there are the more share it (group commit): before a sync begins all propose who
// are ready to. Without a directory there is no
// journal and an output leaves once it is applied; nothing else differs.
//
// # What is promised
//
//   - Commands are applied one at a time, in the order of their indices, the same
//     after every restart: each at the same index and the same time.
//   - Propose without an error: the command is applied, and what it did survives
//     any crash. [ErrNotLogged]: it has not been and never will be applied.
//     [ErrUnknown]: either may be the case, now or after a restart.
//   - Confirm without an error: what the machine showed before the call was
//     current, and will not be taken back by a crash.
//   - Indices rise from command to command; they need not be consecutive.
//   - Epochs rise with each start, and are durable before [Log.Lead] tells them.
//   - Time, as machines see it, never goes back, and between two commands advances
//     by what the monotonic clock says, but never by more than [Config.MaxStep].
//     It stands still while there is no process. So whatever expires by it expires
//     late rather than early; it is not the time of day.
//
// A write or sync of the journal that fails ends everything: waiting proposals get
// ErrUnknown, the term ends, and all later calls fail with [ErrFailed]. The machine
// may then be ahead of what is certain; it must be thrown away, and the directory
// opened again with a new one.
//
// What is not promised: that a directory whose newest files have been deleted is
// found to be incomplete, and anything about a machine that is not deterministic
// (statelogtest.TestMachine finds many of those).
//
// # Reading
//
// A machine's owner may read it while commands are being applied, under a lock of
// the machine's own that Apply takes too. What it reads may not be safe yet: it
// reads first, then calls Confirm, then answers.
//
//	m.mu.RLock()
//	value := m.table[key]
//	m.mu.RUnlock()
//	if _, err := log.Confirm(ctx); err != nil { … }
//	return value
//
// # Checkpoints
//
// When [Config.CheckpointBytes] have been logged since the last one, the applier
// freezes the machine between two commands and goes on; the image is written
// beside it. A start restores the newest image that is whole and applies the
// commands after it. [ErrFingerprint] refuses an image or commands that a different
// code or format has made.
//
// # Reading the source
//
// The pure core: gate.go (which outputs may leave) and clock.go (the machine's
// time), record.go (what a log record holds). The shell: log.go (Propose, Confirm,
// Lead), applier.go, syncer.go, recovery.go, checkpoint.go.
package statelog
