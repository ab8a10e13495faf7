package gfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Glob returns the paths of all files and directories that match a pattern, in increasing
// order. An element of a pattern is as path.Match has it; the element ** matches any
// number of directories, also none, and as the last element everything below. What does
// not exist matches nothing.
func (c *Client) Glob(ctx context.Context, pattern string) ([]string, error) {
	return c.glob(ctx, pattern, false)
}

func (c *Client) glob(ctx context.Context, pattern string, filesOnly bool) ([]string, error) {
	g := &clientGlob{ctx: ctx, c: c, filesOnly: filesOnly}
	err := checkPattern(pattern)
	switch {
	case err != nil:
	case pattern == ".":
		if !filesOnly {
			g.found = []string{"."}
		}
	default:
		err = g.walk(".", strings.Split(pattern, "/"))
	}
	if err != nil {
		return nil, opError("glob", pattern, err)
	}
	slices.Sort(g.found)
	return slices.Compact(g.found), nil
}

// checkPattern refuses what is no pattern.
func checkPattern(pattern string) error {
	if pattern != "." && !fs.ValidPath(pattern) {
		return fmt.Errorf("%w: pattern %q: want slash-separated elements, relative to the root, without . and ..", fs.ErrInvalid, pattern)
	}
	for elem := range strings.SplitSeq(pattern, "/") {
		if _, err := path.Match(elem, ""); err != nil {
			return fmt.Errorf("%w: pattern %q: %w", fs.ErrInvalid, pattern, err)
		}
	}
	return nil
}

// A clientGlob is one search.
type clientGlob struct {
	ctx       context.Context
	c         *Client
	filesOnly bool
	found     []string
}

// literal reports whether an element of a pattern matches one name only, and returns
// that.
func literal(elem string) (string, bool) {
	if !strings.ContainsAny(elem, `*?[\`) {
		return elem, true
	}
	var b strings.Builder
	for i := 0; i < len(elem); i++ {
		switch elem[i] {
		case '*', '?', '[':
			return "", false
		case '\\':
			if i++; i == len(elem) {
				return "", false
			}
		}
		b.WriteByte(elem[i])
	}
	return b.String(), true
}

// walk matches the elements against what is in a directory.
func (g *clientGlob) walk(dir string, elems []string) error {
	for len(elems) > 1 {
		name, ok := literal(elems[0])
		if !ok {
			break
		}
		dir, elems = path.Join(dir, name), elems[1:]
	}
	if name, ok := literal(elems[0]); ok { // the last
		return g.one(path.Join(dir, name))
	}
	entries, err := g.c.ReadDir(g.ctx, dir)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	first, rest := elems[0], elems[1:]
	if first != "**" {
		return g.match(dir, entries, elems)
	}
	if len(rest) > 0 { // ** may be no directory at all
		if err := g.match(dir, entries, rest); err != nil {
			return err
		}
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if len(rest) == 0 {
			g.add(name, e)
		}
		if e.IsDir() {
			if err := g.walk(name, elems); err != nil {
				return err
			}
		}
	}
	return nil
}

// match matches elements, of which the first is not the ** just looked at, against the
// entries of a directory.
func (g *clientGlob) match(dir string, entries []*Info, elems []string) error {
	if elems[0] == "**" {
		return g.walk(dir, elems)
	}
	for _, e := range entries {
		if ok, _ := path.Match(elems[0], e.Name()); !ok { // the pattern was checked
			continue
		}
		name := path.Join(dir, e.Name())
		switch {
		case len(elems) == 1:
			g.add(name, e)
		case e.IsDir():
			if err := g.walk(name, elems[1:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// one adds what is at a path, if there is something.
func (g *clientGlob) one(name string) error {
	if checkPath(name) != nil {
		return nil // no such name can be
	}
	info, err := g.c.Stat(g.ctx, name)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	g.add(name, info)
	return nil
}

func (g *clientGlob) add(name string, e *Info) {
	if !g.filesOnly || !e.IsDir() {
		g.found = append(g.found, name)
	}
}

// absent reports whether an error means that there is nothing to look at.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotDir)
}
