package gfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"time"
)

// defaultPerm are the permission bits of files, and dirPerm those of directories, that
// are made without being told any.
const (
	defaultPerm fs.FileMode = 0o644
	dirPerm     fs.FileMode = 0o755
)

// OpenOptions say how OpenFile opens a file. The zero value reads one that is there.
type OpenOptions struct {
	// Write opens for writing besides reading.
	Write bool
	// Append makes Write append records, as File.Append does. It implies Write.
	Append bool
	// Create makes the file, and the directories above it, if it is not there;
	// Exclusive fails if it is. Both imply Write.
	Create    bool
	Exclusive bool
	// Perm are the permission bits of a file that is made. Default 0644.
	Perm fs.FileMode
	// Replication is how many replicas the chunks of a file that is made have. Default 0:
	// what the directories above say.
	Replication int
}

// Open opens a file for reading. What the client remembered of its chunks is forgotten
// (§2.7.1). ctx bounds the opening only.
func (c *Client) Open(ctx context.Context, name string) (*File, error) {
	return c.OpenFile(ctx, name, OpenOptions{})
}

// Create makes a file that must not exist, and the directories above it, and opens it for
// reading and writing. Files have no content that could be cut off: to write one anew
// see WriteFile.
func (c *Client) Create(ctx context.Context, name string) (*File, error) {
	return c.OpenFile(ctx, name, OpenOptions{Create: true, Exclusive: true})
}

// Append opens a file so that each Write appends a record (see File.Append), after making
// it if it is not there.
func (c *Client) Append(ctx context.Context, name string) (*File, error) {
	return c.OpenFile(ctx, name, OpenOptions{Create: true, Append: true})
}

// OpenFile opens a file as the options say. ctx bounds the opening only.
func (c *Client) OpenFile(ctx context.Context, name string, o OpenOptions) (*File, error) {
	const op = "open"
	err := checkPath(name)
	switch {
	case err != nil:
	case o.Replication < 0 || o.Replication > MaxReplication:
		err = errReplication
	case o.Create || o.Exclusive:
		return c.openNew(ctx, name, o)
	}
	if err != nil {
		return nil, opError(op, name, err)
	}
	resp, err := askMaster[statResp](ctx, c, methodStat, &statReq{path: name})
	if err == nil && resp.dir {
		err = ErrIsDir
	}
	if err != nil {
		return nil, opError(op, name, err)
	}
	c.cache.forget(resp.id)
	f := c.newFile(fileRef{name, resp.id}, true, o.Write || o.Append, o.Append)
	f.hint = resp.size
	return f, nil
}

// openNew opens a file that may have to be made.
func (c *Client) openNew(ctx context.Context, name string, o OpenOptions) (*File, error) {
	if o.Perm == 0 {
		o.Perm = defaultPerm
	}
	req := &createReq{path: name, mode: uint32(o.Perm.Perm()), goal: uint8(o.Replication), exclusive: o.Exclusive, parents: true}
	resp, err := tellMaster[createResp](ctx, c, methodCreate, req)
	if err != nil {
		return nil, opError("create", name, err)
	}
	if resp.existed { // of a file that is new nothing was known before
		c.cache.forget(resp.file)
	}
	return c.newFile(fileRef{name, resp.file}, true, true, o.Append), nil
}

// ReadFile returns the content of a file.
func (c *Client) ReadFile(ctx context.Context, name string) ([]byte, error) {
	f, err := c.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One byte more shows that the file ends where the master thinks; if not, it has grown.
	data := make([]byte, f.hint+1)
	n := 0
	for {
		k, err := f.ReadAtContext(ctx, data[n:], int64(n))
		n += k
		if err == io.EOF {
			return data[:n:n], nil
		}
		if err != nil {
			return nil, err
		}
		data = append(data, make([]byte, len(data))...)
	}
}

// WriteFile makes a file of the data, durably, in place of the one that is there, which
// is removed as by Remove. Another process sees the old content, the new one, or for a
// moment no file, but never a part.
func (c *Client) WriteFile(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	if err := checkPath(name); err != nil {
		return opError("write", name, err)
	}
	temporary := path.Join(path.Dir(name), fmt.Sprintf(".%016x.writing", rand.Uint64()))
	f, err := c.OpenFile(ctx, temporary, OpenOptions{Create: true, Exclusive: true, Perm: perm})
	if err != nil {
		return err
	}
	_, err = f.WriteAtContext(ctx, data, 0)
	if err == nil {
		err = f.SyncContext(ctx)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	for n := 0; err == nil; n++ {
		err = c.Rename(ctx, temporary, name)
		if n == replaceTries || !errors.Is(err, fs.ErrExist) {
			break
		}
		if err = c.Remove(ctx, name); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		// What is left has a name by which it can be told.
		_ = c.Remove(ctx, temporary)
	}
	return err
}

// replaceTries is how often WriteFile removes what others put in its way.
const replaceTries = 16

// Locate returns the hosts of the chunkservers that have the bytes from off to off+n of a
// file, the best first: those that have most of them, and of these the nearest.
func (c *Client) Locate(ctx context.Context, name string, off, n int64) ([]string, error) {
	const op = "locate"
	err := checkPath(name)
	if err == nil && (off < 0 || n < 0) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, opError(op, name, err)
	}
	first := uint64(off / c.chunkSize)
	count := uint64((off+max(n, 1)-1)/c.chunkSize) - first + 1
	asked := c.cache.ask()
	resp, err := askMaster[lookupResp](ctx, c, methodLookup, &lookupReq{path: name, first: first, count: count})
	if err != nil {
		return nil, opError(op, name, err)
	}
	c.cache.put(resp.file, first, resp, asked, time.Now())
	return c.hostsOf(resp.found, off, n), nil
}

// hostsOf returns the hosts of the chunks between off and off+n, the best first.
func (c *Client) hostsOf(chunks []chunkInfo, off, n int64) []string {
	type holder struct {
		host  string
		bytes int64
		far   int
	}
	var all []holder
	for _, k := range chunks {
		from := int64(k.index) * c.chunkSize
		bytes := min(off+n, from+c.chunkSize) - max(off, from)
		if bytes <= 0 {
			continue
		}
		for _, l := range k.where {
			host := hostOf(l.addr)
			i := slices.IndexFunc(all, func(h holder) bool { return h.host == host })
			if i < 0 {
				all = append(all, holder{host: host, far: distance(&c.here, &l)})
				i = len(all) - 1
			}
			all[i].bytes += bytes
		}
	}
	slices.SortStableFunc(all, func(a, b holder) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.far, b.far))
	})
	hosts := make([]string, len(all))
	for i, h := range all {
		hosts[i] = h.host
	}
	return hosts
}
