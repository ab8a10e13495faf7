package gfs

import (
	"fmt"
	"strings"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// Defaults and bounds of the configurations.
const (
	// DefaultChunkSize is the size of a chunk in bytes, as in the paper (§2.5).
	DefaultChunkSize = 64 << 20
	// MaxChunkSize is the greatest chunk size in bytes.
	MaxChunkSize = 1 << 30
	// DefaultReplication is how many replicas a chunk has (§2.3).
	DefaultReplication = 3
	// MaxReplication is the most replicas that a file may ask for.
	MaxReplication = 64
	// DefaultLease is how long a lease lasts unless it is extended (§3.1).
	DefaultLease = time.Minute
	// DefaultRetention is how long a removed file can be undeleted (§4.4.1).
	DefaultRetention = 72 * time.Hour
	// MaxPath is the length of the longest path in bytes, MaxName that of the longest
	// element of one.
	MaxPath = 4096
	MaxName = 255

	// blockSize is how many bytes of a chunk one checksum covers (§5.2).
	blockSize = 64 << 10
)

// A handle names a chunk, for ever: the paper's chunk handle (§2.3). Handles are
// issued in increasing order, and 0 is none: a hole in a file, which reads as zeros.
type handle uint64

// A version of a chunk rises with each grant of a lease on it (§4.5). A replica of a
// lower version has missed mutations: it is stale.
type version uint64

// A fileID names a file, for ever, whatever its path. 0 is none.
type fileID uint64

// A serverID names a chunkserver, that is a disk full of replicas, for ever: the
// master issues it when the disk first registers. 0 is none.
type serverID uint32

// The errors of the package, which cross the wire. Errors match those of package fs
// too where these say the same: fs.ErrNotExist, fs.ErrExist, fs.ErrPermission,
// fs.ErrInvalid.
const (
	// ErrIsDir reports a directory where a file is needed.
	ErrIsDir = rpc.Code("gfs: is a directory")
	// ErrNotDir reports a file where a directory is needed.
	ErrNotDir = rpc.Code("gfs: not a directory")
	// ErrNotEmpty reports a directory with something in it.
	ErrNotEmpty = rpc.Code("gfs: directory not empty")
	// ErrStale reports a chunk version that is not the present one, a lease that is
	// over, or a file that was opened under a path where another is now. The client
	// asks the master again by itself.
	ErrStale = rpc.Code("gfs: stale")
	// ErrChecksum reports stored bytes that are not those that were written (§5.2).
	ErrChecksum = rpc.Code("gfs: checksum mismatch")
	// ErrUnavailable reports data of which no replica can be reached now, or none that
	// is whole: it is never returned corrupted (§2.7.1).
	ErrUnavailable = rpc.Code("gfs: data unavailable")
	// ErrLost reports a Sync that has come too late: a power failure, or disks that refused
	// to make it durable, may have taken what had been acknowledged and not been synced. A
	// *LostError says which ranges of the file.
	ErrLost = rpc.Code("gfs: what was written was lost before it was synced")
	// ErrNoSpace reports that no chunkserver, or not enough of them, have room.
	ErrNoSpace = rpc.Code("gfs: no space left")
	// ErrQuota reports a directory that may hold no more.
	ErrQuota = rpc.Code("gfs: quota exceeded")
	// ErrTooLarge reports a record of more than a quarter of the chunk size (§3.3), or
	// a file beyond the bounds.
	ErrTooLarge = rpc.Code("gfs: too large")
	// ErrReadOnly reports a mutation on a shadow master (§5.1.3).
	ErrReadOnly = rpc.Code("gfs: shadow masters are read-only")
	// ErrSafeMode reports a master that has just started and does not know yet where
	// enough of the chunks are. Clients try again.
	ErrSafeMode = rpc.Code("gfs: the master is in safe mode")
	// ErrClosed reports a client, server or file that has been closed here.
	ErrClosed = rpc.Code("gfs: closed")
	// ErrConfig reports a field of a configuration that is wrong.
	ErrConfig = rpc.Code("gfs: bad configuration")

	// errChunkFull tells a client that a record does not fit: the chunk has been
	// padded, and the record belongs into the next one (§3.3).
	errChunkFull = rpc.Code("gfs: chunk full")
	// errNoData tells that pushed data is not in a chunkserver's buffer (any more).
	errNoData = rpc.Code("gfs: data was not pushed, or has been dropped")
	// errUnregistered tells a chunkserver to register: the master is new, or has given
	// it up for dead.
	errUnregistered = rpc.Code("gfs: chunkserver is not registered")
	// errOldEpoch tells a master that there has been another since.
	errOldEpoch = rpc.Code("gfs: order of an older epoch")
	// errGap tells a primary that a secondary has missed mutations.
	errGap = rpc.Code("gfs: mutation out of order")
	// errSuspect tells that a replica may have lost what an unclean stop took, and
	// serves nothing before it has been compared.
	errSuspect = rpc.Code("gfs: replica is suspect")
	// errNoChunk tells that a chunkserver holds no such replica.
	errNoChunk = rpc.Code("gfs: no such replica")
)

// Error is the error of every call of this package.
type Error struct {
	Op   string // what was tried: "create", "read", "start master", …
	Path string // on what: a path, or an address
	Err  error  // why it failed
}

// Error returns all that is known, in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("gfs: ")
	b.WriteString(e.Op)
	if e.Path != "" {
		b.WriteString(" " + e.Path)
	}
	b.WriteString(": ")
	b.WriteString(strings.TrimPrefix(e.Err.Error(), "gfs: "))
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// configError reports a wrong field.
func configError(op, field, format string, args ...any) error {
	return &Error{Op: op, Err: fmt.Errorf("%w: %s %s", ErrConfig, field, fmt.Sprintf(format, args...))}
}
