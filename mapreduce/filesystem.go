package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// FileSystem is where jobs read their input and write their output. Names are
// slash-separated and relative, as fs.ValidPath has them. All methods may be
// called concurrently. Errors match fs.ErrNotExist and fs.ErrExist where these
// apply. Workers and coordinator must see the same files.
//
// The interface uses types of the standard library only, so that a storage system
// satisfies it without knowing this package. [Dir] is a directory, and [ReadOnly]
// makes any fs.FS serve as input. mapreducetest.TestFileSystem holds one against this
// contract.
type FileSystem interface {
	// Glob returns the names of all files, not directories, that match the
	// pattern, in increasing order. An element of a pattern is as path.Match has
	// it; the element ** matches any number of directories, also none.
	Glob(ctx context.Context, pattern string) ([]string, error)

	// Open opens a file for reading.
	Open(ctx context.Context, name string) (f interface {
		io.ReaderAt
		io.Closer
	}, size int64, err error)

	// Create makes a file that must not exist, and the directories above it.
	// Close makes its content and its name durable, or fails.
	Create(ctx context.Context, name string) (io.WriteCloser, error)

	// Commit gives a finished file its final name, and makes the directories above
	// that: atomically, durably, and without ever replacing another, which is
	// fs.ErrExist. Of two files with one final name at most one succeeds, unless
	// their contents are the same. If temporary is no more, the error is
	// fs.ErrNotExist. A Commit that a crash interrupted can be repeated and then
	// completes.
	Commit(ctx context.Context, temporary, final string) error

	// Remove removes a file.
	Remove(ctx context.Context, name string) error
}

// Locator is implemented by a FileSystem that knows where its files are.
type Locator interface {
	// Locate returns the hosts that hold the bytes from off to off+n of a file
	// on their own disks, the best first.
	Locate(ctx context.Context, name string, off, n int64) (hosts []string, err error)
}

// checkName refuses names that could leave the file system.
func checkName(op, name string) error {
	if !fs.ValidPath(name) || name == "." {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

// expand returns the files that patterns match, but for those that attempts have not
// committed. A pattern that names a directory stands for all files below it, and for
// the output of jobs alone where there is some. A file that several patterns match is
// returned once, where the first of them has it.
func expand(ctx context.Context, fsys FileSystem, patterns []string) ([]string, error) {
	var names []string
	seen := make(map[string]bool)
	for _, pattern := range patterns {
		if err := checkPattern(pattern); err != nil {
			return nil, err
		}
		found, err := fsys.Glob(ctx, pattern)
		if err == nil && len(found) == 0 {
			found, err = fsys.Glob(ctx, path.Join(pattern, "**"))
			found = outputAlone(found)
		}
		found = slices.DeleteFunc(found, func(name string) bool { return strings.HasPrefix(path.Base(name), attemptPrefix) })
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%w: %q matches no file", ErrNoInput, pattern)
		}
		for _, name := range found {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// outputAlone drops from the files of a tree those that are in a directory with output
// of a job, or below it, and are not that: side files and named outputs.
func outputAlone(names []string) []string {
	outputs := make(map[string]bool) // directories
	for _, name := range names {
		if isPart(path.Base(name)) {
			outputs[path.Dir(name)] = true
		}
	}
	below := func(dir string) bool {
		for dir != "." {
			if dir = path.Dir(dir); outputs[dir] {
				return true
			}
		}
		return false
	}
	return slices.DeleteFunc(names, func(name string) bool {
		dir := path.Dir(name)
		return below(dir) || outputs[dir] && !isPart(path.Base(name))
	})
}

func checkPattern(pattern string) error {
	if pattern != "." && !fs.ValidPath(pattern) {
		return fmt.Errorf("%w: pattern %q: must be relative, with slashes, and without . or .. elements", ErrConfig, pattern)
	}
	for elem := range strings.SplitSeq(pattern, "/") {
		if _, err := path.Match(elem, ""); err != nil {
			return fmt.Errorf("%w: pattern %q: %w", ErrConfig, pattern, err)
		}
	}
	return nil
}

// QuotePattern returns a pattern that matches name and nothing else.
func QuotePattern(name string) string { return quoter.Replace(name) }

var (
	quoter   = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
	unquoter = strings.NewReplacer(`\\`, `\`, `\*`, `*`, `\?`, `?`, `\[`, `[`)
)

// isLiteral reports whether an element of a pattern matches one name only, and
// returns that.
func isLiteral(elem string) (name string, ok bool) {
	name = unquoter.Replace(elem)
	return name, QuotePattern(name) == elem
}

// glob finds the files that match a pattern in a tree that readDir shows. What
// does not exist matches nothing.
func glob(ctx context.Context, pattern string, readDir func(name string) ([]fs.DirEntry, error)) ([]string, error) {
	if err := checkPattern(pattern); err != nil {
		return nil, err
	}
	g := &globber{ctx: ctx, readDir: readDir}
	elems := strings.Split(pattern, "/")
	if pattern == "." {
		elems = nil
	}
	if err := g.walk(".", elems); err != nil {
		return nil, err
	}
	slices.Sort(g.found)
	return slices.Compact(g.found), nil
}

type globber struct {
	ctx     context.Context
	readDir func(name string) ([]fs.DirEntry, error)
	found   []string
}

// walk matches the elements against what is in a directory.
func (g *globber) walk(dir string, elems []string) error {
	if len(elems) == 0 {
		return nil
	}
	if err := g.ctx.Err(); err != nil {
		return err
	}
	for len(elems) > 1 {
		name, ok := isLiteral(elems[0])
		if !ok {
			break
		}
		dir, elems = path.Join(dir, name), elems[1:]
	}
	entries, err := g.readDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.ENOTDIR):
		return nil // no such directory
	case err != nil:
		return err
	}
	first, rest := elems[0], elems[1:]
	any := first == "**"
	if any && len(rest) > 0 {
		if err := g.match(dir, entries, rest); err != nil {
			return err
		}
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case any && e.IsDir():
			if err := g.walk(name, elems); err != nil {
				return err
			}
		case any && len(rest) == 0 && e.Type().IsRegular():
			g.found = append(g.found, name)
		}
	}
	if any {
		return nil
	}
	return g.match(dir, entries, elems)
}

// match matches elements, of which the first is not **, against the entries of a
// directory. It is a method of its own because ** matches no directory too.
func (g *globber) match(dir string, entries []fs.DirEntry, elems []string) error {
	if elems[0] == "**" {
		return g.walk(dir, elems)
	}
	for _, e := range entries {
		if ok, _ := path.Match(elems[0], e.Name()); !ok { // the pattern was checked
			continue
		}
		name := path.Join(dir, e.Name())
		switch {
		case len(elems) > 1 && e.IsDir():
			if err := g.walk(name, elems[1:]); err != nil {
				return err
			}
		case len(elems) == 1 && e.Type().IsRegular():
			g.found = append(g.found, name)
		}
	}
	return nil
}
