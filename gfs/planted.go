package gfs

import (
	"sync"

	"github.com/trilith-go/trilith/internal/vfs"
)

// plantedBugs are for the tests of the tests: what a master or chunkserver does wrong.
// Nothing but tests within this package can set them.
type plantedBugs struct {
	fleet      fleetBugs
	unsafeLog  bool // the master answers before the log is safe
	anyVersion bool // a chunkserver serves and mutates replicas of any version
	pastGap    bool // a secondary applies what comes, in any order
	trusting   bool // a replica that was interrupted counts as sound
	halfClone  bool // a clone counts when its first block has come
}

// log is the file system of a log: with unsafeLog its files are made durable once only.
func (b *plantedBugs) log(fsys vfs.FS) vfs.FS {
	if !b.unsafeLog {
		return fsys
	}
	var synced sync.Map
	return vfs.Inject(fsys, func(c vfs.Call) vfs.Fault {
		if c.Op != vfs.OpSync {
			return vfs.Fault{}
		}
		_, again := synced.LoadOrStore(c.Name, true)
		return vfs.Fault{Lie: again}
	})
}

// apply misleads a secondary about a mutation that it is about to be offered. r.mu is held.
func (b *plantedBugs) apply(r *role, v version, serial uint64) {
	if b.anyVersion && r.secondary.version != v {
		r.secondary = secondary{version: v, applied: serial - 1}
	}
	if b.pastGap && serial > r.secondary.applied {
		r.secondary.applied, r.secondary.busy = serial-1, false
	}
}
