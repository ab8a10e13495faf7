// Package mapreduce runs typed MapReduce jobs over files, on one processor or many
// machines, as the paper describes it (Dean and Ghemawat, MapReduce: Simplified Data
// Processing on Large Clusters, OSDI 2004).
//
// A [Job] is a pair of functions: Map turns each record of the input into pairs of
// an intermediate key and value; Reduce turns all values of a key into results. A
// [Spec] says what one run works on. [Run] executes it on a cluster in this process;
// [StartCoordinator], [StartWorker] and a [Client] are the same cluster, spread over
// machines; [RunSequential] executes it in the obvious way, and is the oracle: the
// output of every other way is the same, byte for byte.
//
// # The life of a job
//
//  1. A client submits the name of a job and a Spec. The coordinator lets the job's
//     [Input] divide the input into M splits, and logs the job.
//  2. It gives each split, as a map task, to a worker with a free slot, one on the
//     host that has the data if there is one. Assignments are logged, then
//     delivered with the answer to the worker's poll.
//  3. The worker runs Map over the records of the split. What it emits is encoded,
//     combined in a hash table if the job has a combiner, and gathered in memory;
//     when most of that is used up it is sorted and spilled to disk, while Map goes
//     on. In the end, spills and what is in memory are merged: the map's output is R
//     regions, one for each partition of the keys, each sorted by key.
//     They stay with the worker, in memory or on its disk.
//  4. The worker says that the task is done. The coordinator logs which attempt it
//     was, and where its output is.
//  5. When the first few maps have completed, the R reduce tasks are given out too. A
//     reduce is told where its regions are and how large, and again whenever that
//     changes; it fetches them over streams, each block with its checksum, while other
//     maps still run. When it has them all it merges them and runs Reduce for each key
//     in increasing order. It writes the results into a file named after its attempt,
//     and makes that durable.
//  6. The coordinator logs which attempt of each reduce was the first to complete.
//     When all have, it gives their files their final names, part-00000 and so on,
//     and logs that the job has succeeded.
//
// A [MapOnly] is a job without Reduce. Its map tasks write the output, a file for each
// split, in the order of the input and of what Map emits; steps 3 to 5 are one. As the
// output of a map is a file then, its worker may die when it has completed.
//
// # What is promised
//
//   - If the job's functions are deterministic, the output is that of RunSequential,
//     whatever fails meanwhile: workers, the network between them, the coordinator.
//   - The output files appear when the job is complete, each whole, with what one
//     execution of its reduce has written. They never replace a file that is there.
//   - In a partition, keys are in increasing order of their encoding, and the values
//     of a key in the order in which a sequential run emits them. With [Spec].Bounds,
//     as [SampleBounds] finds them, the files as a whole are in that order too.
//   - A job ends: each task is granted so many failures ([Spec].MaxAttempts), each
//     attempt so much time without progress, and the last attempt's error is the
//     job's.
//   - With a journal, a coordinator that is started again goes on with its jobs. It
//     keeps the completed maps of the workers that come back in time; what was
//     running is done again. Jobs with [Spec].Abort are given up instead, as the
//     paper's were: what they have left behind is removed, and [Client.Wait] fails with
//     [ErrAborted], or submits the job again as often as [Spec].Resubmits allows.
//
// Not promised: that functions are called once for each record or key, or that what
// they do besides emitting is done once; that output survives the loss of the file
// system it is in. Whoever can reach the coordinator and knows the cluster's secret
// can submit jobs.
//
// # Failures
//
// An attempt is ⟨epoch, n⟩, where a coordinator's epoch is greater than all before
// it: nothing that was given out in an older epoch counts any more. A worker that is
// silent for too long is dead; its completed maps are done again, as their output
// was on it, and the reduces learn where. Output that cannot be fetched although its
// worker lives is reported by map attempt: reports from two workers condemn the map, as
// does one from the worker that holds the output, and a reduce that alone complains of
// many maps condemns itself. An attempt that makes no
// progress has failed. A second completion of a task has no effect.
//
// A task that has failed on a worker is done elsewhere, if there is another that
// could do it, be it busy. A worker on which attempts fail one after the other, as its
// disk is full, say, is given one at growing intervals, an eighth of the worker timeout
// at first and 32 times the timeout at most, until it completes one; while there is
// another. What fails in a bad record, where those are skipped, is not held against it.
//
// The coordinator does with files only what is logged, and does it again after a crash:
// who the winner is does not change.
//
// Workers and coordinator compare fingerprints, of their binaries and of the names,
// versions and types of their jobs, and refuse to work together if they differ.
//
// # Who does what
//
// A worker has so many slots for maps and as many for reduces, or for one of them only
// ([WorkerConfig].Kinds). As they are apart, a reduce that waits for a map never keeps
// it from running, be it on the only worker there is. Reduces begin when 5 % of the
// maps have completed, so that the shuffle is over soon after the last map;
// [Spec].ReduceAfter sets another fraction, or a [Barrier]. A reduce that still waits
// for maps gives way, without having failed, when one of another job needs its slot
// and can run to its end.
//
// Of the jobs that have a task waiting, the next free slot goes to the one that has the
// fewest attempts of that kind, and of equals to the one that was submitted first:
// jobs share the cluster evenly, and a small one does not wait for the end of a large
// one. A slot that is taken stays taken.
//
// A map is given to a worker on a host that has its input, as a [Locator] tells, or else
// to one in the rack of such a host ([WorkerConfig].Rack), or else to any. With
// [Spec].Labels only workers will do that have all of those labels. A job of which no
// living worker may run what is left says so in [JobStatus].Waiting.
//
// # Backup tasks
//
// A task that will end late, as its worker is slow, is also given to a worker that has
// nothing else to do; the first of the two attempts to complete wins, the other is
// stopped. A task is late if a backup that begins now is expected to be done well
// before it, or, near the end of a job, at all: going by how much of its split a map
// has read, by how long other tasks have taken, and by how fast the worker is that
// would take the backup. There is one for a task at most, and for one in five of those
// that run. [Spec].NoBackups turns them off.
//
// # Counters
//
// Functions count what they like with [Task.Counter]; the library counts records and
// bytes on its own. Workers tell of their attempts' counters with each sign of life,
// so that [JobStatus] is up to date within a second. When an attempt completes its
// task its counters are logged with that; if the output is lost, another execution's
// take their place: however often tasks are executed, each counts once.
//
// # Files besides the output
//
// A task can write to named outputs ([Task.Output], and [NamedOutput] with types): of
// the output "errors" it has the file errors-00003 where its part is part-00003. And it
// can make side files of any name ([Task.Create]). They are durable when the attempt
// that writes them says that it is done; the log entry of that lists them, so that it is
// all of them that get their final names, or none. The files that have won stay when the
// rest of a map's output is lost with its worker. They are committed before the output:
// where there is a part, everything is there.
//
// Chained jobs name the output directory of one as the input of the next. It stands for
// the parts; a pattern such as errors-* names other files. [MergeOutput] merges files of
// any output that are each in order: those that reduces emit into are if they emit by
// key, while those of maps are in the order of the input.
//
// # Status page
//
// [Coordinator.StatusHandler] is a page for browsers, and the same as JSON
// ([ClusterReport], [JobReport]): what each task is doing, input and rates over time,
// attempts that straggle, workers, failures with their errors, and the end of what
// attempts have logged with [Task.Logf]. Of the jobs that have ended it shows the
// latest ones, with [CoordinatorConfig].Dir also after a restart. Its size is bounded,
// whatever the number of tasks; samples of a job's progress are taken by the
// coordinator, thinned out as the job grows long.
//
// # Bad records
//
// With [Spec].SkipBadRecords, a record on which the job's code fails more than once
// is left out, and so is a key on which Reduce does; [Result] lists them. The number
// of the record survives whatever the code does with the process. An error, a panic
// or a hang is reported with it. When a worker dies, its tasks are done again with
// more care: an attempt tells the coordinator where it is before it goes on, in
// strides, and after another death in a stride before each record of it; the third
// death counts as a failure of the record. Attempts on one worker that die together,
// each in a record, are none of them blamed: a job whose code may take the process
// with it does best with workers of one slot.
//
// # Programs
//
// A [Command] is a job whose mapper and reducer are programs that read and write
// lines, with the contract of Hadoop streaming. For the cluster it is a job like any
// other; a task feeds a process, takes what it writes, and leaves none behind.
//
// # Order and encoding
//
// Between Map and Reduce there are only bytes: keys are ordered, grouped and hashed
// by their encoding, and the codecs of this package preserve the order of what they
// encode: of numbers and strings, and of structs, field by field. So the sort needs no
// comparison function: it is a radix sort on the first bytes of the keys, which are
// kept beside them, and looks at the rest only where those are equal.
//
// Another order is another codec: [Descending] turns one round, [Fields] orders a
// struct by the fields that it names, and [OrderBy] by bytes that a function makes of a
// key, once, when it is emitted.
//
// Values come sorted if what they are sorted by is part of the key: [Job].Group then
// says which keys are one call of Reduce. What it makes of a key is put before the
// key's encoding, so that groups are together whatever the order of the keys is.
//
// # Memory and disk
//
// A worker keeps to [WorkerConfig].Memory: what maps emit, sort and combine, map output
// and what reduces fetch are in it while it lasts, and beyond that in files without a
// name in [WorkerConfig].Dir, however large the job. Nothing waits for memory: each task
// has a share that is enough to go on with, in smaller steps, and takes more while there
// is some (budget.go has the figures). A task whose disk is full fails, with an error
// that says so, and is done again elsewhere.
//
// [Spec].Compress compresses map output, block by block, on disk and on the network. Each
// block has a checksum of what is stored and sent, which is checked when it is fetched
// and again when it is merged. Output that is damaged is fetched again, and made again
// if that does not help.
//
// # Input and output
//
// An [Input] divides what there is to read into splits and reads the records of each:
// [Text] by lines, [FixedRecords] by their size, and [PairFile] the pairs that another
// job has written. A Map that keeps nothing of a record says so, by Text.Reuse or
// FixedRecords.Reuse, and is spared much of the cost of memory. Input need not be files.
// An [Output] says what results look like in a file: [TextOutput] as lines of text,
// [PairFile] as typed pairs in the order of their keys, with checksums, for the next job
// of a chain. Both may be yours. Whatever they are, an attempt's file gets its name as
// described above.
//
// # Testing
//
// Package mapreducetest runs a job under seeded faults and compares with RunSequential,
// checks combiners, codecs and inputs, and holds file systems against their contract.
//
// # Reading the source
//
// The pure core, which decides: tasks.go (the task table, a deterministic machine;
// its commands in tasks_commands.go, how attempts end in tasks_outcomes.go, its image in tasks_image.go, its invariants in
// tasks_check.go, the sums of counters in tasks_counters.go, bad records in
// tasks_skip.go, files besides the output in tasks_files.go, workers in
// tasks_workers.go, jobs that end with their coordinator in tasks_abort.go), schedule.go (who is dead,
// what has hung; who gets which task in schedule_assign.go, late tasks in
// schedule_backup.go, workers on which tasks fail in schedule_rest.go, output that cannot
// be fetched in schedule_fetch.go, what has been left behind in schedule_sweep.go, what
// others are told in schedule_views.go, its invariants in schedule_check.go), spec.go,
// attempt.go, hash.go, sort.go, region.go, packing.go and merge.go (data in memory).
//
// The shells, which act: coordinator.go and coordinator_serve.go on ledger.go, the
// table as a machine in a log; commit.go; worker.go, drain.go, execution.go, store.go
// (map output and who fetches it), shuffle.go (fetching it) and shuffle_merge.go. The status page is made in
// status_page.go and status_chart.go of a status_report.go, from the table and from
// history.go, what it shows beyond that, which history_store.go keeps on disk. What has
// types is in job.go, maponly.go, compiled.go (Map), reduce.go, group.go, combine.go,
// format.go (results as bytes) and codec.go, with layout.go and compound.go for what is
// made of other types, and encoder.go; sum.go and values.go are what many jobs reduce with;
// collector.go and pairs.go are what Map emits into, with runs.go for what is spilled and mapoutput.go for
// what comes of it, within budget.go and in files of scratch.go; counters.go and tasklog.go
// are what tasks count and log with, skip.go is what follows their records; bounds.go
// samples keys. input.go, fixedrecords.go, pairfile.go with pairformat.go, filesystem.go,
// directory.go, output.go, sidefiles.go, namedoutput.go and mergeoutput.go are files.
//
// What callers begin with: client.go and status.go, run.go (a cluster in this process),
// sequential.go (the oracle), registry.go (jobs by name, and fingerprints), log.go (what
// a coordinator needs of a log), errors.go. Between coordinator, workers and clients go
// messages.go and messages_jobs.go; peers.go are a worker's connections to others. view.go has two
// conversions without a copy.
//
// Programs: streaming.go (what a Command is), streaming_tasks.go (its tasks),
// streaming_program.go (a process, and who serves it; what the operating system has
// to do with that in streaming_linux.go, streaming_unix.go and streaming_other.go),
// streaming_lines.go (what lines mean, pure).
//
// # Where this departs from the paper
//
// Files get their final names together in the end, not each as its reduce completes, and
// never replace others. The coordinator's failure is survived, unless the job wants to be
// aborted. Workers ask, and are not pinged. The values of a key have an order. Files
// besides the output are committed with it. Map output that is there but cannot be read
// is reported and made again.
package mapreduce
