package vmft

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// Defaults and bounds of [Config].
const (
	DefaultHeartbeat = 20 * time.Millisecond
	DefaultTimeout   = 300 * time.Millisecond
	DefaultStall     = 2 * time.Second
	DefaultMaxLag    = time.Second
	DefaultMaxStep   = time.Minute

	DefaultTransferEvery = 25 * time.Millisecond

	DefaultMaxLagProcessor    = 100 * time.Millisecond
	DefaultMaxLagInstructions = 1_000_000_000

	DefaultMaxPending      = 16 << 10
	DefaultMaxPendingBytes = 64 << 20
	DefaultBufferBytes     = 64 << 20
	DefaultCloneBytes      = 1 << 30
	DefaultCloneRate       = 256 << 20
	DefaultCheckEvery      = time.Minute
	DefaultCheckpointBytes = 256 << 20
	DefaultMaxCommand      = 16 << 20
	// MaxCommand is the most that Config.MaxCommand can be, in bytes.
	MaxCommand = 32 << 20
)

// Config says how to run a node. Transport, Addr, Arbiter and one of Machine and Processor are
// required; the zero value of every other field is usable.
type Config struct {
	// Transport listens and dials. If it is a transport.PacketTransport, signs of life go
	// as packets too, to the same port.
	Transport transport.Transport
	// Addr is where the node listens, for its peers and for clients.
	Addr string
	// Advertise is where others reach the node. Default: the address that it listens on.
	Advertise string
	// Peers are the addresses of the other nodes of the group: whoever of them is not the
	// primary becomes the backup, or waits as a spare. Default: none.
	Peers []string
	// Arbiter decides who goes live.
	Arbiter Arbiter
	// Machine is what runs. It must be new: its state comes from the log.
	Machine Machine
	// Processor is what runs instead of a Machine, if it is one that runs by itself. It must
	// be new, and all nodes have an equal one. The node owns it. [Node.Port] connects it
	// with the world.
	Processor Processor
	// Network says how the Processor is told of connections: with it, clients reach its ports
	// by [DialStream] and [Forward], and their connections survive its hosts. The Port lets
	// out then, and takes, what is about anything else. Default: none, the Port has it all.
	Network Network
	// Fetch makes the event that [Port.CompleteFetched] was given with a name: with it, such
	// events are not in the log, and the backup calls this before it executes their entries.
	// What it returns is compared with a checksum; it is called again, with attempt counting
	// from 0, as long as it fails or returns something else, so it may be early. While it does
	// for longer than Stall the node counts as hung. It is called from one goroutine. All
	// nodes have one, or none has; nodes with a Dir have none, for after a restart there is
	// nothing to be fetched any more. Default: none.
	Fetch func(ctx context.Context, name []byte, attempt int) (event []byte, err error)
	// Mode is how the backup is kept, the same on all nodes. ModeTransfer is for a Processor
	// that is a [Transferable]. Default: ModeReplay.
	Mode Mode
	// TransferEvery is how often, in ModeTransfer, what has changed is sent. When outputs
	// wait it is sent at once, as far as that leaves the processor most of its time.
	// Default: 25 ms.
	TransferEvery time.Duration
	// Upgrades are fingerprints of earlier versions whose images Machine can restore. When
	// this node joins a primary of such a version, the machine is handed over to it: the
	// primary drains, the image moves, and this node goes live. Default: none.
	Upgrades []string
	// Dir is the directory of the node's journal, made if need be, and for it alone. Empty:
	// the log is kept in memory, and the node forgets it when it stops.
	Dir string
	// FS holds Dir. Only packages of this module can make one. Default: the operating
	// system's.
	FS vfs.FS
	// Cluster is the id of the cluster; nodes and clients of another are refused.
	// Default "".
	Cluster string
	// Secret is known to the whole cluster. It keeps strangers out, and authenticates the
	// signs of life. Default none.
	Secret []byte
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger

	// Heartbeat is how often a node gives its peer a sign of life. Default: 20 ms.
	Heartbeat time.Duration
	// Timeout is the silence after which a peer is suspected, at least four heartbeats.
	// Where signs of life come late without anybody being dead, as on a busy machine, it
	// grows by itself: to three times the longest silence lately, at most four times as
	// long. Default: 300 ms.
	Timeout time.Duration
	// Stall is how long one command, or one sync of the journal, may take before the node
	// counts as hung and gives no sign of life. Default: 2 s.
	Stall time.Duration
	// MaxLag is how far the backup's execution may be behind before the primary is slowed.
	// Default: 1 s; with a Processor, which may be as fast on both sides so that a lag would
	// never go, 100 ms.
	MaxLag time.Duration
	// MaxLagInstructions is how many instructions the backup may be behind before the
	// primary of a Processor is slowed, if that comes before MaxLag. Default: 1,000,000,000.
	MaxLagInstructions int64
	// StreamTimeout is how long a stream is kept whose client does not come back. Default:
	// 1 minute.
	StreamTimeout time.Duration
	// MaxStep is the most that the time of the machine advances from one entry to the next.
	// Default: 1 minute.
	MaxStep time.Duration
	// CheckEvery is how long after one comparison of both nodes' states the next begins, for
	// which both hash theirs: an image of it, or what a Processor takes for its Hash. Default:
	// 1 minute; negative: never.
	CheckEvery time.Duration

	// MaxPending is how many proposals may be in progress at a time; further ones wait.
	// Default: 16384.
	MaxPending int
	// MaxPendingBytes is how many bytes of commands may be in progress at a time; further
	// ones wait. A greater command is taken up when no other is. Default: 64 MiB.
	MaxPendingBytes int64
	// MaxCommand is the size of the greatest command in bytes. Default: 16 MiB.
	MaxCommand int
	// BufferBytes bounds what the primary keeps for a backup that has not acknowledged it,
	// and what a backup keeps that it has not executed. A primary whose buffer is full
	// stops until there is room. Only a command that is greater by itself passes the bound,
	// alone in the buffer. Default: 64 MiB.
	BufferBytes int64
	// CloneBytes bounds what the primary keeps of the log while a new backup is made; a
	// clone that needs more is given up. Default: 1 GiB.
	CloneBytes int64
	// CloneRate bounds the bytes a second of an image on its way to a new backup; negative:
	// no bound. Default: 256 MiB/s.
	CloneRate int64
	// CheckpointBytes is how many bytes are logged to the journal between two checkpoints.
	// Default: 256 MiB.
	CheckpointBytes int64
	// Sessions bounds the duplicate table for clients. All nodes have the same. Default: as
	// package rpc has it.
	Sessions rpc.SessionsConfig
	// Limits bound what peers and clients can make this node hold. After three of its
	// PingInterval a clone is given up whose other end has stopped; the default of that is
	// 1 s here, or Timeout if that is longer.
	Limits rpc.Limits

	planted planted // bugs, for the tests that prove they would be found
}

