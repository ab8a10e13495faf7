package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/trilith-go/trilith/mapreduce"
)

// Files are the files of the machine from its root, so that names of input and
// output mean the same in all processes.
var Files = mapreduce.Dir(root())

func root() string {
	abs, err := filepath.Abs(".")
	if err != nil {
		return string(filepath.Separator)
	}
	return filepath.VolumeName(abs) + string(filepath.Separator)
}

// Rooted turns an absolute name of the operating system into one of Files.
func Rooted(abs string) string {
	name := strings.TrimPrefix(filepath.ToSlash(abs), filepath.ToSlash(root()))
	if name == "" {
		return "."
	}
	return name
}

// Names returns the names of the operating system of some of Files.
func Names(files []string) []string {
	names := make([]string, len(files))
	for i, name := range files {
		names[i] = filepath.Join(root(), filepath.FromSlash(name))
	}
	return names
}

// Patterns turns names of files, of directories, which stand for all files below
// them, and patterns of the operating system into patterns of Files.
func Patterns(names ...string) ([]string, error) {
	var patterns []string
	for _, name := range names {
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(abs)
		switch {
		case err == nil && info.IsDir():
			patterns = append(patterns, path.Join(mapreduce.QuotePattern(Rooted(abs)), "**"))
		case err == nil:
			patterns = append(patterns, mapreduce.QuotePattern(Rooted(abs)))
		case errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(name, "*?["):
			patterns = append(patterns, Rooted(abs))
		default:
			return nil, err
		}
	}
	return patterns, nil
}

// CheckEmpty refuses a directory for output in which there is something.
func CheckEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("-output: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("-output: %s is not empty; choose another directory, or remove what is in it", dir)
		}
	}
	return nil
}

// NewOutput makes a directory for output in which there may be nothing, and returns its
// absolute name.
func NewOutput(dir string) (abs string, err error) {
	if abs, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := CheckEmpty(abs); err != nil {
		return "", err
	}
	return abs, MakeOutput(abs)
}

// MakeOutput makes a directory for output, and finds out whether files can be made in it:
// when the work is done it is late to learn that.
func MakeOutput(dir string) error {
	err := os.MkdirAll(dir, 0o777)
	if err == nil {
		var probe string
		if probe, err = os.MkdirTemp(dir, ".probe-"); err == nil {
			err = os.Remove(probe)
		}
	}
	if err != nil {
		return fmt.Errorf("-output: %w", err)
	}
	return nil
}

// Copy copies files to w, one after the other.
func Copy(w io.Writer, names []string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
