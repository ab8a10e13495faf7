package main

import (
	"path/filepath"
	"strings"

	"github.com/trilith-go/trilith/mapreduce"
)

// All processes see the files of the machine from its root, so that the names of
// input and output mean the same to each of them.
var files = mapreduce.Dir(root())

func root() string {
	abs, err := filepath.Abs(".")
	if err != nil {
		return string(filepath.Separator)
	}
	return filepath.VolumeName(abs) + string(filepath.Separator)
}

// rooted turns an absolute name of the operating system into one relative to the
// root.
func rooted(abs string) string {
	name := strings.TrimPrefix(filepath.ToSlash(abs), filepath.ToSlash(root()))
	if name == "" {
		return "."
	}
	return name
}

// quote makes a pattern of a name.
func quote(name string) string { return mapreduce.QuotePattern(name) }
