package mapreducetest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/mapreduce"
)

var (
	errCrashed  = errors.New("mapreducetest: the machine has crashed")
	errInjected = errors.New("mapreducetest: injected error")
)

// disk is a file system as one process sees it until it dies: its calls take their
// time, and go wrong.
type disk struct {
	inner mapreduce.FileSystem
	uses  *atomic.Int64 // files opened and read, and files created
	*speed
}

var _ mapreduce.FileSystem = (*disk)(nil)

// speed is how fast a process is with files, and whether it lives. The zero value takes
// no time.
type speed struct {
	unit time.Duration // see times
	seed uint64
	dead chan struct{} // closed when the process has died

	mu     sync.Mutex // guards what follows
	calls  uint64
	factor int           // calls take so many times longer
	hung   chan struct{} // if not nil, calls wait until it is closed
	fail   int           // so many calls fail
	failed int           // so many have
}

// call lets a call take its time: up to steps units. An error says that it failed.
func (s *speed) call(steps uint64) error {
	if s.unit == 0 {
		return nil
	}
	s.mu.Lock()
	s.calls++
	d := time.Duration(mix(s.seed, s.calls)%(steps*8+1)) * s.unit / 8 * time.Duration(max(1, s.factor))
	hung := s.hung
	var err error
	if s.fail > 0 {
		s.fail--
		s.failed++
		err = errInjected
	}
	s.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-s.dead:
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.dead:
	}
	select {
	case <-s.dead:
		return errCrashed // nothing it does has an effect any more
	default:
		return err
	}
}

// mix makes a random number of two (splitmix64).
func mix(seed, n uint64) uint64 {
	x := seed*0x9e3779b97f4a7c15 + n
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// slow makes calls take longer, hang makes them wait, normal ends both.
func (s *speed) slow(factor int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.factor = factor
}

func (s *speed) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung == nil {
		s.hung = make(chan struct{})
	}
}

func (s *speed) normal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.factor = 1
	if s.hung != nil {
		close(s.hung)
		s.hung = nil
	}
}

// failNext makes the next calls fail.
func (s *speed) failNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail += n
}

// failures returns how many calls have been made to fail.
func (s *speed) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// How many units calls take at most: those that only look, or move a block, and those
// that wait for a disk or a server.
const (
	quickCall = 1
	slowCall  = 4
)

// Glob implements mapreduce.FileSystem.
func (d *disk) Glob(ctx context.Context, pattern string) ([]string, error) {
	if err := d.call(quickCall); err != nil {
		return nil, &fs.PathError{Op: "glob", Path: pattern, Err: err}
	}
	return d.inner.Glob(ctx, pattern)
}

// Open implements mapreduce.FileSystem.
func (d *disk) Open(ctx context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	if err := d.call(slowCall); err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f, size, err := d.inner.Open(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	return &slowReader{file: f, disk: d, name: name}, size, nil
}

// slowReader is an open file on a disk.
type slowReader struct {
	file interface {
		io.ReaderAt
		io.Closer
	}
	disk *disk
	name string
	once sync.Once
}

func (r *slowReader) ReadAt(p []byte, off int64) (int, error) {
	r.once.Do(func() { r.disk.use() })
	if err := r.disk.call(quickCall); err != nil {
		return 0, &fs.PathError{Op: "read", Path: r.name, Err: err}
	}
	return r.file.ReadAt(p, off)
}

func (r *slowReader) Close() error { return r.file.Close() }

func (d *disk) use() {
	if d.uses != nil {
		d.uses.Add(1)
	}
}

// Create implements mapreduce.FileSystem.
func (d *disk) Create(ctx context.Context, name string) (io.WriteCloser, error) {
	if err := d.call(slowCall); err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	f, err := d.inner.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	d.use()
	return &slowWriter{file: f, disk: d, name: name}, nil
}

// slowWriter is a file being written on a disk.
type slowWriter struct {
	file io.WriteCloser
	disk *disk
	name string
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if err := w.disk.call(quickCall); err != nil {
		return 0, &fs.PathError{Op: "write", Path: w.name, Err: err}
	}
	return w.file.Write(p)
}

// Close takes the longest: it makes the file durable.
func (w *slowWriter) Close() error {
	if err := w.disk.call(slowCall); err != nil {
		if !errors.Is(err, errCrashed) {
			_ = w.file.Close() // what becomes of the file is unknown to the caller
		}
		return &fs.PathError{Op: "close", Path: w.name, Err: err}
	}
	return w.file.Close()
}

// Commit implements mapreduce.FileSystem.
func (d *disk) Commit(ctx context.Context, temporary, final string) error {
	if err := d.call(slowCall); err != nil {
		return &fs.PathError{Op: "commit", Path: temporary, Err: err}
	}
	return d.inner.Commit(ctx, temporary, final)
}

// Remove implements mapreduce.FileSystem.
func (d *disk) Remove(ctx context.Context, name string) error {
	if err := d.call(quickCall); err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return d.inner.Remove(ctx, name)
}
