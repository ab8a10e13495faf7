// Failover is a key-value service that survives its machine, under a load of counters,
// while its primary is killed every few seconds:
//
//	go run ./examples/failover
//	go run ./examples/failover -for 1m -every 2s -clients 64
//	go run ./examples/failover -memory
//
// Three nodes of package vmft, each a process that this program starts of itself, run one
// machine: a primary, a backup and a spare. Clients add to counters, each to its own, by
// calls that are executed exactly once. Then the primary is killed by kill -9: the backup
// finds that it is dead, claims the next epoch, executes what it has and goes live, and the
// spare becomes the new backup; what was killed is started again, and is the next spare. A
// timeline shows that, with the pause that clients saw. At the end every counter is compared
// with what its client was acknowledged.
//
// With -memory the nodes are in this process, on a network in memory, and a kill is a crash
// of the host. With -dir nodes have journals.
//
// A node by itself, and by hand, on machines that share a directory:
//
//	failover -node host1:7101 -peers host2:7101,host3:7101 -lock /shared/group/lock -status host1:8080
package main
