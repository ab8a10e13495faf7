package statelog

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/journal"
	"github.com/trilith-go/trilith/internal/vfs"
)

// Defaults and bounds of [Config].
const (
	DefaultCheckpointBytes = 256 << 20
	DefaultMaxPending      = 16 << 10
	DefaultMaxPendingBytes = 64 << 20
	DefaultMaxStep         = time.Minute
)

// Config says how to run a machine. The zero value of every field but Machine is
// usable.
type Config struct {
	// Machine is what runs. It must be new: it is restored from the log.
	Machine Machine
	// Dir is the directory of the log, made if need be, and for this log alone.
	// Empty: the log is kept in memory, and nothing survives.
	Dir string
	// FS holds Dir. Default: the operating system's.
	FS vfs.FS
	// Logger is told what an operator wants to know. Default: silent.
	Logger hclog.Logger

	// CheckpointBytes is how many bytes are logged between two checkpoints.
	// Default: 256 MiB.
	CheckpointBytes int64
	// SegmentBytes is the size from which on a file of the log is followed by
	// another. Default: that of package journal, 64 MiB.
	SegmentBytes int64
	// MaxPending is how many proposals may be in progress at a time; further ones
	// wait, in the order in which they came. Default: 16384.
	MaxPending int
	// MaxPendingBytes is how many bytes of commands may be in progress at a time;
	// further ones wait. A greater command is taken up when no other is. Default:
	// 64 MiB.
	MaxPendingBytes int64
	// MaxCommand is the size of the greatest command in bytes. Default and most:
	// 64 MiB less a few bytes.
	MaxCommand int
	// MaxStep is the most that the time of the machine advances from one command to
	// the next. A machine whose time must follow the clock while nothing happens gets
	// a command at least that often. Default: 1 minute.
	MaxStep time.Duration

	planted planted // bugs, for the tests that prove they would be found
}

// withDefaults returns c with every zero field set.
func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	setDefault(&c.CheckpointBytes, DefaultCheckpointBytes)
	setDefault(&c.MaxPending, DefaultMaxPending)
	setDefault(&c.MaxPendingBytes, DefaultMaxPendingBytes)
	setDefault(&c.MaxCommand, journal.MaxRecord-recordOverhead)
	setDefault(&c.MaxStep, DefaultMaxStep)
	return c
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// validate returns an error that names the field that is wrong.
func (c *Config) validate() error {
	switch {
	case c.Machine == nil:
		return invalid("Machine", "is missing")
	case c.CheckpointBytes < 0:
		return invalid("CheckpointBytes", "is negative")
	case c.SegmentBytes < 0:
		return invalid("SegmentBytes", "is negative")
	case c.MaxPending < 0:
		return invalid("MaxPending", "is negative")
	case c.MaxPendingBytes < 0:
		return invalid("MaxPendingBytes", "is negative")
	case c.MaxCommand < 0:
		return invalid("MaxCommand", "is negative")
	case c.MaxCommand > journal.MaxRecord-recordOverhead:
		return invalid("MaxCommand", "is more than a record of the journal can hold")
	case c.MaxStep < 0:
		return invalid("MaxStep", "is negative")
	}
	return nil
}

// planted are bugs that tests of this package switch on.
type planted struct {
	releaseEarly  bool // outputs leave before the log is safe
	confirmEarly  bool // Confirm does not wait for what was read to be safe
	epochUnsynced bool // Lead tells an epoch that is not durable
	freshTime     bool // a replayed command gets the time of the replay
}
