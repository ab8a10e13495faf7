package mapreducetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/mapreduce"
)

// A FileSystemCase is one promise of a mapreduce.FileSystem.
type FileSystemCase struct {
	Name string
	// Run checks the promise on a file system that is empty, and returns in what it
	// falls short.
	Run func(ctx context.Context, fsys mapreduce.FileSystem) error
}

// TestFileSystem is the conformance suite for implementations of
// mapreduce.FileSystem. It runs every case as a subtest of t, on an empty file system
// that setup makes (and cleans up with t.Cleanup).
//
// That Close and Commit make durable what they say can't be seen from outside. With
// crash, if it is not nil, the suite tests that too: crash cuts the power and returns
// the file system as it is afterwards.
func TestFileSystem(t *testing.T, setup func(t *testing.T) mapreduce.FileSystem, crash func(t *testing.T, fsys mapreduce.FileSystem) mapreduce.FileSystem) {
	for _, c := range FileSystemCases() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(t.Context(), setup(t)); err != nil {
				t.Error(err)
			}
		})
	}
	if crash == nil {
		return
	}
	for _, c := range CrashCases() {
		t.Run(c.Name, func(t *testing.T) {
			fsys := setup(t)
			if err := c.Before(t.Context(), fsys); err != nil {
				t.Fatal(err)
			}
			if err := c.After(t.Context(), crash(t, fsys)); err != nil {
				t.Errorf("after a crash: %v", err)
			}
		})
	}
}

// FileSystemCases returns the cases of the suite.
func FileSystemCases() []FileSystemCase {
	return []FileSystemCase{
		{"WriteAndRead", testWriteAndRead},
		{"ReadAt", testReadAt},
		{"ReadersAtOnce", testReadersAtOnce},
		{"Missing", testMissing},
		{"CreateIsExclusive", testCreateIsExclusive},
		{"CreateAtOnce", testCreateAtOnce},
		{"Commit", testCommit},
		{"CommitNeverReplaces", testCommitNeverReplaces},
		{"CommitAtOnce", testCommitAtOnce},
		{"CommitAgain", testCommitAgain},
		{"CommitBesideReaders", testCommitBesideReaders},
		{"Remove", testRemove},
		{"Glob", testGlob},
		{"GlobQuoted", testGlobQuoted},
		{"BadNames", testBadNames},
	}
}

// put writes a file.
func put(ctx context.Context, fsys mapreduce.FileSystem, name, content string) error {
	w, err := fsys.Create(ctx, name)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, w.Close()))
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("close %s: %w", name, err)
	}
	return nil
}

