// Package vmft keeps a computation alive: a deterministic machine runs on two computers,
// a primary and a backup, and goes on at the other when one of them dies. It is the
// protocol of Scales, Nelson and Venkitachalam, The Design of a Practical System for
// Fault-Tolerant Virtual Machines (2010), for machines that are driven by commands.
//
//	node, err := vmft.Start(ctx, vmft.Config{Transport: t, Addr: ":7101", Peers: peers,
//		Arbiter: vmft.DirArbiter("/shared/lock"), Machine: kv})
//	client, err := vmft.Dial(t, "host1:7101", "host2:7101")
//	out, err := client.Call(ctx, command)
//
// # The life of a command
//
//		Propose ─► queue ─► position, time ─┬─► Apply ────────────────────────┬─► output
//		                                    ├─► logging channel ─► backup ─ack─┤
//		                                    └─► journal ─► fsync ──────────────┘
//
//	 1. The primary takes what is queued, and gives each command its position in the log
//	    and its time. From here on nothing is decided any more: whoever applies the log
//	    comes to the same state (deterministic replay, §2.1).
//	 2. The batch goes out on the logging channel (§2.1) and, with a directory, to the
//	    journal. The primary applies it at once; execution waits for nobody.
//	 3. The backup acknowledges a batch when it is in its buffer, and in its journal if it
//	    has one (§2.2). It applies it later, and drops its outputs.
//	 4. The output leaves when the backup has acknowledged its position, and the primary's
//	    own journal has it: the output rule (§2.2). One acknowledgement releases many.
//	 5. If the primary dies, the backup applies what it has acknowledged, and goes on
//	    (§2.3). What it has not seen, nobody has seen an output of: the output requirement.
//	    A client that has no answer asks again; the duplicate table in the machine knows
//	    whether its call was executed.
//
// A read's reply is an output too: it shows what was applied up to a position, so it waits
// for that position, and, so that it is not the word of a primary that has been replaced
// meanwhile, for a confirmation by the backup that was asked for after the read arrived.
// One confirmation serves all reads that wait.
//
// # The chain of epochs
//
// Who may go live is decided by an [Arbiter] on storage that both reach (§2.3): a chain of
// records, each written once. The record of an epoch names its primary and its backup, if
// there is one; whoever writes the record after it has won (the paper's test-and-set).
// Going live as the backup, going on alone as the primary, taking in a new backup and
// handing over are all this one step. The rules:
//
//   - A member is an incarnation: a process that is started again, or that comes back as a
//     clone, is another one. Only a member of the newest record may write the next.
//   - A restarted process counts as the member whose journal it has: nothing left in that
//     epoch that was not in this journal. One whose log was in memory does not.
//   - Before it claims, a backup stops acknowledging and a primary stops releasing, for
//     good in that epoch. First it sees that the arbiter can be reached: while that is
//     unreachable nothing is given up, and everything that still works goes on.
//   - While the result of a claim is unknown, nothing leaves that would be wrong under
//     either result; the claim is repeated until it is known.
//   - A primary that is alone takes in a new backup in this order: the backup has
//     everything that was released; from then on outputs wait for it; the record that names
//     it is written. Before that record the newcomer may contest nothing.
//   - A primary that hands over, as [Node.HandOver] has it or to a newer version, writes a
//     record that names the other as the primary and itself as the backup. It has
//     everything that the other has, and nothing leaves in that epoch that it has not
//     acknowledged: if the heir is lost before it has done more than win, it goes on.
//   - The loser ends its term at once, and comes back as a clone, under a new incarnation:
//     staged beside its old state, and switched in one step.
//   - Every message on the channel belongs to a session of two incarnations, and carries
//     the epoch. Lead tells users the epoch, for what they fence by it.
//
// The chain does not expire. A dead member's record stays in force until another member
// replaces it; if no member is left (both were in memory and have died), nobody may go on,
// the status page says so, and the operator's decision is to begin anew with an empty chain.
//
// While the arbiter is unreachable, whoever wants something of it waits, and Status and the
// status page say so; a pair that works goes on without it. A chain that ends before a
// record that a node knows is not the group's, and counts as unreachable. What cannot be
// told from a new group is a new node at an empty directory, as an empty mount point is: so
// the directory of a [DirArbiter] is best two levels below where its storage is mounted.
//
// A node whose disk fails, or is full, ends with ErrFailed, and the other goes on; when it
// is started again with room it comes back as a clone, or goes on from its journal.
//
// # What is guaranteed
//
//   - No two primaries have outputs leave in one epoch.
//   - What was acknowledged survives the loss of either node at any time, and with
//     directories on both the loss of power of both at once. So does whatever a confirmed
//     read has seen.
//   - Calls of a [Client] are executed exactly once across fail-overs, and what the log's
//     users see is linearizable.
//   - Propose without an error: applied and safe. ErrNotLogged: never to be applied.
//     ErrUnknown: either.
//   - The machine's time never goes back, also at a fail-over: it is the last entry's time
//     plus what a monotonic clock measures, at most MaxStep between two entries. So sessions
//     and leases expire late rather than early.
//
// What is not: that one of two nodes goes on when both members and the arbiter's storage are
// lost; anything about a machine that is not deterministic (vmfttest finds many, and the
// hashes that are compared while it runs find more); and service while the arbiter is
// unreachable and a member is dead.
//
// # Detection
//
// Each node sends its peer a sign of life every Config.Heartbeat, as a UDP packet with a
// MAC (§2.3) and on the channel too, for networks without packets. It sends none while its
// machine has been in one command, or its disk in one sync, for Config.Stall: a node that
// hangs does not look alive. A peer that is silent for Config.Timeout is suspected; where
// signs come late, as on a busy machine, it is given more. Time during which the observer
// itself did not run does not count. A process that was killed is
// found at once: its connections break, and dialing it again is refused.
// A suspicion that is wrong costs a fail-over and never correctness: a process that was
// stopped and goes on later finds that nobody acknowledges, seals itself, loses its claim.
//
// Clients find out by themselves: one whose primary is silent for [DefaultPatience] asks
// the others, while its connection, to a process that was stopped or a machine that has
// gone, would wait for minutes. Calls are executed once, so that asking twice is safe.
//
// # Free-running machines
//
// A [Processor] executes by itself; it is what the paper replicates. With Config.Processor a
// node runs one under the same protocol: positions of the log, acknowledgements, epochs,
// fencing, detection, journals and clones are those of commands. What is different is how
// entries come to be, and what it is to apply one:
//
//	processor ──runs──► stops at an instruction ─┬─► entry {count, event} ─► log, backup
//	    ▲                    │                    │
//	    └──────event─────────┘     outputs since ─┴─► held for that entry ─► Port.Next
//
// Which means:
//
//   - The primary runs the processor in turns of half a millisecond or so, and interrupts
//     one when something comes in. Where it stands then, it gives it the event, and logs
//     that with the instruction count (§2.1): an input ([Port.Input]), the completion of
//     outputs ([Port.Complete]), time that has passed, a preemption. After a turn without an
//     event it logs how far it has come (progress), which is what the turn's outputs wait
//     for. What decides all this is free_pilot.go; it may depend on anything, for it is
//     logged.
//   - The backup runs to an entry's count, and never past it: what it has not been told of
//     may still get an event. Entries of progress keep it close behind: a turn and a
//     transmission where somebody waits for outputs, and else 10 ms more, for what nobody waits
//     for is sent together, since each message costs both processors some of their speed.
//     One that cannot get there, because its processor waits or has ended before, has
//     diverged, and is made anew from an image.
//   - The output rule holds for all that leaves, and for the word to a sender that its input
//     is safe. Execution waits for neither; it is slowed when the backup is more than MaxLag
//     or MaxLagInstructions behind, and stands still when buffers are full.
//   - Outputs are numbered, and kept on both nodes (they are part of images) until an entry
//     says that they are done. A backup that goes live first applies all entries that it
//     has, and then does again, in order, what is not known to be done: pending input and
//     output is issued again (§2.3). So outputs have their effect at least once, and who
//     receives them tells repeats by their numbers.
//   - When states are compared, the processor's own hash is, and what is kept.
//
// What an unmodified guest may rely on: it is one machine that never stops. What it was told
// stays told, what was acknowledged to whoever sent it input has come in, and what others
// have seen of it has happened. Its clock goes on from where it was, not from what another
// host's shows: a fail-over is a pause in which little or no time has passed for it. It sees
// no other host: names, addresses, randomness and files are its own, but for those that it
// keeps on a shared disk. What it may not rely on: that an output has its effect once (as
// with any device or network), and that connections which the outside end gave up during a
// pause are still there. It has one processor; [Processor] says why.
//
// # Disks
//
// A processor has disks of either kind of §4.1, or both; those of package rv64 do.
//
//	                  local                          shared
//	where it is       in the state: each node has    outside, in a place that all nodes
//	                  its own                        reach (package shareddisk)
//	a write           is internal: at once, on       is an output: it waits for the backup's
//	                  both nodes, nothing is sent    acknowledgement, and the primary does it
//	a read            is internal                    is an event: what was read is in the
//	                                                 log, or its checksum is, and the backup
//	                                                 reads too ([Config].Fetch, §4.2)
//	at a fail-over    nothing is to be done          what is not known to be done is done
//	                                                 again, which changes nothing; a former
//	                                                 primary that goes on is fenced
//	a new backup      gets it with the image,        reaches it already
//	                  however large it is
//	when all nodes    it is gone                     it is there, for a machine that is
//	are lost                                         started anew
//	when it fails     its node does                  the program waits, or gets an error, on
//	                                                 both nodes alike
//	a tie is broken   by a third party: the          by the disk itself, if the arbiter's
//	                  arbiter's storage, elsewhere   directory is on it
//
// A disk that each node has by itself has to be brought up to date after a failure (the
// paper's resynchronisation): here it is part of the image that makes the new backup. The
// storage that both reach is what the paper has its test-and-set on. Without such, somebody
// else has to say who may go live, for two nodes that do not hear each other cannot tell: the
// [Arbiter] is any storage that both reach, if only for a few bytes an epoch.
//
// # State transfer
//
// With Config.Mode a Processor is kept on the backup in another way, which the lecture notes
// name first: the backup executes nothing, and is sent what has changed. It is for processors
// that are not deterministic, or whose inputs nobody can log (see [Transferable]).
//
//		processor ──runs──► told at once ──► frozen between two turns ─► delta ─► log, backup
//		                                       outputs, and who waits for inputs ─┴─► held for it
//
//	  - What the processor is told goes in at once, and into no log. Every Config.TransferEvery,
//	    and at once when outputs wait, the primary freezes what has changed since the last time,
//	    and logs that: a delta, of one entry or, if it is large, of several, with a checksum in the
//	    last. The next follows when that one is safe. When is free_cadence.go's to decide.
//	  - Outputs leave, and inputs are acknowledged, when the delta that has what they follow from
//	    is acknowledged: the output rule, with the state itself in the place of its causes.
//	  - The backup applies whole deltas. One whose rest never comes has no effect. When it goes
//	    live it is what the last whole one has made it, does again what is pending, and all that
//	    the primary has done since then has never happened: nobody has seen anything of it.
//	  - Epochs, fencing, detection, streams, handing over and journals (of deltas) are those of
//	    replay. A clone is made of an image and the deltas from there on. States are compared,
//	    too: that finds a delta that is not exact, and no processor that is not deterministic.
//	  - A primary that is alone and has no journal sends nothing, and holds nothing back.
//
// Which one? Replay costs the backup a processor, and the channel little: what comes in from
// outside. State transfer costs the primary time, for freezing and comparing pages, and the
// channel what is written to memory; the backup little. So replay is for machines that are
// deterministic, and state transfer for those that are not, or that write little for how much
// they compute or are told, or whose backup has no processor to spare. In the suite ftvm of
// examples/bench, on a machine of two cores, an HTTP server in rv64 that answers 1,150 requests
// a second logs 2 Mbit/s under replay, and 45 under state transfer, although of pages only the
// words are sent that are different. The primary uses about a sixth more of its processor for
// a request than under replay, and stands still for some 60 to 400 µs for each of up to a
// thousand deltas a second; the backup uses a sixth of a core. A
// computation that asks nobody for anything costs an interval's changes 40 times a second.
// What waits for a delta waits longer than for an entry: an answer has the freezing in it too.
//
// # Streams
//
// With Config.Network the node itself makes connections of a Processor survive: clients reach
// its ports by [DialStream], a net.Conn, and plain ones through [Forward]. Between processor
// and log stands a table of streams, which both nodes have (stream_table.go); a client keeps
// what it has sent until its entry is released, both nodes keep what the program has sent
// until the client has said that it has it, and a client that has lost its node attaches the
// stream at the one that is live, where both say how far they have come. So a connection goes
// on byte for byte across any number of fail-overs, half-closes and resets included. A stream
// whose client has been away for Config.StreamTimeout is reset.
//
// # What connections need
//
// A connection that is to survive stands on these rules, whoever keeps them: the processor
// itself, or a layer before it that is a Processor too, and whose table is in images and
// hashes as memory is.
//
//   - A connection has an id that is never given again, and each of its directions an
//     offset, which counts the bytes since it began. Both are replicated state.
//   - What leaves is {id, offset, bytes}, {id, offset, half-close} or {id, reset}. It is kept
//     on both nodes until the far side has it, which it says, and which is an input. Sent
//     again, it has the same offset; the far side drops the part of it that it has.
//   - What comes in is {id, offset, bytes}, {id, offset, half-close} or {id, reset}, as an
//     event, in the order of offsets. The machine drops what it has. Only when the entry is
//     safe is the far side told that it may forget so much: that is an output.
//   - Who issues again: of what leaves, the new primary, from the offset that the far side
//     tells it; of what comes in, the far side, from the offset that it was told last.
//     Nobody else keeps anything.
//   - Bounds: both directions have windows. A far side that does not take what is kept stops
//     its own connection. The processor stands still when all that is kept of a Port's
//     outputs is more than Config.BufferBytes.
//   - A far side that cannot resume ends with its host: the new primary gives the machine a
//     reset of the connection, as an input like any other.
//
// # What the lecture notes ask
//
//   - What state is replicated? The inputs, not the memory: commands in order, each with its
//     time. They are small where the state is large. Memory goes over once, as the image
//     that a new backup begins with. (This is the replicated state machine of the notes.
//     Their other method is state transfer, which sends what has changed in memory again and
//     again: Config.Mode chooses it.)
//   - What of that which is not deterministic? It is decided once, by the primary, and
//     logged: the order of commands and the time. A machine has no other source: whatever
//     else it needs from outside is in a command.
//   - Does the primary wait for the backup? Its execution does not; its outputs do, until
//     the backup has the log entry, not until it has executed it. Every replicated system
//     waits somewhere: this one also when a buffer is full, because the channel or the
//     backup is too slow (Status has both, and the bandwidth of the log), and beyond
//     MaxLag of execution it is slowed until the backup keeps up.
//   - When to switch? When signs of life end, or the channel breaks and the process is
//     gone. The chain of epochs makes sure that one switches, whoever is suspected.
//   - What anomalies are seen? A reply may be lost, and the question asked again; the
//     duplicate table answers it. An output may be sent twice, for the backup cannot know
//     whether the last ones left; whoever receives outputs other than replies uses the epoch
//     and position to tell. No state that was seen is unseen later.
//   - How is a new replica made fast? A frozen image, copied while the machine runs and
//     at a bounded rate, and the log from there on; the machine is interrupted for the
//     freeze alone. Spares wait for it, so it begins by itself. A backup that has only
//     lost its connection gets what it lacks.
//   - Shared or separate disks (§4.1)? For commands separate ones: each node has its journal,
//     and the third party that breaks ties is the arbiter. For processors either: see Disks.
//   - Why one processor? The order in which several see memory would have to be logged.
//     Apply is called from one goroutine. Reads run beside it.
//   - What does it cost? The suite vmft of examples/bench measures it as the paper does, as
//     the ratio of throughput with a backup to that without.
//   - Or gfs? That keeps data, as replicas of its bytes; this keeps a computation, of which
//     the data is what its log has made of it. The master of a gfs is such a computation.
//
// # Departures from the paper
//
// The primary that loses its backup goes on alone by a record of the chain, too; in the
// paper it takes the same lock. Log entries are commands with their outputs computed on
// both sides, but for a Processor, where they are events with instruction counts. The
// backup's disk reads (§4.2) are checked: the log has a checksum of what the primary has read.
// So the backup need not know when it may read; it reads until it is right, and the primary
// keeps what it has read from being overwritten meanwhile. A node may have a journal; then a
// restart of both loses nothing.
//
// # Reading the source
//
// The deterministic cores: epoch.go (records and members), primary.go and backup.go (the
// protocol), gate.go (what waits for a position), backlog.go (what waits to be executed),
// pulse.go (who is silent), pace.go (the lag), clock.go (the machine's time), machine.go
// (the machine and its duplicate table), frame.go (what is on the channel). Of free-running
// machines processor.go (the contract), free.go (entries, and what is kept), free_pilot.go
// (what the primary decides); of state transfer transfer.go (the contract), free_transfer.go
// (deltas), stream_transfer.go (those of streams) and free_cadence.go (when they are sent);
// of shared disks free_fetch.go (events that the backup gets by itself). Of streams
// stream_half.go (one direction), stream_table.go (what is replicated), stream_machine.go (a
// processor with such a table), stream_desk.go (what a live node keeps), stream_entry.go and
// stream_talk.go (what is in the log, and between a client and a node).
//
// The shells: node.go and node_*.go, leader.go and leader_*.go, follower.go and
// follower_*.go, flight.go, flight_transfer.go, port.go and fetch.go; client.go, stream.go,
// stream_dial.go, stream_serve.go and forward.go. What a node says about itself: status.go, and
// status_page.go for people.
package vmft
