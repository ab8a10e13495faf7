package gfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// Info describes a file or a directory. It is an fs.FileInfo and an fs.DirEntry.
type Info struct {
	attr attributes
	name string
}

var (
	_ fs.FileInfo = (*Info)(nil)
	_ fs.DirEntry = (*Info)(nil)
)

func newInfo(a attributes) *Info { return &Info{attr: a, name: path.Base(a.path)} }

// Name returns the last element of the path.
func (i *Info) Name() string { return i.name }

// Size returns the length of a file in bytes, 0 for a directory. That of a file which is
// being written is as of when Stat was called; in a list that ReadDir returns it may be
// an older one.
func (i *Info) Size() int64 { return i.attr.size }

// Mode returns the permission bits, and fs.ModeDir for a directory.
func (i *Info) Mode() fs.FileMode {
	mode := fs.FileMode(i.attr.mode) & fs.ModePerm
	if i.attr.dir {
		mode |= fs.ModeDir
	}
	return mode
}

// Type returns the type bits of Mode.
func (i *Info) Type() fs.FileMode { return i.Mode().Type() }

// Info returns i itself.
func (i *Info) Info() (fs.FileInfo, error) { return i, nil }

// ModTime returns when the last chunk was added, or when it was created or set with
// Chtimes.
func (i *Info) ModTime() time.Time { return time.Unix(0, i.attr.modified).UTC() }

// IsDir reports whether it is a directory.
func (i *Info) IsDir() bool { return i.attr.dir }

// Sys returns i itself: the methods that fs.FileInfo has not tell the rest.
func (i *Info) Sys() any { return i }

// String returns what fs.FormatFileInfo does.
func (i *Info) String() string { return fs.FormatFileInfo(i) }

// Owner returns who owns it.
func (i *Info) Owner() string { return i.attr.owner }

// Group returns the group it belongs to.
func (i *Info) Group() string { return i.attr.group }

// Replication returns how many replicas each chunk of a file should have; for a
// directory, those of new files below it, 0 if the directories above say that.
func (i *Info) Replication() int { return int(i.attr.goal) }

// Chunks returns how many chunks a file has.
func (i *Info) Chunks() int64 { return int64(i.attr.chunks) }

// Growing reports whether a file is being written, or was within the last minute or so
// (a lease on its last chunk is in force).
func (i *Info) Growing() bool { return i.attr.open }

// Deleted returns when it was removed, if it has been and can be undeleted; else the zero
// Time.
func (i *Info) Deleted() time.Time {
	if i.attr.deleted == 0 {
		return time.Time{}
	}
	return time.Unix(0, i.attr.deleted).UTC()
}

// Stat describes what is at a path: a hidden one (see ReadDeleted), too. The size of a
// file that is being written is asked of a replica of its last chunk.
func (c *Client) Stat(ctx context.Context, name string) (*Info, error) {
	if err := checkPath(name); err != nil {
		return nil, opError("stat", name, err)
	}
	info, err := c.stat(ctx, name)
	if err != nil {
		return nil, opError("stat", name, err)
	}
	return info, nil
}

