package mapreducetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trilith-go/trilith/mapreduce"
)

func TestFileSystems(t *testing.T) {
	for name, setup := range map[string]func(t *testing.T) mapreduce.FileSystem{
		"memory": func(*testing.T) mapreduce.FileSystem { return NewMemory(nil) },
		"dir":    func(t *testing.T) mapreduce.FileSystem { return mapreduce.Dir(t.TempDir()) },
	} {
		t.Run(name, func(t *testing.T) { TestFileSystem(t, setup, nil) })
	}
}

// badFiles is a good file system but for one thing.
type badFiles struct {
	*Memory
	create func(ctx context.Context, name string) (io.WriteCloser, error)
	commit func(ctx context.Context, temporary, final string) error
	glob   func(ctx context.Context, pattern string) ([]string, error)
	open   func(f reader) reader
	remove func(ctx context.Context, name string) error
}

type reader interface {
	io.ReaderAt
	io.Closer
}

func (b *badFiles) Create(ctx context.Context, name string) (io.WriteCloser, error) {
	if b.create != nil {
		return b.create(ctx, name)
	}
	return b.Memory.Create(ctx, name)
}

func (b *badFiles) Commit(ctx context.Context, temporary, final string) error {
	if b.commit != nil {
		return b.commit(ctx, temporary, final)
	}
	return b.Memory.Commit(ctx, temporary, final)
}

func (b *badFiles) Glob(ctx context.Context, pattern string) ([]string, error) {
	if b.glob != nil {
		return b.glob(ctx, pattern)
	}
	return b.Memory.Glob(ctx, pattern)
}

func (b *badFiles) Remove(ctx context.Context, name string) error {
	if b.remove != nil {
		return b.remove(ctx, name)
	}
	return b.Memory.Remove(ctx, name)
}

func (b *badFiles) Open(ctx context.Context, name string) (interface {
	io.ReaderAt
	io.Closer
}, int64, error) {
	f, size, err := b.Memory.Open(ctx, name)
	if err == nil && b.open != nil {
		f = b.open(f)
	}
	return f, size, err
}

// readAt is a reader whose ReadAt is another.
type readAt struct {
	reader
	read func(p []byte, off int64) (int, error)
}

func (r readAt) ReadAt(p []byte, off int64) (int, error) { return r.read(p, off) }

