// Package transport carries bytes between processes. Everything above it (rpc,
// and the systems on rpc) is handed a [Transport] and knows nothing else of the
// network, so the same code runs over TCP, under TLS, and in one process on a
// simulated network with partitions and crashes.
//
// # What there is
//
//   - [Transport] and the optional [PacketTransport]: the contracts. The test kit
//     transport/transporttest holds a reader's own implementation against them.
//   - [TCP]: the operating system's TCP, and UDP for packets. Its zero value works.
//   - [TLS]: encryption and mutual authentication around any Transport.
//   - [Network]: hosts in memory, with every fault a test wants to have. Its zero
//     configuration has none, and is fast enough to join the parts of one program
//     in production.
//
// # The in-memory network
//
// [Network.Host] gives a [Host], which is a PacketTransport. Addresses are
// "host:port"; ":7101" listens on port 7101 of the host itself, port 0 picks a free
// one. Bytes are copied in and copied out, through bounded buffers that push back;
// deadlines, half-close, refusal and resets are those of TCP, and errors match the
// same values (see [ErrRefused]).
//
// A stream never loses, repeats or reorders bytes in its middle. A partition
// stalls it and healing lets it go on, as TCP does, unless
// [NetworkConfig.BreakAfter] breaks it first. Packets may be lost, doubled and
// reordered, as with UDP. The faults:
//
//   - [Network.Partition], [Network.PartitionOneWay] and [Network.Heal];
//   - [Network.Hold] and [Network.Release], which keep what is sent and deliver it later;
//   - latency, bandwidth, loss, duplication, reordering and resets, for the whole
//     network in [NetworkConfig] or for one direction between two hosts with
//     [Network.SetLink]; [Network.Reset] breaks connections on demand;
//   - [Host.Crash] (a killed process or a lost power supply), [Host.Restart],
//     [Host.Pause], [Host.Resume].
//
// [Network.Stats] counts what happened on each link; [Network.Faults] and
// [Network.FaultCount] tell which faults really took place, so that a test can
// assert that it tested something.
//
// Whether a packet is lost, how long a write takes, whether it resets its
// connection: each such verdict is a hash of the seed, the two hosts and the
// number of the packet (of the connection and the write, for streams). The same
// seed gives the same verdicts, whatever order goroutines run in.
//
// A Network may be used in a testing/synctest bubble, if it is made inside: what
// blocks, blocks on a sync.Cond or a channel with no mutex held, and time is
// package time. It runs no goroutine of its own; timers exist only where there is
// latency, bandwidth, a deadline that somebody waits for, or BreakAfter.
//
// # What it does not do
//
// Acknowledgements are not simulated: a one-way partition leaves the open
// direction of a stream working for as long as bytes are sent there. A paused
// host's own goroutines run on (nothing can stop them); all they do on the network
// waits. Packets are never encrypted, under TLS either.
//
// # Reading the source
//
// The core, which decides and is tested without goroutines: links.go (a link's
// verdicts and its schedule), matrix.go (who is kept from reaching whom) and
// distribution.go. The shell around it: network.go (hosts, links), faults.go (the
// verbs that cause faults), host.go (listen and dial), flow.go, conn.go and
// chunks.go (streams), packet.go (packets), faultlog.go and stats.go. tcp.go and
// tls.go stand alone.
//
// Locks are taken in this order: Network.mu, stream.mu or packetConn.mu, link.mu,
// faultLog.mu. None is held while anything blocks.
package transport
