// Package mapreducetest helps to test with package mapreduce: the jobs of its users,
// and what else they may write for it.
//
// [Test] runs a job again and again on a cluster in memory in which, as a seed says,
// workers crash, hang and become slow, the coordinator loses its power, the network
// falls apart, and calls of the file system fail. What the job writes must be what a
// sequential run writes, byte for byte, and its counters must be the same:
//
//	func TestMyJob(t *testing.T) {
//		input := mapreducetest.NewMemory(map[string]string{"input": "some text\n"})
//		mapreducetest.Test(t, myJob, mapreduce.Spec{Input: []string{"*"}, Reduces: 3}, mapreducetest.Config{Input: input})
//	}
//
// Each run is in a synctest bubble of its own, where hours pass in milliseconds. What
// takes time there are the calls of the file system, which are drawn out; so tasks run
// side by side, are overtaken by their backups, and die half-way. A run that fails
// tells its seed, and where the output differs. A seed repeats the faults and their
// times, not the order in which goroutines happen to run. Test fails too if too little
// went wrong to have tested anything.
//
// It finds what a job must not do: keep state from one record to the next, depend on
// the time, on chance, or on the order of a Go map, combine what cannot be combined.
// [Run] is one such run, and returns what it found.
//
// The checks look at parts of a job, on the user's own data:
//
//   - [CheckCombiner]: Combine is associative and commutative, and Reduce gives the
//     same with it as without;
//   - [CheckPartition]: every key belongs to one partition that there is;
//   - [CheckCodec]: what is encoded can be decoded, and in which order it is;
//   - [CheckInput]: an Input reads each record once, however it is divided.
//
// [TestFileSystem] is the conformance suite: it holds any mapreduce.FileSystem against
// its contract. [Memory] is a file system in memory that keeps it.
package mapreducetest
