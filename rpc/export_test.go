package rpc

import "github.com/trilith-go/trilith/internal/vfs"

// What the tests outside the package need of its inside: a disk that can crash,
// and the known bugs.

// OnDisk returns the configuration of a table on a file system.
func OnDisk(fsys vfs.FS, dir string) SessionTableConfig {
	return SessionTableConfig{Dir: dir, CheckpointBytes: 500, fs: fsys}
}

// Plant switches a known bug on.
func (t *SessionTable) Plant(bug string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch bug {
	case "reuse id":
		t.core.planted.reuseID = true
	case "drop waiter":
		t.core.planted.dropWaiter = true
	case "reply early":
		t.core.planted.replyEarly = true
	}
}

// Amnesiac is a session host that issues ids and forgets what was executed.
type Amnesiac struct{ *SessionTable }

func (Amnesiac) execute(sc *serverCall) error { return sc.handle() }
