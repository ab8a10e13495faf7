// Package gfs is a replicated file system as the paper describes it (Ghemawat, Gobioff
// and Leung, The Google File System, SOSP 2003): large files in chunks, each chunk on
// several machines, one master that knows where everything is, and clients that move
// their data to and from the machines themselves. It goes beyond the paper where that
// had known limits: metadata survives the master's crash and is served again at once, a
// replica that an unclean stop interrupted is compared before it counts, and a Go program
// sees an io/fs file system.
//
//	master, err := gfs.StartMaster(ctx, gfs.MasterConfig{Transport: t, Addr: ":7200", Dir: "/var/gfs"})
//	server, err := gfs.StartChunkserver(ctx, gfs.ChunkserverConfig{Transport: t, Addr: ":7201", Dir: "/disk1", Masters: masters})
//	client, err := gfs.Dial(ctx, gfs.ClientConfig{Transport: t, Masters: masters})
//	err = client.WriteFile(ctx, "logs/today", data, 0o644)
//
// All parts can run in one process, on a network in memory: [gfstest] does so in one line.
//
// # The parts
//
// A [Master] has the namespace, a table from full path names to metadata, and for each
// file the handles of its chunks (§2.6). Both are a machine in a log: every change is a
// command that is safe on disk before anybody is told. Where the replicas of a chunk are
// is not logged; chunkservers say so when they register, and with each heartbeat (§2.6.2).
//
// A [Chunkserver] is a disk full of replicas: of each a file with the data and a file with
// its version and a checksum of every 64 KiB (§5.2). It keeps no more of the cluster's
// state than that, and the identity of the disk.
//
// A [Client] asks the master where chunks are, remembers it for a while, and talks to
// chunkservers for everything else (§2.3). Reading and writing steadily sends the master
// nothing.
//
// There can be several masters, with one replicated log ([MasterConfig].OpenLog): one leads,
// the others stand by with the same state, and chunkservers report to all of them. When
// another comes to lead, it tells the chunkservers, which take no mutations under grants of
// the former one from then on, and report at once; it grants leases when they have. Clients
// that know the addresses of all masters go on by themselves.
//
// A shadow is a Master that follows another one's log and answers what reads, less than a
// second late (§5.1.3). Chunkservers report to it as they do to the master.
//
// # The life of a write
//
//  1. The client asks the master for the primary of the chunk. If nobody has the lease,
//     the master grants it: it raises the chunk's version, has all replicas that it can
//     reach persist that, logs it, and tells one of them that it is the primary, for 60 s
//     (§3.1, §4.5). A chunk that is new is made first; one that a snapshot shares is
//     first copied, by each server from its own disk (§3.4).
//  2. The client pushes the data down a chain of the replicas, each of which passes it on
//     while more arrives (§3.2), into their buffers. It does not wait for that.
//  3. It sends the write to the primary, which gives it a serial number, applies it, and
//     has all secondaries apply it in the order of serial numbers, without gaps.
//  4. When every member of the grant has it, the primary answers. If one does not answer,
//     the primary sends again, and then asks the master for a grant without it: the
//     replica that is left out has an old version from then on, and is replaced.
//
// An append is the same, but the primary chooses the place: the end of the chunk. A record
// that does not fit there leaves it padded, and goes to the next chunk (§3.3).
//
// # What an acknowledged write has survived
//
// An acknowledged write, append or truncation is in the hands of every member of the
// chunk's grant: in the memory of their operating systems at least.
//
//   - It survives the death (kill -9) of all processes of the cluster, at any time.
//   - It survives the loss of any members but one for good, with their disks.
//   - After File.Sync (Close alone does not do it) it also survives a power failure
//     of all machines at once.
//   - Until then, a power failure of all members can take it, or tear it at the
//     boundaries of sectors: it may take nothing that had been synced before. Blocks that
//     were torn are found by their checksums, and taken from a replica that has them whole.
//     A Sync that comes after that fails with ErrLost, and says which ranges it may have
//     taken ([LostError]): a replica has a write verifier, which comes with every answer to
//     a write and a sync, and changes when no replica is left that surely has everything.
//   - A member whose process was killed has it still, if its machine runs on, and goes
//     before those that have lost power. Only Linux says whether the machine has;
//     elsewhere every unclean stop counts as a power failure.
//
// A change of the namespace (create, remove, rename, snapshot, …) that was acknowledged
// is in the log, synced, and survives everything but the loss of the master's disk.
//
// What bytes a reader may see, and what regions of a file look like after concurrent and
// failed mutations, is the paper's table 1: see [Client].
//
// # Rules that fail-over and crashes need
//
//   - A version is granted only when every replica that was asked to take it has it, and
//     no version is asked for twice: those of a master begin with its epoch. So a replica
//     of the chunk's version has seen every acknowledged mutation, however late a message
//     arrives. One whose version was asked for in vain counts as the one before.
//   - A lease runs on the chunkserver's own clock from a reading that the master was told
//     before: a message that is late shortens it. The master waits longer, by a margin
//     for clocks that run apart.
//   - A lease does not outlive its epoch: a chunkserver that has heard of a new master
//     takes no more mutations under a grant of the old one. It obeys no older master.
//   - A new master collects no garbage, takes no replica for stale and copies nothing
//     until every chunkserver that it knows of has reported, or has had time to.
//   - With the version that it is to mutate at, a chunkserver notes its own start. A
//     replica that bears the note of an earlier start is suspect: it serves nothing until
//     it has been compared with the others, and the master has accepted it. The note also
//     tells whether the machine has been started anew since.
//   - A copy has a temporary name until it is whole and verified, and counts only if the
//     chunk has come to no other version meanwhile; chunks under a lease are not copied.
//   - A bad replica is deleted only when there are enough good ones (§5.2).
//
// # What changes of a whole tree cost
//
// The namespace is a table of full paths, as in the paper (§4.1): a lookup is one search,
// however deep the path, and neighbours share what their names begin with. The price is that
// a rename, a removal, a snapshot or a change of attributes of a directory has to do with
// each entry below it: one command of the log, and a few microseconds an entry, in which the
// master does nothing else. So no command takes on more than a million files and
// directories; beyond, it is refused with ErrTooLarge, and has to be done in parts.
// Directories that were removed are dropped in small steps. A policy costs the same whatever
// is below its directory, but for the first quota that it sets, which counts that.
//
// A rename of which only the top is written would take names that are relative to their
// directory, and with them a search for each element of every path that is looked up. One
// that is done in steps would show readers half of it, or have them look in two places
// meanwhile; and a snapshot in steps would have to keep its tree locked for as long as they
// take, or else not be of one moment.
//
// # Who may do what
//
// Files and directories have an owner, a group and permission bits, as in POSIX, which the
// master enforces on all that goes by a path. Who a client is comes from its TLS
// certificate; without TLS it is what the client says, and so protects from mistakes
// alone. The cluster's secret keeps strangers out in both cases. Beyond that
// members of the cluster are trusted: chunkservers serve whoever knows a handle, and a
// master takes anybody's word who registers as a chunkserver, or follows it as a shadow,
// which gets the whole namespace.
//
// # Reading the source
//
// The deterministic cores decide, without goroutines, clocks, randomness or I/O:
//
//   - What is durable: state_apply.go takes the commands of state_commands.go to
//     metadata.go, which is the namespace (namespace*.go on btree*.go, snapshot.go,
//     collect.go, permissions.go, policy.go), the chunks (chunks.go, state_chunks.go), and
//     an image of it all (state_image.go, state_restore.go). state.go puts a lock around
//     (crowdlock.go).
//   - What is known from reports: fleet.go, with servers (fleet_servers.go), timers
//     (fleet_timers.go), replicas (replicas.go), leases (lease.go), where new replicas go (placement.go, distance.go),
//     what is copied (repair*.go), moved (balance.go) and deleted (garbage.go).
//   - grant.go is how a lease is granted, step by step; compare.go what is done with
//     replicas that were interrupted.
//   - primary.go and secondary.go are the order of mutations.
//   - coder.go is how messages are laid out; push.go and record_format.go what is on the
//     streams of data and in files of records; chunkstore_format.go what is on disks.
//
// The shells act. Of the master: master.go, master_paths.go (the namespace),
// master_read.go, master_grant.go, master_fleet.go (chunkservers, and what the fleet
// wants), locks.go and keylocks.go (for operations that take time), orders.go, shadow.go
// on tap.go; status*.go is its page. diagnostics.go logs calls. Of the chunkserver:
// chunkserver*.go, chunkstore*.go (the disk), buffer.go and push_serve.go (pushed data),
// clone.go, scrub.go. Of the client: client*.go, cache.go, read.go with hedge.go, write.go
// with chain.go, file*.go with unsynced.go, fs.go, record.go, retry.go.
//
// The simulation (sim_test.go) runs all cores of a cluster, thousands of seeds a second.
//
// # Where this departs from the paper
//
// A rename revokes no lease, as chunks are found by the identity of the file. The master
// is replaced by one that is started on the same log, or that has stood by with a replica of
// it, not by an operator. Directories are
// entries of their own, so that an empty one can exist and have permissions. A secondary
// that fails is left out by a new grant, instead of the client retrying until it is back.
// Chunks that are being written are copied only when their lease has ended, or has been
// ended for it.
//
// [gfstest]: https://pkg.go.dev/github.com/trilith-go/trilith/gfs/gfstest
package gfs
