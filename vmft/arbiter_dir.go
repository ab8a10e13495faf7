package vmft

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/trilith-go/trilith/internal/vfs"
)

// DirArbiter returns an arbiter that keeps the chain in a directory which all nodes share,
// on a network file system or, for processes of one machine, a local one. It is made if
// need be, and is for one group alone.
//
// A record is a small text file, epoch-<number>, that is written and synced under a name
// of its own first and then linked to that name: link is atomic and never replaces, also
// where exclusive creation is not. Whether the link was made is told by the number of
// links of the file, not by the reply, which may have been lost (§2.3). Files are never
// removed: a chain grows by one with every change of a member.
func DirArbiter(dir string) Arbiter { return newDirArbiter(vfs.OS(), dir) }

func newDirArbiter(fsys vfs.FS, dir string) *dirArbiter {
	return &dirArbiter{fsys: fsys, dir: dir, turn: make(chan struct{}, 1)}
}

type dirArbiter struct {
	fsys vfs.FS
	dir  string
	turn chan struct{} // held by the call that is at the directory, which may hang
}

const (
	recordPrefix = "epoch-"
	claimPrefix  = "claim-"
)

// do runs f, which may hang as long as the storage does, and waits for it while ctx lasts.
func (a *dirArbiter) do(ctx context.Context, op string, f func() (Record, error)) (Record, error) {
	fail := func(err error) (Record, error) { return Record{}, &Error{Op: op, Addr: a.dir, Err: err} }
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	type result struct {
		r   Record
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-a.turn }()
		r, err := f()
		done <- result{r, err}
	}()
	select {
	case res := <-done:
		if res.err != nil {
			return fail(res.err)
		}
		return res.r, nil
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

// Newest implements [Arbiter].
func (a *dirArbiter) Newest(ctx context.Context) (Record, error) {
	return a.do(ctx, "newest", a.newest)
}

// Claim implements [Arbiter].
func (a *dirArbiter) Claim(ctx context.Context, r Record) (Record, error) {
	return a.do(ctx, "claim", func() (Record, error) { return a.claim(r) })
}

func (a *dirArbiter) newest() (Record, error) {
	entries, err := a.fsys.ReadDir(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, a.exists()
	}
	if err != nil {
		return Record{}, err
	}
	last := "" // of names of one length the greatest is the newest
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, recordPrefix) && name > last {
			last = name
		}
	}
	if last == "" {
		return Record{}, nil
	}
	return a.read(last)
}

// exists makes the directory, if what is above it is there: storage that is not mounted is
// not an empty chain.
func (a *dirArbiter) exists() error {
	if _, err := a.fsys.Stat(filepath.Dir(filepath.Clean(a.dir))); err != nil {
		return err
	}
	return vfs.MkdirAllSync(a.fsys, a.dir)
}

func recordName(epoch uint64) string { return fmt.Sprintf("%s%020d", recordPrefix, epoch) }

func (a *dirArbiter) claim(r Record) (Record, error) {
	if r.Epoch == 0 {
		return Record{}, fmt.Errorf("%w: 0", ErrGap)
	}
	if r.Epoch > 1 {
		if _, err := a.fsys.Stat(filepath.Join(a.dir, recordName(r.Epoch-1))); errors.Is(err, fs.ErrNotExist) {
			return Record{}, fmt.Errorf("%w: %d", ErrGap, r.Epoch)
		} else if err != nil {
			return Record{}, err
		}
	} else if err := a.exists(); err != nil {
		return Record{}, err
	}
	name := recordName(r.Epoch)
	if stands, err := a.read(name); err == nil {
		return stands, a.fsys.SyncDir(a.dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Record{}, err
	}
	temporary := filepath.Join(a.dir, claimPrefix+rand.Text())
	defer func() { _ = a.fsys.Remove(temporary) }() // what a crash leaves of it means nothing
	if err := a.write(temporary, r); err != nil {
		return Record{}, err
	}
	lerr := a.fsys.Link(temporary, filepath.Join(a.dir, name))
	info, err := a.fsys.Stat(temporary)
	if err != nil {
		return Record{}, errors.Join(lerr, err)
	}
	if links, known := linkCount(info); known && links == 2 {
		return r, a.fsys.SyncDir(a.dir)
	}
	stands, err := a.read(name) // another's; or ours, where links are not counted
	if err != nil {
		return Record{}, errors.Join(lerr, err)
	}
	return stands, a.fsys.SyncDir(a.dir)
}

func (a *dirArbiter) write(name string, r Record) error {
	f, err := vfs.CreateNew(a.fsys, name)
	if err != nil {
		return err
	}
	_, err = f.Write(formatRecord(r))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (a *dirArbiter) read(name string) (Record, error) {
	b, err := vfs.ReadFile(a.fsys, filepath.Join(a.dir, name))
	if err != nil {
		return Record{}, err
	}
	r, err := parseRecord(b)
	if err != nil || name != recordName(r.Epoch) {
		return Record{}, fmt.Errorf("%s is not a record: %w", name, errFormat)
	}
	return r, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// formatRecord returns a record as text, which an operator can read.
func formatRecord(r Record) []byte {
	b := fmt.Appendf(nil, "vmft epoch %d\nprimary %q incarnation %v log %v\nbackup %q incarnation %v log %v\n", r.Epoch,
		r.Primary.Addr, r.Primary.Incarnation, r.Primary.Log, r.Backup.Addr, r.Backup.Incarnation, r.Backup.Log)
	return fmt.Appendf(b, "checksum %08x\n", crc32.Checksum(b, castagnoli))
}

func parseRecord(b []byte) (Record, error) {
	var r Record
	_, err := fmt.Sscanf(string(b), "vmft epoch %d\nprimary %q incarnation %x log %x\nbackup %q incarnation %x log %x\n", &r.Epoch,
		&r.Primary.Addr, (*uint64)(&r.Primary.Incarnation), (*uint64)(&r.Primary.Log),
		&r.Backup.Addr, (*uint64)(&r.Backup.Incarnation), (*uint64)(&r.Backup.Log))
	if err == nil && string(formatRecord(r)) != string(b) {
		err = errFormat
	}
	return r, err
}
