// Trilith is every role of every system in one binary. So far these are the roles of
// gfs, and those of mapreduce, with the example jobs built in.
//
// A replicated file system, and what is done with its files:
//
//	trilith master -journal /var/trilith/master -status 127.0.0.1:8080
//	trilith shadow -master 127.0.0.1:7100
//	trilith chunkserver -master 127.0.0.1:7100,127.0.0.1:7101 -dir /var/trilith/chunks
//	trilith fs put -master 127.0.0.1:7100 texts /texts
//
// With -standby there are two masters, of which one leads and the other goes on by itself
// when it dies:
//
//	trilith master -listen host1:7100 -node host1:7110 -standby host2:7110 -lock /shared/lock
//	trilith master -listen host2:7100 -node host2:7110 -standby host1:7110 -lock /shared/lock
//
// Who leads is decided in a directory that both reach, or by "trilith arbiter" on a third
// machine. Coordinators have the same flags.
//
// Start four chunkservers, each on a directory of its own; kill one, and delete its
// directory: everything can still be read, and is replicated anew. "trilith all" is all
// of this in one process, and the roles of mapreduce with it.
//
// Jobs over files:
//
//	trilith coordinator -listen 127.0.0.1:7000 -root /data -journal /var/trilith
//	trilith worker -coordinator 127.0.0.1:7000 -root /data
//	trilith submit -coordinator 127.0.0.1:7000 -output counts wordcount 'texts/*.txt'
//	trilith status -coordinator 127.0.0.1:7000
//	trilith cancel -coordinator 127.0.0.1:7000 1
//
// All processes see the same files: below the directory that -root names, or in the gfs
// whose master -gfs names. Kill a worker, and the others do its work again; kill the
// coordinator, and start it again on its journal: it goes on where it was.
//
// With -programs, coordinator and workers have a job that runs any programs, with the
// contract of Hadoop streaming:
//
//	trilith submit streaming -coordinator 127.0.0.1:7000 -output lines -mapper 'tr -s " " "\n"' -reducer 'uniq -c' texts
//
// "trilith help ROLE" tells the flags of a role. The exit status is 0 if all went
// well, 1 if something failed (for submit: the job), and 2 if the command line is
// wrong. The first SIGINT or SIGTERM ends a process in good order, the second at
// once.
package main
