// Terasort generates records, sorts them with MapReduce, and validates the result,
// as the sort benchmark has it (sortbenchmark.org): records of 100 bytes that begin
// with a random key of 10 bytes.
//
//	go run ./examples/terasort -size 256
//
// The job does nothing: it is the ranges of keys that sort. A sample of the input
// divides the keys into ranges of about equal size, each the partition of one reduce,
// so that the output files, one after the other, are in order.
//
// The three steps can be taken apart:
//
//	terasort generate -size 256 records
//	terasort sort -output sorted records
//	terasort validate -input records sorted/part-*
//
// The validator checks that the records are in order, and that there are as many as
// in the input, with the same checksum: the sum of the CRCs of all records, which does
// not depend on their order.
package main
