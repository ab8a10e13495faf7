// Package rv64 is a deterministic machine with one RISC-V processor (RV64GC with
// Zba, Zbb and Zbs) that runs unmodified static linux/riscv64 programs: whatever
// GOOS=linux GOARCH=riscv64 go build makes, and static C programs. It records
// what a program is told from outside and replays it bit for bit.
//
// # The machine and its clock
//
// [Load] makes a [Machine] of an executable. Its clock is the number of
// instructions retired so far, its position. [Machine.Run] executes up to a
// position and never past it. Everything that the program cannot compute by
// itself reaches it as an event, given to [Machine.Inject] at the position where
// the machine stands; everything that leaves it is an output with the position
// that it belongs to ([Machine.NextOutput]). So a machine is a function:
//
//	(executable, Config, [(position, event) …])  →  (state and outputs at every position)
//
// No clock, random source, map order, goroutine or address of the host has a part
// in it, and no engine: how instructions are executed is never visible in the
// state. [Machine.Hash] says so: it is equal for equal histories, on every host.
// This is the contract of a free-running machine, in types of the standard
// library only: Position, Run, Interrupt, Inject, NextOutput, Idle, Exited, Now,
// Skip, Freeze, Restore, Hash, Fingerprint.
//
// # Position, time and threads
//
// Whatever follows from a transition (a timer that is due, a thread that has used
// its turn up, a call that can go on) happens at once, as part of it, before Run
// or Inject returns. So the state at a position does not depend on how often and
// where Run has stopped on the way there.
//
//   - Virtual time is a start, plus a fixed length for each instruction, plus the
//     skips that events have added. When all threads wait, the clock stands still:
//     Idle says until when, and whoever drives the machine injects the skip, or an
//     input.
//   - Threads take turns of a fixed number of instructions. The order of those who
//     are ready is a queue, never chance.
//   - Randomness is a stream from the seed in the Config.
//   - Files are a tree in the machine's own memory, filled from Config.Root at the
//     start. It is part of the state, like a disk that is not shared: nothing that a
//     program does reaches the host's files, and a replay needs none of them. What it
//     has changed is written to a directory by [Machine.Export], when that is asked for.
//   - The files below Config.Shared are on a shared disk, outside. See below.
//   - Processes (fork, execve, wait) have address spaces of their own; their threads
//     take turns with all others. The machine ends with the program that it was loaded
//     with, whatever else runs in it.
//   - Connections are ids. Bytes that arrive are events, bytes that leave are
//     outputs, and both ends have windows that say how much may be under way.
//
// # The shared disk
//
// With Config.Shared the guest's tree has a directory whose files outlast the machine, on a
// disk that several hosts reach (package shareddisk has one). Their content is outside; their
// names, sizes and permissions are in the machine, as those of all files, and are written to
// the disk too, in a catalog, for the next machine. So what leaves the machine is reads and
// writes of ranges of bytes and little else ([DiskRequest]), all absolute: doing one again
// changes nothing. Requests are numbered outputs, answers are events; a thread that has made
// a call waits for its answer, and others go on. The program's first instruction waits until
// the disk is attached, its end until everything is safe there.
//
//   - read, write, truncate and their kin work as on any disk. Errors are the disk's: ENOSPC,
//     EIO. Writes to one file exclude one another, and appends are atomic; reads go on
//     beside. No signal interrupts them.
//   - fsync, sync and O_SYNC wait until all that was written before is durable, names too, and
//     tell what has failed. Without them, closing and renaming write the catalog, after the
//     data before it, so that a file that is written, synced, closed and renamed over another
//     is the old one or the new one after all hosts have failed, and never a part of one.
//   - mmap is refused with ENODEV: what is stored to a page would have to leave at every
//     store, or at a time that nobody chooses. Programs that want mapped files copy them to
//     the local disk first. Nor can programs be executed from there.
//   - sendfile, copy_file_range and fallocate are refused in ways that make programs do it
//     by reading and writing. Renaming and linking across the border fails with EXDEV.
//   - Locks of files always succeed: there is one machine on a disk at a time.
//
// # Record and replay
//
// A [Recorder] writes the seed, the events with their positions and, every so many
// instructions, a digest of the state. A [Replayer] runs another machine by such a
// log, compares the digests and reports the first interval in which the two
// differ. [Debugger] runs a machine forwards and backwards along its log, by
// images ([Machine.Freeze]) and replay.
//
// # Engines
//
// Instructions are executed by an engine (the contract is in engine.go). Two are
// here: the stepper, one instruction at a time and written after the
// specification, and the blocks, which decode straight lines of code once and
// count on the way out of them; sequences that are frequent are one operation there
// (fused.txt, chosen by internal/fusing). A test runs both side by side.
//
// # Reading the source
//
//   - ops.go, decode.go, compressed.go: words to instructions. step.go: what
//     each does. float*.go: arithmetic with every rounding mode and flag.
//   - memory*.go, areas.go: sparse pages, permissions, what is dirty, frozen copies.
//   - engine.go, block.go, fuse.go, pacer.go, run_*.go, quick.go, order_*.go: the fast engine.
//   - linux_*.go: the kernel that programs see, one file a theme; linux.go is the
//     table of calls.
//   - linux_mount.go, linux_mount_io.go, linux_catalog.go, linux_request.go: the shared disk.
//   - testenv.go: what programs find that expect no kernel, the official tests of
//     instructions.
//   - export.go: what the program has changed, for the host.
//   - machine.go: the machine. elf.go loads it, image.go freezes it, record.go and
//     debug.go look after its history.
//   - host.go: [Drive] drives a machine in real time, with standard input and
//     output and real sockets. It is the only part with goroutines and a clock.
//
// # What it is not
//
// Processes are not stopped and continued (SIGSTOP is ignored), are not traced, have no
// terminals, no pidfds, and no tables of descriptors or working directories in common;
// /proc shows each of them itself alone. File locks always succeed, without effect. No
// descriptors are passed over sockets (sendmsg with ancillary data fails with
// EOPNOTSUPP). What a private mapping shows is the file as it was
// when it was mapped. There are no vector instructions, no privileged mode (except what
// testenv.go fakes for the official tests) and no devices.
package rv64
