// Package shareddisk is the shared disk of machines of package rv64: files that several hosts
// reach, and that outlast the machine and all its hosts.
//
//	disk, err := shareddisk.Open(shareddisk.Directory("/net/disk"), logger)
//	m, err := rv64.Load(program, rv64.Config{Shared: "/shared"})
//	…
//	server := disk.Serve(port, false)           // of a vmft.Port, in each term
//	server.Do(request, output.Number, output.Again)
//
// What a machine asks for, rv64.DiskRequest says. Writes leave the machine as outputs do
// (§4.1 of the paper): only the primary writes, and only what its backup has the log of.
// What is answered is answered by entries of the log, the same for both.
//
// # When a write is done
//
// The program is told of a write when the file system below has taken it, and of an fsync
// when that has it safe. Until a write is safe its output is not completed: it is kept on
// both nodes. So a file system that forgets what was not synced, because its host has died,
// forgets nothing: the backup, which goes live, does the write again, and the program that
// was told of it goes on as if nothing had been. Only the loss of both nodes loses what was
// not synced, as the loss of power does to any program.
//
// # Terms, and who may write
//
// A primary that was stopped, and does not know that it has been replaced, must do no harm
// when it goes on. It has two kinds of requests left: such as are completed, which it does
// not do again, and such as are not, which its successor knows and does again, first of all.
// The files are such that the second kind is harmless too: an object is kept in chunks of
// 256 KiB, and a file holds one chunk in the version of one term, the term that has written
// it. A term never changes a file of another: it copies the chunk first. The version of the
// newest term counts. What a term that is over writes, nobody will see.
//
// Nothing is cut or removed in a way that would let an older version be seen again: what is
// cut off is overwritten, and the number of an object that was removed never comes back.
//
// A machine that is started anew on the disk has the next generation, and its terms are
// newer than all of the machines before. It copies what it reads of theirs before it reads
// it, so that it sees one state of it only. A machine that finds that there is a newer one
// gets errors from then on: its programs see EIO. That two machines do not use a disk at the
// same time is up to whoever starts them: the newer has it.
//
// # Reads
//
// What is read goes into the log, and from there to the backup. With Disk.Serve's byBackup,
// and Disk.Fetch as vmft.Config.Fetch, only its checksum does: the backup reads for itself
// (§4.2), again and again until it has what the checksum tells; one that has failed is logged
// as failed; and a later write to the same bytes waits until the backup has read them.
//
// # Full disks
//
// A write for which there is no room fails with ENOSPC, for the program on both nodes. As
// terms copy what they change, this can be a write over what is there. A little is kept in
// reserve for the catalog, so that files can be removed when nothing else can be done.
//
// # Reading the source
//
// The deterministic cores: version.go (names and versions), order.go (what may be done at the
// same time). The shells: store.go (objects on files) with store_chunks.go and
// store_term.go, disk.go, server.go (requests), host.go (those of a machine without a log), and
// files.go (what it all stands on).
package shareddisk
