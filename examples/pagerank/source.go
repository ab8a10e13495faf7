package main

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/trilith-go/trilith/mapreduce"
)

// wholeFiles is input in which every file is a record.
type wholeFiles struct{}

var _ mapreduce.Input = wholeFiles{}

// Splits implements mapreduce.Input: it divides the files as text is divided, and
// then counts a file as where it begins.
func (wholeFiles) Splits(ctx context.Context, fsys mapreduce.FileSystem, spec *mapreduce.Spec) ([]mapreduce.Split, error) {
	splits, err := mapreduce.Text{}.Splits(ctx, fsys, spec)
	for i := range splits {
		splits[i].Pieces = slices.DeleteFunc(splits[i].Pieces, func(p mapreduce.Piece) bool { return p.Offset > 0 })
	}
	return splits, err
}

// Read implements mapreduce.Input.
func (wholeFiles) Read(ctx context.Context, fsys mapreduce.FileSystem, split mapreduce.Split) iter.Seq2[mapreduce.Record, error] {
	return func(yield func(mapreduce.Record, error) bool) {
		for _, p := range split.Pieces {
			text, err := readFile(ctx, fsys, p.Name)
			if !yield(mapreduce.Record{File: p.Name, Value: text}, err) || err != nil {
				return
			}
		}
	}
}

func readFile(ctx context.Context, fsys mapreduce.FileSystem, name string) ([]byte, error) {
	f, size, err := fsys.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), text); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

// packageOf returns the package of a file of the source tree. Tests and their data
// belong to none.
func packageOf(file string) (pkg string, ok bool) {
	dir := path.Dir(file)
	if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || slices.Contains(strings.Split(dir, "/"), "testdata") {
		return "", false
	}
	// A vendored package is imported by the name that it has elsewhere.
	if _, name, vendored := strings.Cut("/"+dir, "/vendor/"); vendored {
		dir = name
	}
	return dir, dir != "."
}

// importsOf returns what a file imports.
func importsOf(file string, text []byte) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s imports %s: %w", file, spec.Path.Value, err)
		}
		if name != "C" { // which is no package
			names = append(names, name)
		}
	}
	return names, nil
}
