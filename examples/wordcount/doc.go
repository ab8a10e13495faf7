// Wordcount counts words, maximal runs of letters, with MapReduce, and prints the
// most frequent ones. Without arguments it counts those of the Go distribution's
// own source, some 90 MB in 7,700 files that every Go programmer has, on a cluster
// in its own process:
//
//	go run ./examples/wordcount
//
// The input is copied into a gfs in that process first, of a master and three
// chunkservers, and each map runs where a replica of its input is: the counter
// map.bytes.local tells how much was read there. With -fs dir the job reads the input
// where it is.
//
// The same on several processes, or machines that share a file system:
//
//	wordcount -coordinator 127.0.0.1:7000 -journal /tmp/journal -output /tmp/counts &
//	wordcount -worker 127.0.0.1:7000 &
//	wordcount -worker 127.0.0.1:7000 &
//
// On machines of their own the coordinator has an address that the others can dial, and so
// has each worker, at which the others fetch; by default that is on the loopback interface:
//
//	wordcount -worker 192.0.2.1:7000 -listen 192.0.2.2:0
//
// A worker that reaches no coordinator says so, and goes on trying. Kill a worker, and the
// others do its work again; kill the coordinator, and start it again with the same
// arguments: it goes on where it was, also where it had begun to give files their names, and
// if the job has ended it prints the result.
//
// It also goes on by itself, if there are two of which one leads and the other stands by:
// both run the job, and print what comes out.
//
//	mkdir -p /tmp/lock
//	wordcount -coordinator 127.0.0.1:7000 -node 127.0.0.1:7010 -standby 127.0.0.1:7011 -lock /tmp/lock -output /tmp/counts &
//	wordcount -coordinator 127.0.0.1:7001 -node 127.0.0.1:7011 -standby 127.0.0.1:7010 -lock /tmp/lock -output /tmp/counts &
//	wordcount -worker 127.0.0.1:7000,127.0.0.1:7001 &
//
// Without -journal the lock is for one run: another needs another.
//
// With -chaos there are two masters of the gfs and two coordinators in this process, and
// those that lead are crashed while the job runs: a master when a third of the input has
// been read, a coordinator at two thirds, a master again when the first reduce writes, a
// coordinator when the output is given its names. What was crashed is started again, and
// stands by then. A timeline tells who led when.
//
// With -status localhost:8080 a browser can watch at http://localhost:8080/: the
// tasks, rates, workers and failures. The page stays until you interrupt.
//
// With -sequential the job runs in the obvious way, on one goroutine and without a
// cluster. The files it writes with -output are the same byte for byte.
package main
