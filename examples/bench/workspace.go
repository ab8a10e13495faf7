package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/bench/internal/corpus"
)

// A workspace is a directory for the inputs of a run, made once, and for what the
// subjects write, which is compared.
type workspace struct {
	dir     string
	size    int64  // of the inputs that are made
	given   string // the input of all jobs, if it is not made
	pattern string // that grep looks for
	profile string // a file for the CPU profile of the job that is done last
	files   int    // in the large namespaces of gfs
	stats   int    // files that callers ask for
	clients int    // where there are many
	lease   time.Duration

	inputs  map[string]inputFile
	outputs map[string]corpus.Summary // by job
	took    map[string]time.Duration  // by case, of the subject that nothing happens to
}

type inputFile struct {
	name  string
	size  int64
	lines bool // it ends with a newline, and so does every record
}

// inputSeed is what the inputs are made from.
const inputSeed = 1

// newWorkspace makes a directory that close removes.
func newWorkspace(size int64, given, pattern string) (*workspace, error) {
	dir, err := os.MkdirTemp("", "trilith-bench-")
	if err != nil {
		return nil, err
	}
	if given != "" {
		if given, err = filepath.Abs(given); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	return &workspace{
		dir: dir, size: size, given: given, pattern: pattern,
		files: gfsFiles, stats: statFiles, clients: gfsClients, lease: shortLease,
		inputs: make(map[string]inputFile), outputs: make(map[string]corpus.Summary), took: make(map[string]time.Duration),
	}, nil
}

func (w *workspace) close() error { return os.RemoveAll(w.dir) }

// The inputs that are made.
const (
	inputText    = "text"
	inputRecords = "records"
	inputHello   = "hello"
)

// input returns the input of a job. A process of its own makes it, as this one has to
// stay small: the children that measure are born with its size.
func (w *workspace) input(ctx context.Context, job *jobKind) (inputFile, error) {
	kind := inputText
	switch {
	case job == hello:
		kind = inputHello
	case job.records:
		kind = inputRecords
	}
	if in, ok := w.inputs[kind]; ok {
		return in, nil
	}
	in := inputFile{name: w.given, lines: w.given == ""} // who knows what is in a given one
	if w.given == "" || kind == inputHello {
		in.name = filepath.Join(w.dir, kind)
		t := task{Role: roleGenerate, Generate: kind, Output: in.name, Size: w.size}
		if _, err := t.spawn(ctx); err != nil {
			return in, err
		}
	}
	info, err := os.Stat(in.name)
	if err != nil {
		return in, err
	}
	if in.size = info.Size(); job.records && in.size%corpus.RecordBytes != 0 {
		return in, fmt.Errorf("%s has %d bytes, no whole number of records of %d", in.name, in.size, corpus.RecordBytes)
	}
	w.inputs[kind] = in
	return in, nil
}

// check compares what a subject has written, a file or a directory of part files,
// with what the first one wrote that did the same job.
func (w *workspace) check(job *jobKind, output string) error {
	files := []string{output}
	if info, err := os.Stat(output); err != nil {
		return err
	} else if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(output, "part-*")); err != nil { // sorted
			return err
		}
	}
	var r corpus.Reader
	if job.records {
		r.Size = corpus.RecordBytes
	}
	if job.ordered != exactly {
		r.Ordered = func(last, line []byte) bool { return bytes.Compare(job.key(last), job.key(line)) <= 0 }
	}
	for _, name := range files {
		if job.ordered == keysInFile {
			r.NextFile()
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(r.Read(f), f.Close()); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	got := r.Summary
	if job.ordered != exactly {
		got.Chain = 0 // not the same in another order
	}
	what := strings.TrimSuffix(strings.TrimSuffix(job.name, noCombiner), byLine)
	if want, ok := w.outputs[what]; ok && got != want {
		return fmt.Errorf("the output, %+v, is not that of the subjects before, %+v", got, want)
	}
	w.outputs[what] = got
	return nil
}

// key returns the key of a line of output.
func (k *jobKind) key(line []byte) []byte {
	if k.records {
		return line[:min(len(line), corpus.KeyBytes)]
	}
	word, _, _ := bytes.Cut(line, []byte{'\t'})
	return word
}