// badFileSystems are those that the suite must refuse, with the case that has to.
var badFileSystems = map[string]struct {
	found string
	spoil func(b *badFiles)
}{
	"Commit replaces": {"CommitNeverReplaces", func(b *badFiles) {
		b.commit = func(ctx context.Context, temporary, final string) error {
			_ = b.Memory.Remove(ctx, final)
			return b.Memory.Commit(ctx, temporary, final)
		}
	}},
	"Commit looks, then renames": {"CommitAtOnce", func(b *badFiles) {
		b.commit = func(ctx context.Context, temporary, final string) error {
			if _, _, err := b.Memory.Open(ctx, final); err == nil {
				return fs.ErrExist
			}
			for range 1000 { // others come in between
				if _, err := b.Memory.Glob(ctx, final); err != nil {
					return err
				}
			}
			_ = b.Memory.Remove(ctx, final)
			return b.Memory.Commit(ctx, temporary, final)
		}
	}},
	"Commit copies": {"Commit", func(b *badFiles) {
		b.commit = func(ctx context.Context, temporary, final string) error {
			content, err := readFile(ctx, b.Memory, temporary)
			if err != nil {
				return err
			}
			return put(ctx, b.Memory, final, string(content))
		}
	}},
	"Commit copies bit by bit": {"CommitBesideReaders", func(b *badFiles) {
		b.commit = func(ctx context.Context, temporary, final string) error {
			content, err := readFile(ctx, b.Memory, temporary)
			if err != nil {
				return err
			}
			w, err := b.Memory.Create(ctx, final)
			if err != nil {
				return err
			}
			for chunk := range strings.SplitAfterSeq(string(content), " ") {
				if _, err := io.WriteString(w, chunk); err != nil {
					return err
				}
			}
			return errors.Join(w.Close(), b.Memory.Remove(ctx, temporary))
		}
	}},
	"what was committed is no error": {"Missing", func(b *badFiles) {
		b.commit = func(ctx context.Context, temporary, final string) error {
			if err := b.Memory.Commit(ctx, temporary, final); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
	}},
	"Create truncates": {"CreateIsExclusive", func(b *badFiles) {
		b.create = func(ctx context.Context, name string) (io.WriteCloser, error) {
			_ = b.Memory.Remove(ctx, name)
			return b.Memory.Create(ctx, name)
		}
	}},
	"Create is exclusive once closed": {"CreateIsExclusive", func(b *badFiles) {
		b.create = func(ctx context.Context, name string) (io.WriteCloser, error) {
			if _, _, err := b.Memory.Open(ctx, name); err == nil {
				return nil, fs.ErrExist
			}
			return &late{files: b.Memory, name: name}, nil
		}
	}},
	"errors of its own": {"Missing", func(b *badFiles) {
		b.remove = func(ctx context.Context, name string) error {
			if b.Memory.Remove(ctx, name) != nil {
				return errors.New("no such file")
			}
			return nil
		}
	}},
	"Write keeps what it is given": {"WriteAndRead", func(b *badFiles) {
		b.create = func(ctx context.Context, name string) (io.WriteCloser, error) {
			w, err := b.Memory.Create(ctx, name)
			return &keeping{WriteCloser: w}, err
		}
	}},
	"Glob lists directories' own names": {"Glob", func(b *badFiles) {
		b.glob = func(ctx context.Context, pattern string) ([]string, error) {
			names, err := b.Memory.Glob(ctx, pattern)
			if sub, _ := b.Memory.Glob(ctx, pattern+"/*"); pattern == "dir" && len(sub) > 0 {
				names = append(names, pattern)
			}
			return names, err
		}
	}},
	"Glob is out of order": {"Glob", func(b *badFiles) {
		b.glob = func(ctx context.Context, pattern string) ([]string, error) {
			names, err := b.Memory.Glob(ctx, pattern)
			for i := range len(names) / 2 {
				names[i], names[len(names)-1-i] = names[len(names)-1-i], names[i]
			}
			return names, err
		}
	}},
	"Glob knows no **": {"Glob", func(b *badFiles) {
		b.glob = func(ctx context.Context, pattern string) ([]string, error) {
			return b.Memory.Glob(ctx, strings.ReplaceAll(pattern, "**", "*"))
		}
	}},
	"Glob does not unquote": {"GlobQuoted", func(b *badFiles) {
		b.glob = func(ctx context.Context, pattern string) ([]string, error) {
			return b.Memory.Glob(ctx, strings.ReplaceAll(pattern, `\`, ""))
		}
	}},
	"ReadAt is short without an error": {"ReadAt", func(b *badFiles) {
		b.open = func(f reader) reader {
			return readAt{f, func(p []byte, off int64) (int, error) {
				n, _ := f.ReadAt(p, off)
				return n, nil
			}}
		}
	}},
	"ReadAt moves one position": {"ReadersAtOnce", func(b *badFiles) {
		b.open = func(f reader) reader {
			var at atomic.Int64
			return readAt{f, func(p []byte, off int64) (int, error) {
				at.Store(off)
				runtime.Gosched()
				return f.ReadAt(p, at.Load())
			}}
		}
	}},
	"names may leave it": {"BadNames", func(b *badFiles) {
		b.create = func(ctx context.Context, name string) (io.WriteCloser, error) {
			return b.Memory.Create(ctx, strings.TrimPrefix(name, "../"))
		}
	}},
}

// late creates its file when it is closed.
type late struct {
	files *Memory
	name  string
	bytes.Buffer
}

func (l *late) Close() error { return put(context.Background(), l.files, l.name, l.String()) }

// keeping writes what it was given when it is closed.
type keeping struct {
	io.WriteCloser
	chunks [][]byte
}

func (k *keeping) Write(p []byte) (int, error) {
	k.chunks = append(k.chunks, p)
	return len(p), nil
}

func (k *keeping) Close() error {
	for _, c := range k.chunks {
		if _, err := k.WriteCloser.Write(c); err != nil {
			return err
		}
	}
	return k.WriteCloser.Close()
}

func TestSuiteFindsBadFileSystems(t *testing.T) {
	cases := make(map[string]FileSystemCase)
	for _, c := range FileSystemCases() {
		cases[c.Name] = c
	}
	for name, bad := range badFileSystems {
		t.Run(name, func(t *testing.T) {
			// A race may have to be run more than once to be lost.
			for range 50 {
				b := &badFiles{Memory: NewMemory(nil)}
				bad.spoil(b)
				if err := cases[bad.found].Run(t.Context(), b); err != nil {
					t.Log(err)
					return
				}
			}
			t.Errorf("%s does not find it", bad.found)
		})
	}
}
