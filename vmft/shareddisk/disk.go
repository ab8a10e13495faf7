package shareddisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/vmft/rv64"
)

// ErrDamaged is matched by the errors about what is on a disk: it is of another kind or
// version, cut off, or corrupt.
var ErrDamaged = errors.New("shareddisk: the shared disk is damaged, or is none")

// A Disk is a shared disk, as one host has it. Its methods may be called concurrently.
type Disk struct {
	files  Files
	log    hclog.Logger
	reader *store
	bugs   planted
}

// planted are bugs that tests switch on.
type planted struct {
	order orderBugs
	store storeBugs
}

// Open opens the disk that is in files, or begins a new one if nothing is there. It fails
// with an error that matches ErrDamaged if what is there is something else. The logger is
// told what fails while the disk is in use; nil is nobody.
func Open(files Files, logger hclog.Logger) (*Disk, error) {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	d := &Disk{files: files, log: logger, reader: newStore(files, version{})}
	b, err := readWhole(files, headerName)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = d.format()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("shareddisk: opening the disk: %w", err)
	case string(b) != headerText:
		return nil, fmt.Errorf("%w: the file %q begins with %q", ErrDamaged, headerName, b[:min(len(b), 40)])
	}
	for _, dir := range []string{termDir, rootDir, objectDir} {
		if err := files.Mkdir(dir); err != nil {
			return nil, fmt.Errorf("shareddisk: opening the disk: %w", err)
		}
	}
	return d, nil
}

// format begins a new disk. Several hosts may do it at the same time.
func (d *Disk) format() ([]byte, error) {
	if err := d.files.Mkdir(""); err != nil {
		return nil, err
	}
	names, err := d.files.List("")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.Contains([]string{termDir, rootDir, objectDir, headerName, headerName + unfinished}, name) {
			return nil, fmt.Errorf("%w: there is no file %q, and there is one called %q", ErrDamaged, headerName, name)
		}
	}
	if err := writeWhole(d.files, headerName, []byte(headerText)); err != nil {
		b, err2 := readWhole(d.files, headerName) // another was faster
		if err2 != nil {
			return nil, err
		}
		return b, nil
	}
	return []byte(headerText), nil
}

// Close gives up what is open for reading. Servers are closed before.
func (d *Disk) Close() error {
	d.reader.close()
	return nil
}

// Fetch reads by itself what an entry of the log tells has been read, for a backup: it is
// for vmft.Config.Fetch. Name is what a Server has given to its Port.
func (d *Disk) Fetch(_ context.Context, name []byte, attempt int) (event []byte, err error) {
	r, err := rv64.ParseDiskRequest(name)
	if err != nil {
		return nil, err
	}
	if r.Kind != rv64.DiskRead {
		return nil, fmt.Errorf("shareddisk: a request of kind %v is none to be repeated", r.Kind)
	}
	if attempt > 0 { // what is known may be old
		d.reader.forget(r.Object)
	}
	b := make([]byte, r.Length)
	if err := d.reader.readAt(r.Object, b, r.Offset); err != nil {
		return nil, fmt.Errorf("shareddisk: reading %d bytes at %d of object %x: %w", r.Length, r.Offset, r.Object, err)
	}
	return rv64.DiskDoneEvent(&r, 0, b), nil
}

// begin begins the term of an epoch, of a machine that has a generation, or else is given
// the next one.
func (d *Disk) begin(generation, epoch uint64) (*store, error) {
	fresh := generation == 0
	for {
		if fresh {
			last, err := newestTerm(d.files)
			if err != nil {
				return nil, err
			}
			generation = last.generation + 1
		}
		s := newStore(d.files, version{generation, epoch})
		s.bugs = d.bugs.store
		err := s.begin()
		if fresh && (errors.Is(err, fs.ErrExist) || errors.Is(err, errFenced)) {
			continue // another was faster
		}
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// load returns the object with the catalog, and what is in it; objects that it does not name
// are removed.
func (d *Disk) load(s *store) (object uint64, content []byte, err error) {
	if object, err = s.root(); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	var keep []uint64
	if object != 0 {
		size, err := s.size(object)
		if err != nil {
			return 0, nil, err
		}
		content = make([]byte, size)
		if err := s.readAt(object, content, 0); err != nil {
			return 0, nil, err
		}
		if len(content) == 0 {
			return 0, nil, fmt.Errorf("%w: the catalog, object %x, is empty", ErrDamaged, object)
		}
		if keep, err = rv64.CheckCatalog(content); err != nil {
			return 0, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	slices.Sort(keep)
	if err := s.collect(append(keep, object)); err != nil {
		d.log.Warn("what is not needed on the shared disk could not be removed", "error", err)
	}
	return object, content, nil
}

// The numbers of errors, as Linux has them, that the program gets.
const (
	errnoIO      = 5
	errnoNoSpace = 28
)

func errnoOf(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, vfs.ErrNoSpace), errors.Is(err, syscall.ENOSPC):
		return errnoNoSpace
	}
	return errnoIO
}

const (
	transfers    = 16              // at a time
	mostVolatile = 8 << 20         // bytes that were written and are not synced, until they are
	syncEvery    = time.Second     // after which they are
	retryFor     = 2 * time.Second // what fails that was done before, by another
	retryEvery   = 50 * time.Millisecond
	patience     = 10 * time.Second // between two complaints
)