func (c *Client) stat(ctx context.Context, name string) (*Info, error) {
	ctx, end := c.begin(ctx)
	defer end()
	var r retry
	var lost time.Time
	for {
		resp, err := askMaster[statResp](ctx, c, methodStat, &statReq{path: name})
		if err != nil {
			return nil, err
		}
		a := resp.attributes
		a.path = name
		if !a.open || a.dir {
			return newInfo(a), nil
		}
		n, err := c.lengthOf(ctx, &a.last)
		if err == nil {
			a.size = max(a.size, int64(a.last.index)*c.chunkSize+n)
			return newInfo(a), nil
		}
		// The chunk may be about to move: the master will know.
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return nil, endedBy(ctx, err)
		case lost.IsZero():
			lost = now
		case now.Sub(lost) >= unavailableAfter:
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if err := r.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// ReadDir returns what is in a directory, in the order of the names.
func (c *Client) ReadDir(ctx context.Context, name string) ([]*Info, error) {
	return c.readDir(ctx, name, false)
}

// ReadDeleted returns the files and directories that were removed from a directory and
// can still be read, and undeleted, under their hidden names (§4.4.1), which are the
// Name of each.
func (c *Client) ReadDeleted(ctx context.Context, name string) ([]*Info, error) {
	return c.readDir(ctx, name, true)
}

// readDirPage is how many entries of a directory are asked for at once.
const readDirPage = 4096

func (c *Client) readDir(ctx context.Context, name string, deleted bool) ([]*Info, error) {
	if err := checkPath(name); err != nil {
		return nil, opError("readdir", name, err)
	}
	var all []*Info
	after := ""
	for {
		page, more, err := c.readDirPage(ctx, &readDirReq{path: name, after: after, limit: readDirPage, deleted: deleted})
		if err != nil {
			return nil, opError("readdir", name, err)
		}
		all = append(all, page...)
		if !more || len(page) == 0 {
			return all, nil
		}
		after = page[len(page)-1].name
	}
}

// readDirPage returns some entries of a directory and whether there are more.
func (c *Client) readDirPage(ctx context.Context, req *readDirReq) ([]*Info, bool, error) {
	resp, err := askMaster[readDirResp](ctx, c, methodReadDir, req)
	if err != nil {
		return nil, false, err
	}
	page := make([]*Info, len(resp.entries))
	for i, a := range resp.entries {
		page[i] = &Info{attr: a, name: a.path}
		page[i].attr.path = path.Join(req.path, a.path)
	}
	return page, resp.more, nil
}

// Mkdir makes a directory, whose parent must be there.
func (c *Client) Mkdir(ctx context.Context, name string, perm fs.FileMode) error {
	return change(ctx, c, "mkdir", name, methodMkdir, &mkdirReq{path: name, mode: uint32(perm.Perm())})
}

// MkdirAll makes a directory and those above it, where they are not there yet.
func (c *Client) MkdirAll(ctx context.Context, name string, perm fs.FileMode) error {
	return change(ctx, c, "mkdir", name, methodMkdir, &mkdirReq{path: name, mode: uint32(perm.Perm()), parents: true})
}

// Remove removes a file or an empty directory. It stays for the time of its retention
// (see SetPolicy) under a hidden name in the same directory: Undelete brings it back,
// ReadDeleted shows it. Removed again under its hidden name, it is gone for good.
func (c *Client) Remove(ctx context.Context, name string) error {
	_, err := changePath(ctx, c, "remove", name, methodRemove, &removeReq{path: name})
	return err
}

// RemoveAll removes a file, or a directory with everything in it, as Remove does. If
// there is nothing at the path it does nothing.
func (c *Client) RemoveAll(ctx context.Context, name string) error {
	_, err := changePath(ctx, c, "remove", name, methodRemove, &removeReq{path: name, all: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Undelete brings back what was removed: name is a hidden path, or one from which
// something was removed (then it is what was removed last). It comes to be at to, or
// where it was if to is "". Undelete returns the path, and never replaces what is there.
func (c *Client) Undelete(ctx context.Context, name, to string) (string, error) {
	if to != "" {
		if err := checkPath(to); err != nil {
			return "", opError("undelete", to, err)
		}
	}
	return changePath(ctx, c, "undelete", name, methodRestore, &undeleteReq{path: name, to: to})
}

// Rename gives a file or directory another path, whose parent must be there. It never
// replaces what is at the new path: that is fs.ErrExist.
func (c *Client) Rename(ctx context.Context, from, to string) error {
	return c.pair(ctx, "rename", methodRename, from, to)
}

// Snapshot makes a copy of a file, or of a directory with everything in it, almost at
// once (§3.4): the two share their chunks until one of them is written to. Writes that
// have been acknowledged are in it. It never replaces what is at the new path.
func (c *Client) Snapshot(ctx context.Context, from, to string) error {
	return c.pair(ctx, "snapshot", methodCopy, from, to)
}

func (c *Client) pair(ctx context.Context, op, method, from, to string) error {
	if err := checkPath(to); err != nil {
		return opError(op, to, err)
	}
	return change(ctx, c, op, from, method, &pairReq{from: from, to: to})
}

// SetReplication sets how many replicas each chunk of a file has, or of every file below
// a directory, and of new files there (§4.2). It returns before they are made.
func (c *Client) SetReplication(ctx context.Context, name string, n int) error {
	if n < 1 || n > MaxReplication {
		return opError("set replication", name, errReplication)
	}
	return change(ctx, c, "set replication", name, methodSetAttr, &setAttrReq{path: name, all: true, mode: -1, goal: uint8(n)})
}

var errReplication = fmt.Errorf("%w: the number of replicas must be from 1 to %d", fs.ErrInvalid, MaxReplication)

// Chmod sets the permission bits of a file or directory.
func (c *Client) Chmod(ctx context.Context, name string, perm fs.FileMode) error {
	return change(ctx, c, "chmod", name, methodSetAttr, &setAttrReq{path: name, mode: int64(perm.Perm())})
}

// Chown sets owner and group of a file or directory; "" leaves what is there.
func (c *Client) Chown(ctx context.Context, name, owner, group string) error {
	return change(ctx, c, "chown", name, methodSetAttr, &setAttrReq{path: name, mode: -1, owner: owner, group: group})
}

// Chtimes sets the time of modification.
func (c *Client) Chtimes(ctx context.Context, name string, modified time.Time) error {
	return change(ctx, c, "chtimes", name, methodSetAttr, &setAttrReq{path: name, mode: -1, modTime: modified.UnixNano()})
}

// Policy is what holds in a directory and below it. A directory overrides those above it
// field by field; the limits all count.
type Policy struct {
	// Replication is how many replicas chunks of new files have. 0: as above.
	Replication int
	// Retention is how long what is removed can be undeleted. 0: as above; negative: not
	// at all, its space is free at once.
	Retention time.Duration
	// MaxFiles limits the files and directories below, MaxChunks the chunks of the files
	// below, each counted once a file. 0: no limit.
	MaxFiles  int64
	MaxChunks int64
}

// SetPolicy sets what holds in a directory, in place of what did.
func (c *Client) SetPolicy(ctx context.Context, dir string, p Policy) error {
	err := error(nil)
	switch {
	case p.Replication < 0 || p.Replication > MaxReplication:
		err = fmt.Errorf("%w: Replication is %d, not from 0 to %d", fs.ErrInvalid, p.Replication, MaxReplication)
	case p.MaxFiles < 0:
		err = fmt.Errorf("%w: MaxFiles is %d; 0 is no limit", fs.ErrInvalid, p.MaxFiles)
	case p.MaxChunks < 0:
		err = fmt.Errorf("%w: MaxChunks is %d; 0 is no limit", fs.ErrInvalid, p.MaxChunks)
	}
	if err != nil {
		return opError("set policy", dir, err)
	}
	return change(ctx, c, "set policy", dir, methodPolicy, &policyReq{path: dir, policy: policy{
		goal: uint8(p.Replication), retention: p.Retention, maxFiles: uint64(p.MaxFiles), maxChunks: uint64(p.MaxChunks),
	}})
}

// change makes the master change something at a path, which is answered with nothing.
func change[Req any](ctx context.Context, c *Client, op, name, method string, req *Req) error {
	err := checkPath(name)
	if err == nil {
		_, err = tellMaster[rpc.Empty](ctx, c, method, req)
	}
	return opError(op, name, err)
}

// changePath is change that is answered with a path.
func changePath[Req any](ctx context.Context, c *Client, op, name, method string, req *Req) (string, error) {
	err := checkPath(name)
	if err != nil {
		return "", opError(op, name, err)
	}
	resp, err := tellMaster[pathResp](ctx, c, method, req)
	if err != nil {
		return "", opError(op, name, err)
	}
	return resp.path, nil
}