// holds checks the content of a file.
func holds(ctx context.Context, fsys mapreduce.FileSystem, name, want string) error {
	got, err := readFile(ctx, fsys, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if string(got) != want {
		return fmt.Errorf("%s has %.100q, %d bytes, not %.100q, %d bytes", name, got, len(got), want, len(want))
	}
	return nil
}

// gone checks that there is no file of a name.
func gone(ctx context.Context, fsys mapreduce.FileSystem, name string) error {
	f, _, err := fsys.Open(ctx, name)
	if err == nil {
		_ = f.Close()
	}
	return is(err, fs.ErrNotExist, "opening %s, which is not there", name)
}

// is checks that an error is what it should be.
func is(err, want error, format string, args ...any) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: error %v, not %v", fmt.Sprintf(format, args...), err, want)
	}
	return nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func testWriteAndRead(ctx context.Context, fsys mapreduce.FileSystem) error {
	w, err := fsys.Create(ctx, "a/b/c")
	if err != nil {
		return fmt.Errorf("create a file in directories that are not there: %w", err)
	}
	var want bytes.Buffer
	for i := range 1000 {
		chunk := bytes.Repeat([]byte{byte(i), '\n', 0xff}, i)
		want.Write(chunk)
		n, err := w.Write(chunk)
		if err != nil || n != len(chunk) {
			return fmt.Errorf("write %d bytes: %d, %v", len(chunk), n, err)
		}
		clear(chunk) // the caller's again
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return first(
		holds(ctx, fsys, "a/b/c", want.String()),
		put(ctx, fsys, "empty", ""),
		holds(ctx, fsys, "empty", ""),
	)
}

func testReadAt(ctx context.Context, fsys mapreduce.FileSystem) error {
	if err := put(ctx, fsys, "f", "0123456789"); err != nil {
		return err
	}
	f, size, err := fsys.Open(ctx, "f")
	if err != nil || size != 10 {
		return fmt.Errorf("open: size %d, %v", size, err)
	}
	defer f.Close()
	for _, c := range []struct {
		off  int64
		n    int
		want string
		eof  bool
	}{{3, 4, "3456", false}, {0, 1, "0", false}, {8, 5, "89", true}, {10, 1, "", true}, {20, 1, "", true}, {4, 3, "456", false}} {
		p := make([]byte, c.n)
		n, err := f.ReadAt(p, c.off)
		if string(p[:n]) != c.want || c.eof && err != io.EOF || !c.eof && err != nil {
			return fmt.Errorf("ReadAt of %d bytes at %d: %q, %v, not %q", c.n, c.off, p[:n], err, c.want)
		}
	}
	return nil
}

func testReadersAtOnce(ctx context.Context, fsys mapreduce.FileSystem) error {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	if err := put(ctx, fsys, "f", string(content)); err != nil {
		return err
	}
	f, _, err := fsys.Open(ctx, "f")
	if err != nil {
		return err
	}
	defer f.Close()
	return atOnce(8, func(i int) error {
		p := make([]byte, 100)
		for off := i * 1000; off < len(content)-len(p); off += 2999 {
			if _, err := f.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, content[off:off+len(p)]) {
				return fmt.Errorf("ReadAt at %d beside others: %q, %v", off, p, err)
			}
		}
		return nil
	})
}

// atOnce runs f n times at the same time.
func atOnce(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return first(errs...)
}

func testMissing(ctx context.Context, fsys mapreduce.FileSystem) error {
	return first(
		gone(ctx, fsys, "none"),
		gone(ctx, fsys, "no/such/directory/none"),
		is(fsys.Remove(ctx, "none"), fs.ErrNotExist, "removing what is not there"),
		is(fsys.Commit(ctx, "none", "final"), fs.ErrNotExist, "committing what is not there"),
		gone(ctx, fsys, "final"),
	)
}

func testCreateIsExclusive(ctx context.Context, fsys mapreduce.FileSystem) error {
	w, err := fsys.Create(ctx, "f")
	if err != nil {
		return err
	}
	_, err = fsys.Create(ctx, "f")
	if err := is(err, fs.ErrExist, "creating a file that somebody writes"); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "first"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err = fsys.Create(ctx, "f")
	return first(is(err, fs.ErrExist, "creating a file that is there"), holds(ctx, fsys, "f", "first"))
}

func testCreateAtOnce(ctx context.Context, fsys mapreduce.FileSystem) error {
	for round := range 20 {
		name := fmt.Sprint("dir", round, "/f")
		made := make(chan int, 8)
		err := atOnce(cap(made), func(i int) error {
			err := put(ctx, fsys, name, fmt.Sprint(i))
			if err == nil {
				made <- i
				return nil
			}
			return is(err, fs.ErrExist, "creating a file at the same time as others")
		})
		if err != nil {
			return err
		}
		if len(made) != 1 {
			return fmt.Errorf("of %d Creates of one name at the same time %d succeed, not 1", cap(made), len(made))
		}
		if err := holds(ctx, fsys, name, fmt.Sprint(<-made)); err != nil {
			return err
		}
	}
	return nil
}

func testCommit(ctx context.Context, fsys mapreduce.FileSystem) error {
	return first(
		put(ctx, fsys, "out/tmp", "content"),
		fsys.Commit(ctx, "out/tmp", "out/final"),
		gone(ctx, fsys, "out/tmp"),
		holds(ctx, fsys, "out/final", "content"),
		put(ctx, fsys, "out/tmp", "other"), // the name is free again
		fsys.Commit(ctx, "out/tmp", "another/directory/final"),
		gone(ctx, fsys, "out/tmp"),
		holds(ctx, fsys, "another/directory/final", "other"),
	)
}

