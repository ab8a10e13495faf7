package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// Op is a kind of call on an [FS] or a [File].
type Op uint8

// The calls. Close and Size are not among them: they change nothing and are never
// interfered with.
const (
	OpOpen     Op = iota + 1 // OpenFile without O_CREATE and O_TRUNC
	OpCreate                 // OpenFile with either, whether or not the file is there
	OpRename                 // Rename
	OpLink                   // Link
	OpRemove                 // Remove
	OpReadDir                // ReadDir
	OpMkdirAll               // MkdirAll
	OpStat                   // Stat
	OpSyncDir                // SyncDir
	OpLock                   // Lock
	OpRead                   // Read, ReadAt
	OpWrite                  // Write, WriteAt
	OpSync                   // Sync
	OpTruncate               // Truncate
	opCount
)

var opNames = [opCount]string{
	OpOpen: "open", OpCreate: "create", OpRename: "rename", OpLink: "link", OpRemove: "remove",
	OpReadDir: "readdir", OpMkdirAll: "mkdir", OpStat: "stat", OpSyncDir: "syncdir", OpLock: "lock",
	OpRead: "read", OpWrite: "write", OpSync: "sync", OpTruncate: "truncate",
}

// String returns the name of the call.
func (op Op) String() string {
	if op > 0 && op < opCount {
		return opNames[op]
	}
	return fmt.Sprintf("Op(%d)", uint8(op))
}

// Mutates reports whether the call changes the file system or makes it durable.
func (op Op) Mutates() bool {
	switch op {
	case OpCreate, OpRename, OpLink, OpRemove, OpMkdirAll, OpSyncDir, OpLock, OpWrite, OpSync, OpTruncate:
		return true
	default:
		return false
	}
}

// Call is a call that is about to be made.
type Call struct {
	N      int64  // its number, from 1, over the whole file system
	Op     Op     // what is called
	Name   string // on what
	To     string // OpRename, OpLink: the new name
	Offset int64  // OpRead, OpWrite: where, -1 for the handle's own position; OpTruncate: the size
	Size   int    // OpRead, OpWrite: how much
}

// String returns the call as a failed test wants to print it.
func (c Call) String() string {
	switch c.Op {
	case OpRename, OpLink:
		return fmt.Sprintf("call %d: %v %s to %s", c.N, c.Op, c.Name, c.To)
	case OpRead, OpWrite:
		return fmt.Sprintf("call %d: %v %s, %d bytes at %d", c.N, c.Op, c.Name, c.Size, c.Offset)
	case OpTruncate:
		return fmt.Sprintf("call %d: %v %s to %d bytes", c.N, c.Op, c.Name, c.Offset)
	default:
		return fmt.Sprintf("call %d: %v %s", c.N, c.Op, c.Name)
	}
}

// Fault is what shall happen to a call. The zero Fault lets it pass.
type Fault struct {
	// Err, if not nil, is what the call fails with. Without Done or Partial the
	// call has no effect.
	Err error
	// Done carries the call out before it fails with Err: the effect is there and
	// the caller does not know. Calls that change nothing are failed without being
	// made.
	Done bool
	// Partial, of a write that fails with Err, is the number of bytes that are
	// written all the same.
	Partial int
	// Lie leaves the call undone and reports success. It has no effect on calls
	// that return something other than an error, writes excepted.
	Lie bool
	// Corrupt, if not nil, may change the bytes of a write before they are written,
	// or of a read after they were read. It may not keep the slice.
	Corrupt func(p []byte)
}

// Hook decides about each call. It may block, which makes the disk slow. It is
// called concurrently where the file system is.
type Hook func(Call) Fault

// Injector is a file system whose calls can be made to go wrong.
type Injector struct {
	inner FS
	hook  Hook
	calls atomic.Int64
}

var _ FS = (*Injector)(nil)

// Inject returns a file system that asks hook before each call on inner. A nil
// hook counts calls only.
func Inject(inner FS, hook Hook) *Injector {
	if hook == nil {
		hook = func(Call) Fault { return Fault{} }
	}
	return &Injector{inner: inner, hook: hook}
}

// Calls returns how many calls there have been.
func (in *Injector) Calls() int64 { return in.calls.Load() }

// ask numbers a call and lets the hook decide.
func (in *Injector) ask(c Call) Fault {
	c.N = in.calls.Add(1)
	return in.hook(c)
}

// run carries out a call that returns only an error.
func (in *Injector) run(c Call, call func() error) error {
	fault := in.ask(c)
	if fault.Err == nil {
		if fault.Lie {
			return nil
		}
		return call()
	}
	if fault.Done {
		if err := call(); err != nil {
			return err
		}
	}
	return failure(c, fault)
}

func failure(c Call, fault Fault) error {
	return &fs.PathError{Op: c.Op.String(), Path: c.Name, Err: fault.Err}
}

// query carries out a call that returns something.
func query[T any](in *Injector, c Call, call func() (T, error)) (T, error) {
	fault := in.ask(c)
	if fault.Err == nil {
		return call()
	}
	var none T
	if fault.Done && c.Op.Mutates() {
		result, err := call()
		if err != nil {
			return none, err
		}
		if handle, ok := any(result).(io.Closer); ok {
			_ = handle.Close() // nobody gets it
		}
	}
	return none, failure(c, fault)
}

