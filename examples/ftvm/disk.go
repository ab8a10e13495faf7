package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft/shareddisk"
)

// guestDisk is where the program finds the shared disk.
const guestDisk = "/shared"

// gfsPrefix begins the -shared of a disk that is in a gfs: its masters follow, separated by
// commas, and a directory there.
const gfsPrefix = "gfs:"

// gfsItself is the -shared that has this program start a gfs of its own.
const gfsItself = "gfs"

// checkShared finds what is wrong with the flags about the shared disk.
func (o *options) checkShared() error {
	switch {
	case o.reads != "logged" && o.reads != "backup":
		return local.BadUsage(`-reads %q: must be "logged" or "backup"`, o.reads)
	case o.shared == "" && o.reads == "backup":
		return local.BadUsage("-reads is of no use without -shared")
	case o.shared == gfsItself && o.node != "":
		return local.BadUsage("-shared gfs is of no use with -node: all nodes need the same one, as %saddress/directory", gfsPrefix)
	}
	return nil
}

// openDisk opens the shared disk, for one node. It returns nil if there is none.
func (o *options) openDisk(ctx context.Context, stderr io.Writer) (*shareddisk.Disk, error) {
	if o.shared == "" {
		return nil, nil
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "ftvm", Output: stderr, Level: hclog.Warn})
	name, inGFS := strings.CutPrefix(o.shared, gfsPrefix)
	if !inGFS {
		return openDirectory(o.shared, log)
	}
	masters, dir, _ := strings.Cut(name, "/")
	client, err := gfs.Dial(ctx, gfs.ClientConfig{Transport: &transport.TCP{}, Masters: strings.Split(masters, ","), CacheTime: time.Second})
	if err != nil {
		return nil, fmt.Errorf("the gfs of -shared: %w", err)
	}
	context.AfterFunc(ctx, func() { client.Close() })
	return shareddisk.Open(gfsFiles{client, path.Join(".", dir)}, log)
}

// openDirectory opens a shared disk in a directory, which has to be there: if it were made, a
// disk that is not mounted would look like an empty one.
func openDirectory(dir string, log hclog.Logger) (*shareddisk.Disk, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("-shared %s: there is no such directory; if it is on a disk that has to be mounted, mount that first, and for a new shared disk make the directory: mkdir -p %s", dir, dir)
	case err != nil:
		return nil, fmt.Errorf("-shared %s: %w", dir, err)
	case !info.IsDir():
		return nil, fmt.Errorf("-shared %s: that is a file, and the shared disk is a directory", dir)
	}
	d, err := shareddisk.Open(shareddisk.Directory(dir), log)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, fmt.Errorf("-shared %s: this user has to be able to read and write there: %w", dir, err)
	}
	return d, err
}

// tryDisk opens the shared disk and closes it again: what is wrong with it is said once, before
// any node is started. One of this program's own is not there yet.
func (o *options) tryDisk(ctx context.Context, stderr io.Writer) error {
	if o.shared == gfsItself {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, err := o.openDisk(ctx, stderr)
	if d == nil {
		return err
	}
	return errors.Join(err, d.Close())
}

// ownGFS starts a gfs for as long as this program runs.
func (o *options) ownGFS(ctx context.Context, stdout io.Writer) (end func() error, err error) {
	dir, err := os.MkdirTemp("", "ftvm-gfs-")
	if err != nil {
		return nil, err
	}
	stop, err := o.startGFS(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	fmt.Fprintf(stdout, "the shared disk is in a gfs with %d chunkservers: %s\n", chunkservers, o.shared)
	return func() error { return errors.Join(stop(), os.RemoveAll(dir)) }, nil
}

// A gfsFiles is the files of a shared disk in a gfs.
type gfsFiles struct {
	client *gfs.Client
	dir    string
}

// patienceWithGFS is how long an operation on names may take.
const patienceWithGFS = 30 * time.Second

func (f gfsFiles) do(op func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patienceWithGFS)
	defer cancel()
	return told(op(ctx))
}

// told returns the error that a shared disk knows as that of a full one.
func told(err error) error {
	if errors.Is(err, gfs.ErrNoSpace) {
		return fmt.Errorf("%w: %w", vfs.ErrNoSpace, err)
	}
	return err
}

func (f gfsFiles) open(name string, o gfs.OpenOptions) (shareddisk.File, error) {
	var file *gfs.File
	err := f.do(func(ctx context.Context) (err error) {
		file, err = f.client.OpenFile(ctx, path.Join(f.dir, name), o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return gfsFile{file}, nil
}

// Open implements shareddisk.Files.
func (f gfsFiles) Open(name string) (shareddisk.File, error) {
	return f.open(name, gfs.OpenOptions{Write: true})
}

// Create implements shareddisk.Files.
func (f gfsFiles) Create(name string) (shareddisk.File, error) {
	return f.open(name, gfs.OpenOptions{Create: true, Exclusive: true})
}

// Mkdir implements shareddisk.Files.
func (f gfsFiles) Mkdir(name string) error {
	return f.do(func(ctx context.Context) error { return f.client.MkdirAll(ctx, path.Join(f.dir, name), 0o755) })
}

// Rename implements shareddisk.Files.
func (f gfsFiles) Rename(from, to string) error {
	return f.do(func(ctx context.Context) error {
		return f.client.Rename(ctx, path.Join(f.dir, from), path.Join(f.dir, to))
	})
}

// Remove implements shareddisk.Files.
func (f gfsFiles) Remove(name string) error {
	return f.do(func(ctx context.Context) error { return f.client.Remove(ctx, path.Join(f.dir, name)) })
}

// List implements shareddisk.Files.
func (f gfsFiles) List(dir string) (names []string, err error) {
	err = f.do(func(ctx context.Context) error {
		infos, err := f.client.ReadDir(ctx, path.Join(f.dir, dir))
		for _, info := range infos {
			names = append(names, info.Name())
		}
		return err
	})
	return names, err
}

// SyncDir implements shareddisk.Files: what the master has acknowledged is durable.
func (f gfsFiles) SyncDir(string) error { return nil }

// A gfsFile is one of them.
type gfsFile struct{ *gfs.File }

// WriteAt implements io.WriterAt.
func (f gfsFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(b, off)
	return n, told(err)
}

// Size implements shareddisk.File.
func (f gfsFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// chunkservers are how many the gfs has that this program starts.
const chunkservers = 3

// startGFS starts a gfs in this process, and makes -shared a directory in it.
func (o *options) startGFS(ctx context.Context, dir string) (end func() error, err error) {
	var running []io.Closer
	end = func() (err error) {
		for _, c := range running {
			err = errors.Join(err, c.Close())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	master, err := gfs.StartMaster(ctx, gfs.MasterConfig{Transport: &transport.TCP{}, Addr: "127.0.0.1:0", Dir: filepath.Join(dir, "master"), Retention: -1})
	if err != nil {
		return nil, err
	}
	running = append(running, master)
	for i := range chunkservers {
		server, err := gfs.StartChunkserver(ctx, gfs.ChunkserverConfig{
			Transport: &transport.TCP{}, Addr: net.JoinHostPort("127.0.0.1", "0"), Dir: filepath.Join(dir, fmt.Sprint("chunks", i)), Masters: []string{master.Addr()},
		})
		if err != nil {
			return nil, err
		}
		running = append([]io.Closer{server}, running...)
	}
	o.shared = gfsPrefix + master.Addr() + "/disk"
	return end, nil
}
