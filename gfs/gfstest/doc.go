// Package gfstest runs whole gfs clusters in tests, in one line:
//
//	c := gfstest.Start(t, gfstest.Config{Chunkservers: 4})
//	client := c.Client()
//
// A [Cluster] has a master, chunkservers and perhaps shadows on a network in memory, each
// on a host and a disk of its own. A test can kill a process, cut the power of a machine,
// wipe or damage a disk, fill it, and cut the network, and start everything again. In a
// synctest bubble all of it happens in virtual time, so that leases and garbage
// collection, which take minutes and days, cost milliseconds.
//
// With Config.Transport the same cluster runs on another transport, TCP for one: then
// processes can be closed and disks damaged all the same, but hosts are not cut off.
package gfstest
