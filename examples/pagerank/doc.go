// Pagerank ranks the packages of the Go distribution by who imports them, as PageRank
// ranks web pages by who links to them: a chain of MapReduce jobs, each of which
// reads what the one before has written.
//
//		go run ./examples/pagerank
//
//	 1. The job links reads the source, a file as one record, and writes a node for each
//	    package: its rank, at first the same for all, and the packages that it imports.
//	 2. The job rank, again and again, lets each package hand on its rank in equal shares
//	    to the packages that it imports. What packages that import nothing would hand on
//	    is summed in a counter, and given to all alike by the next run of the job.
//	 3. The job order sorts the packages by rank.
//
// The jobs hand nodes to each other as they are, in a mapreduce.PairFile. Ranks are
// integers, so that sums do not depend on their order, and the result is exactly that of
// the direct computation in the test.
package main
