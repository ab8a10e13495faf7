package gfs

import (
	"errors"
	"io"
	"sort"
	"sync"
	"time"
)

// tapBytes bounds the commands that are kept for shadows that are behind. One that is
// further behind gets a new image.
const tapBytes = 64 << 20

// errBehind ends a shadow's stream: what it needs next is not kept any more.
var errBehind = errors.New("the shadow is too far behind for the log and needs a new image")

// A tap is a machine that shadows follow (§5.1.3): it hands on to another machine
// whatever the log has for it, and keeps the last commands for as long as anybody
// follows. The log may be of any kind, as the tap sees only what a machine sees.
type tap struct {
	Machine

	mu        sync.Mutex // held while the machine is called, and guards what follows
	followers int
	kept      []tapped
	bytes     int
	restored  uint64        // how often it was made the machine of an image
	last      uint64        // the index of the newest command applied
	base      uint64        // all commands after this index are kept
	more      chan struct{} // closed, and replaced, when there is more
}

// A tapped command is one that was applied.
type tapped struct {
	index uint64
	at    time.Time
	cmd   []byte
}

var _ Machine = (*tap)(nil)

func newTap(m Machine) *tap { return &tap{Machine: m, more: make(chan struct{})} }

// Apply implements Machine.
func (t *tap) Apply(index uint64, at time.Time, cmd, dst []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	dst = t.Machine.Apply(index, at, cmd, dst)
	t.last = index
	if t.followers == 0 {
		return dst
	}
	t.kept = append(t.kept, tapped{index: index, at: at, cmd: append([]byte(nil), cmd...)})
	t.bytes += len(cmd)
	for t.bytes > tapBytes {
		t.bytes -= len(t.kept[0].cmd)
		t.base = t.kept[0].index
		t.kept[0].cmd = nil
		t.kept = t.kept[1:]
	}
	close(t.more)
	t.more = make(chan struct{})
	return dst
}

// Freeze implements Machine.
func (t *tap) Freeze() (io.WriterTo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Machine.Freeze()
}

// Restore implements Machine. Whoever follows needs a new image then.
func (t *tap) Restore(r io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.restore(r)
}

// restore is Restore for whoever holds the lock.
func (t *tap) restore(r io.Reader) error {
	if err := t.Machine.Restore(r); err != nil {
		return err
	}
	t.restored++
	t.kept, t.bytes, t.base = nil, 0, t.last
	close(t.more)
	t.more = make(chan struct{})
	return nil
}

// A tapPlace is how far a follower has come.
type tapPlace struct {
	index    uint64
	restored uint64 // tap.restored when it began
}

// follow begins to keep commands and returns an image of now and its place.
func (t *tap) follow() (image io.WriterTo, at tapPlace, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if image, err = t.Machine.Freeze(); err != nil {
		return nil, at, err
	}
	if t.followers++; t.followers == 1 {
		t.base = t.last
	}
	return image, tapPlace{t.last, t.restored}, nil
}

// unfollow undoes one follow.
func (t *tap) unfollow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.followers--; t.followers == 0 {
		t.kept, t.bytes = nil, 0
	}
}

// after returns the commands after a place, or a channel that is closed when there are
// some. What it returns must not be changed.
func (t *tap) after(place tapPlace) ([]tapped, <-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if place.index < t.base || place.restored != t.restored {
		return nil, nil, errBehind
	}
	at := sort.Search(len(t.kept), func(i int) bool { return t.kept[i].index > place.index })
	if at == len(t.kept) {
		return nil, t.more, nil
	}
	return t.kept[at:len(t.kept):len(t.kept)], nil, nil
}
