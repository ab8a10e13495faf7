// Ftvm keeps a program alive that knows nothing of it: a static riscv64 program for Linux, of
// Go or C, runs in a virtual machine on two hosts at a time, and goes on at the other when one
// of them dies, in the middle of what it was doing, with its connections:
//
//	go run ./examples/ftvm
//	go run ./examples/ftvm -chaos 5s
//	go run ./examples/ftvm -memory -chaos 2s -for 20s
//	go run ./examples/ftvm -port 9000 ./cmd/server args…
//
// Three nodes of package vmft, each a process that this program starts of itself, run one
// machine of package vmft/rv64: a primary, a backup and a spare. By default the guest is an
// HTTP server with a counter, keys, timers and goroutines (guest/main.go), built on the spot.
// It is reached at -forward, by any client: the sidecar there carries connections over streams
// that outlive the machine's hosts. Kill the primary by kill -9, or stop it by kill -STOP, with
// the process ids that are printed: the connections go on, the counter does not go back,
// nothing that was acknowledged is lost, and the page in the browser keeps ticking. This
// program prints a timeline of each fail-over (when the primary was missed, the claim, what
// was still to be executed, when the other was live, and when it had made a new backup), starts
// what was killed again as a spare, and proves with a connection of its own that nothing is
// lost. With -chaos it does the killing itself, every so often. The status pages of the nodes,
// whose addresses are printed, have the same timelines, with -memory too.
// With -transfer the backup does not execute what the primary does, but is sent what has
// changed in the machine: package vmft says which is for what.
//
// A node by itself, on machines that share a directory, and the sidecar by itself:
//
//	host1$ ftvm -node host1:7101 -peers host2:7101,host3:7101 -lock /shared/ftvm/lock -status :7100 ./server
//	host2$ ftvm -node host2:7101 -peers host1:7101,host3:7101 -lock /shared/ftvm/lock -status :7100 ./server
//	host3$ ftvm -node host3:7101 -peers host1:7101,host2:7101 -lock /shared/ftvm/lock -status :7100 ./server
//	       ftvm -connect host1:7101,host2:7101,host3:7101 -forward :8080 -port 8080
//
// The first is the primary, the second becomes its backup, the third is the spare; two do as
// well, without a spare. All run the same file: build it once and copy it (a Go package would
// be built on each host, and programs that differ do not follow one another). Every node
// prints what happens to it, and the primary what its program prints. The sidecar belongs near
// the clients: connections to it end with it. A node that was killed is started again with the
// same command, and comes back as a spare. The directory decides who is the primary when the
// nodes cannot reach one another (an NFS mount will do): while it cannot be reached what works
// goes on, but nobody takes over. All over again is a new directory.
//
// With -shared the program finds a disk at /shared that outlasts primary, backup and spare:
// the guest keeps its counters and keys there, and has them again when all is started anew.
// The disk is a directory that all nodes reach, or one in a gfs; -shared gfs starts one for
// the occasion. The directory has to be there: one that is made, below where its storage is
// mounted, is missing while that is not, and an empty disk in its place would be another one.
// What is read there is in the log, or, with -reads backup, only its checksum is, and the
// backup reads for itself:
//
//	mkdir -p /tmp/disk
//	go run ./examples/ftvm -shared /tmp/disk -chaos 5s
//	go run ./examples/ftvm -shared gfs -reads backup
//
// The nodes keep their logs in memory: if primary and backup die at once, the program is lost,
// but for what is on the shared disk. It cannot be reached by datagrams, and connections that
// it opens itself end at a fail-over, which it finds when it writes to one.
package main