func testCommitNeverReplaces(ctx context.Context, fsys mapreduce.FileSystem) error {
	return first(
		put(ctx, fsys, "one", "111"),
		put(ctx, fsys, "two", "222"),
		put(ctx, fsys, "longer", "1111"),
		fsys.Commit(ctx, "one", "final"),
		is(fsys.Commit(ctx, "two", "final"), fs.ErrExist, "committing over a file of the same size"),
		holds(ctx, fsys, "final", "111"),
		holds(ctx, fsys, "two", "222"),
		is(fsys.Commit(ctx, "longer", "final"), fs.ErrExist, "committing over a file"),
		holds(ctx, fsys, "final", "111"),
		put(ctx, fsys, "created", "333"),
		is(fsys.Commit(ctx, "two", "created"), fs.ErrExist, "committing over a file that was never committed"),
		holds(ctx, fsys, "created", "333"),
	)
}

func testCommitAtOnce(ctx context.Context, fsys mapreduce.FileSystem) error {
	for round := range 20 {
		final := fmt.Sprint("final", round)
		won := make(chan int, 8)
		err := atOnce(cap(won), func(i int) error {
			temporary := fmt.Sprintf("tmp%d-%d", round, i)
			if err := put(ctx, fsys, temporary, fmt.Sprint("content ", i)); err != nil {
				return err
			}
			if err := fsys.Commit(ctx, temporary, final); err != nil {
				return is(err, fs.ErrExist, "committing at the same time as others")
			}
			won <- i
			return nil
		})
		if err != nil {
			return err
		}
		if len(won) != 1 {
			return fmt.Errorf("of %d Commits to one name at the same time %d succeed, not 1", cap(won), len(won))
		}
		if err := holds(ctx, fsys, final, fmt.Sprint("content ", <-won)); err != nil {
			return err
		}
	}
	return nil
}

// testCommitAgain repeats what a crash, or an answer that was lost, makes a
// coordinator repeat.
func testCommitAgain(ctx context.Context, fsys mapreduce.FileSystem) error {
	err := first(
		put(ctx, fsys, "tmp", "content"),
		fsys.Commit(ctx, "tmp", "final"),
		is(fsys.Commit(ctx, "tmp", "final"), fs.ErrNotExist, "committing what has been committed"),
		holds(ctx, fsys, "final", "content"),
		// Both names are there: a Commit was interrupted, or a file was written twice.
		put(ctx, fsys, "tmp", "content"),
	)
	if err != nil {
		return err
	}
	if err := fsys.Commit(ctx, "tmp", "final"); err != nil {
		return first(is(err, fs.ErrExist, "committing what is there with the same content"), holds(ctx, fsys, "final", "content"))
	}
	return first(gone(ctx, fsys, "tmp"), holds(ctx, fsys, "final", "content"))
}