// planted are bugs that tests of this package switch on in whole nodes.
type planted struct {
	core     bugs
	freshOld bool // a hung machine gives signs of life all the same

	deltaPart int // no bug: bytes that an entry has of a delta; 0: deltaPart
}

// withDefaults returns c with every zero field set, or an error that names the field that
// is wrong.
func (c Config) withDefaults() (Config, error) {
	if c.Processor != nil {
		setDefault(&c.MaxLag, DefaultMaxLagProcessor)
	}
	for _, f := range []struct {
		name  string
		field *time.Duration
		value time.Duration
	}{
		{"Heartbeat", &c.Heartbeat, DefaultHeartbeat}, {"Timeout", &c.Timeout, DefaultTimeout}, {"Stall", &c.Stall, DefaultStall},
		{"MaxLag", &c.MaxLag, DefaultMaxLag}, {"MaxStep", &c.MaxStep, DefaultMaxStep},
		{"StreamTimeout", &c.StreamTimeout, DefaultStreamTimeout}, {"TransferEvery", &c.TransferEvery, DefaultTransferEvery},
	} {
		if *f.field < 0 {
			return c, invalid(f.name, "is negative")
		}
		setDefault(f.field, f.value)
	}
	for _, f := range []struct {
		name  string
		field *int64
		value int64
	}{
		{"MaxPendingBytes", &c.MaxPendingBytes, DefaultMaxPendingBytes}, {"BufferBytes", &c.BufferBytes, DefaultBufferBytes},
		{"CloneBytes", &c.CloneBytes, DefaultCloneBytes}, {"CheckpointBytes", &c.CheckpointBytes, DefaultCheckpointBytes},
		{"MaxLagInstructions", &c.MaxLagInstructions, DefaultMaxLagInstructions},
	} {
		if *f.field < 0 {
			return c, invalid(f.name, "is negative")
		}
		setDefault(f.field, f.value)
	}
	setDefault(&c.Limits.PingInterval, max(c.Timeout, time.Second))
	setDefault(&c.CloneRate, DefaultCloneRate)
	setDefault(&c.CheckEvery, DefaultCheckEvery)
	setDefault(&c.MaxPending, DefaultMaxPending)
	setDefault(&c.MaxCommand, DefaultMaxCommand)
	setDefault(&c.Mode, ModeReplay)
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	switch {
	case c.Transport == nil:
		return c, invalid("Transport", "is missing")
	case c.Addr == "":
		return c, invalid("Addr", "is missing")
	case c.Arbiter == nil:
		return c, invalid("Arbiter", "is missing")
	case c.Machine == nil && c.Processor == nil:
		return c, invalid("Machine", "is missing")
	case c.MaxPending < 0:
		return c, invalid("MaxPending", "is negative")
	case c.MaxCommand < 0 || c.MaxCommand > MaxCommand:
		return c, invalid("MaxCommand", "is not from 0 to 32 MiB")
	case c.Timeout < 4*c.Heartbeat:
		return c, invalid("Timeout", "is less than four heartbeats")
	case slices.Contains(c.Peers, ""):
		return c, invalid("Peers", "has an empty address")
	case len(c.Advertise) > maxAddr:
		return c, invalid("Advertise", "is too long")
	}
	return c, c.processing()
}

func transferable(p Processor) bool {
	_, ok := p.(Transferable)
	return ok
}

// processing returns what is wrong with the fields about a Processor, and what it excludes.
func (c *Config) processing() error {
	switch {
	case c.Network != nil && c.Processor == nil:
		return invalid("Network", "is given without a Processor")
	case c.Fetch != nil && c.Processor == nil:
		return invalid("Fetch", "is given without a Processor")
	case c.Fetch != nil && c.Dir != "":
		return invalid("Fetch", "is given beside a Dir: what is fetched could not be executed again from a journal")
	case c.Fetch != nil && c.Mode == ModeTransfer:
		return invalid("Fetch", "is given in Mode transfer, in which the backup is told of no events")
	case c.Machine != nil && c.Processor != nil:
		return invalid("Processor", "is given beside a Machine")
	case c.Mode != ModeReplay && c.Mode != ModeTransfer:
		return invalid("Mode", fmt.Sprintf("is %q, and neither replay nor transfer", c.Mode))
	case c.Mode == ModeTransfer && c.Processor == nil:
		return invalid("Mode", "is transfer, which is for a Processor: the commands of a Machine are logged")
	case c.Mode == ModeTransfer && !transferable(c.Processor):
		return invalid("Processor", "is no Transferable, which Mode transfer needs")
	}
	return nil
}

func setDefault[T int | int64 | time.Duration | Mode](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