// OpenFile implements [FS].
func (in *Injector) OpenFile(name string, flag int) (File, error) {
	op := OpOpen
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		op = OpCreate
	}
	f, err := query(in, Call{Op: op, Name: name}, func() (File, error) {
		return in.inner.OpenFile(name, flag)
	})
	if err != nil {
		return nil, err
	}
	return &injectedFile{in: in, inner: f, name: name}, nil
}

// Rename implements [FS].
func (in *Injector) Rename(oldname, newname string) error {
	return in.run(Call{Op: OpRename, Name: oldname, To: newname}, func() error {
		return in.inner.Rename(oldname, newname)
	})
}

// Link implements [FS].
func (in *Injector) Link(oldname, newname string) error {
	return in.run(Call{Op: OpLink, Name: oldname, To: newname}, func() error {
		return in.inner.Link(oldname, newname)
	})
}

// Remove implements [FS].
func (in *Injector) Remove(name string) error {
	return in.run(Call{Op: OpRemove, Name: name}, func() error { return in.inner.Remove(name) })
}

// ReadDir implements [FS].
func (in *Injector) ReadDir(name string) ([]fs.DirEntry, error) {
	return query(in, Call{Op: OpReadDir, Name: name}, func() ([]fs.DirEntry, error) {
		return in.inner.ReadDir(name)
	})
}

// MkdirAll implements [FS].
func (in *Injector) MkdirAll(name string) error {
	return in.run(Call{Op: OpMkdirAll, Name: name}, func() error { return in.inner.MkdirAll(name) })
}

// Stat implements [FS].
func (in *Injector) Stat(name string) (fs.FileInfo, error) {
	return query(in, Call{Op: OpStat, Name: name}, func() (fs.FileInfo, error) {
		return in.inner.Stat(name)
	})
}

// SyncDir implements [FS].
func (in *Injector) SyncDir(name string) error {
	return in.run(Call{Op: OpSyncDir, Name: name}, func() error { return in.inner.SyncDir(name) })
}

// Lock implements [FS].
func (in *Injector) Lock(name string) (io.Closer, error) {
	return query(in, Call{Op: OpLock, Name: name}, func() (io.Closer, error) {
		return in.inner.Lock(name)
	})
}

// Free implements [Spacer], if the file system within does. It is never interfered with.
func (in *Injector) Free(dir string) (free, total int64, err error) {
	if s, ok := in.inner.(Spacer); ok {
		return s.Free(dir)
	}
	return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: errors.ErrUnsupported}
}

// injectedFile is an open file of an [Injector].
type injectedFile struct {
	in    *Injector
	inner File
	name  string
}

var _ File = (*injectedFile)(nil)

func (f *injectedFile) Read(p []byte) (int, error) {
	return f.read(p, -1, f.inner.Read)
}

func (f *injectedFile) ReadAt(p []byte, off int64) (int, error) {
	return f.read(p, off, func(p []byte) (int, error) { return f.inner.ReadAt(p, off) })
}

func (f *injectedFile) read(p []byte, off int64, call func([]byte) (int, error)) (int, error) {
	c := Call{Op: OpRead, Name: f.name, Offset: off, Size: len(p)}
	fault := f.in.ask(c)
	if fault.Err != nil {
		return 0, failure(c, fault)
	}
	n, err := call(p)
	if fault.Corrupt != nil {
		fault.Corrupt(p[:n])
	}
	return n, err
}

func (f *injectedFile) Write(p []byte) (int, error) {
	return f.write(p, -1, f.inner.Write)
}

func (f *injectedFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, off, func(p []byte) (int, error) { return f.inner.WriteAt(p, off) })
}

func (f *injectedFile) write(p []byte, off int64, call func([]byte) (int, error)) (int, error) {
	c := Call{Op: OpWrite, Name: f.name, Offset: off, Size: len(p)}
	fault := f.in.ask(c)
	if fault.Corrupt != nil {
		p = append([]byte(nil), p...) // a writer's bytes are its own
		fault.Corrupt(p)
	}
	if fault.Err == nil {
		if fault.Lie {
			return len(p), nil
		}
		return call(p)
	}
	part := min(fault.Partial, len(p))
	if fault.Done {
		part = len(p)
	}
	n := 0
	if part > 0 {
		var err error
		if n, err = call(p[:part]); err != nil {
			return n, err
		}
	}
	return n, failure(c, fault)
}

func (f *injectedFile) Sync() error {
	return f.in.run(Call{Op: OpSync, Name: f.name}, f.inner.Sync)
}

func (f *injectedFile) Truncate(size int64) error {
	return f.in.run(Call{Op: OpTruncate, Name: f.name, Offset: size}, func() error {
		return f.inner.Truncate(size)
	})
}

func (f *injectedFile) Size() (int64, error) { return f.inner.Size() }
func (f *injectedFile) Close() error         { return f.inner.Close() }