// testCommitBesideReaders checks that whoever sees the final name sees all of the file.
func testCommitBesideReaders(ctx context.Context, fsys mapreduce.FileSystem) error {
	content := string(bytes.Repeat([]byte("content "), 1<<13))
	for round := range 10 {
		temporary, final := fmt.Sprint("tmp", round), fmt.Sprint("final", round)
		if err := put(ctx, fsys, temporary, content); err != nil {
			return err
		}
		done := make(chan struct{})
		err := atOnce(3, func(i int) error {
			if i == 0 {
				defer close(done)
				return fsys.Commit(ctx, temporary, final)
			}
			for {
				err := holds(ctx, fsys, final, content)
				if err == nil {
					return nil
				}
				if !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("while it is committed: %w", err)
				}
				select {
				case <-done:
					return holds(ctx, fsys, final, content)
				default:
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func testRemove(ctx context.Context, fsys mapreduce.FileSystem) error {
	err := first(
		put(ctx, fsys, "dir/f", "1"),
		put(ctx, fsys, "dir/g", "2"),
		fsys.Remove(ctx, "dir/f"),
		gone(ctx, fsys, "dir/f"),
		is(fsys.Remove(ctx, "dir/f"), fs.ErrNotExist, "removing what was removed"),
		holds(ctx, fsys, "dir/g", "2"),
	)
	if err != nil {
		return err
	}
	names, err := fsys.Glob(ctx, "**")
	if err != nil || !slices.Equal(names, []string{"dir/g"}) {
		return fmt.Errorf("after a Remove there is %q, %v", names, err)
	}
	return first(put(ctx, fsys, "dir/f", "3"), holds(ctx, fsys, "dir/f", "3"))
}

func testGlob(ctx context.Context, fsys mapreduce.FileSystem) error {
	for _, name := range []string{"b", "a", "dir/part-00001", "dir/part-00000", "dir/.hidden", "dir/sub/part-1", "dir2/x", "dir/sub/deeper/y"} {
		if err := put(ctx, fsys, name, name); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		pattern string
		want    []string
	}{
		{"*", []string{"a", "b"}},
		{"a", []string{"a"}},
		{"dir", nil},
		{"dir/*", []string{"dir/.hidden", "dir/part-00000", "dir/part-00001"}},
		{"dir/part-*", []string{"dir/part-00000", "dir/part-00001"}},
		{"dir/part-0000[1-3]", []string{"dir/part-00001"}},
		{"dir/part-0000?", []string{"dir/part-00000", "dir/part-00001"}},
		{"*/x", []string{"dir2/x"}},
		{"dir/**", []string{"dir/.hidden", "dir/part-00000", "dir/part-00001", "dir/sub/deeper/y", "dir/sub/part-1"}},
		{"**", []string{"a", "b", "dir/.hidden", "dir/part-00000", "dir/part-00001", "dir/sub/deeper/y", "dir/sub/part-1", "dir2/x"}},
		{"**/part-*", []string{"dir/part-00000", "dir/part-00001", "dir/sub/part-1"}},
		{"dir/**/y", []string{"dir/sub/deeper/y"}},
		{"none", nil}, {"none/*", nil}, {"none/**", nil}, {"a/*", nil}, {"dir/part-00000/x", nil},
	} {
		got, err := fsys.Glob(ctx, c.pattern)
		if err != nil || !slices.Equal(got, c.want) {
			return fmt.Errorf("Glob(%q) is %q, %v, not %q", c.pattern, got, err, c.want)
		}
	}
	if _, err := fsys.Glob(ctx, "dir/["); err == nil {
		return errors.New("Glob of a pattern that is none does not fail")
	}
	return nil
}

func testGlobQuoted(ctx context.Context, fsys mapreduce.FileSystem) error {
	odd := []string{"a*b", "a?b", "[ab]", "axb", "ünï çode", "*/f"}
	for _, name := range odd {
		if err := put(ctx, fsys, name, name); err != nil {
			return err
		}
	}
	for _, name := range odd {
		got, err := fsys.Glob(ctx, mapreduce.QuotePattern(name))
		if err != nil || !slices.Equal(got, []string{name}) {
			return fmt.Errorf("Glob of the quoted name %q is %q, %v", name, got, err)
		}
	}
	return nil
}

func testBadNames(ctx context.Context, fsys mapreduce.FileSystem) error {
	if err := put(ctx, fsys, "tmp", "x"); err != nil {
		return err
	}
	for _, name := range []string{"", ".", "..", "/f", "../f", "a/../f", "a//f", "a/", "./f"} {
		if w, err := fsys.Create(ctx, name); err == nil {
			_ = w.Close()
			return fmt.Errorf("Create(%q) does not fail", name)
		}
		if f, _, err := fsys.Open(ctx, name); err == nil {
			_ = f.Close()
			return fmt.Errorf("Open(%q) does not fail", name)
		}
		if fsys.Remove(ctx, name) == nil || fsys.Commit(ctx, name, "g") == nil || fsys.Commit(ctx, "tmp", name) == nil {
			return fmt.Errorf("Remove of %q, or Commit from or to it, does not fail", name)
		}
	}
	return holds(ctx, fsys, "tmp", "x")
}
