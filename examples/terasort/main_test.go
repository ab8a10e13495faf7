package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/examples/internal/local"
)

// invoke runs the program.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestGeneratesSortsAndValidates(t *testing.T) {
	status, stdout, stderr := invoke(t, "-size", "3", "-reduce", "5", "-workers", "2")
	if status != 0 || !strings.HasPrefix(stdout, "generated: 30000 records") || !strings.Contains(stdout, "\nvalid: 30000 records") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}

// More records than memory holds.
func TestSortsBeyondMemory(t *testing.T) {
	status, stdout, stderr := invoke(t, "-size", "40", "-memory", "32", "-workers", "2")
	if status != 0 || !strings.Contains(stdout, "\nvalid: 400000 records") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}

// The validator accepts what was sorted, and notices whatever may have gone wrong.
func TestValidatorFindsFaults(t *testing.T) {
	dir := t.TempDir()
	records, sorted := filepath.Join(dir, "records"), filepath.Join(dir, "sorted")
	if status, _, stderr := invoke(t, "generate", "-size", "1", "-seed", "7", records); status != 0 {
		t.Fatal(stderr)
	}
	if status, _, stderr := invoke(t, "sort", "-output", sorted, "-reduce", "3", records); status != 0 {
		t.Fatal(stderr)
	}
	parts, err := filepath.Glob(filepath.Join(sorted, "part-*"))
	if err != nil || len(parts) != 3 {
		t.Fatal(parts, err)
	}
	validate := func(files ...string) (int, string) {
		status, _, stderr := invoke(t, append([]string{"validate", "-input", records}, files...)...)
		return status, stderr
	}
	if status, stderr := validate(parts...); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	if status, stderr := validate(parts[1], parts[0], parts[2]); status != local.ExitFailed || !strings.Contains(stderr, "1 records are out of order") {
		t.Errorf("files in another order: status %d: %s", status, stderr)
	}
	if status, stderr := validate(parts[:2]...); status != local.ExitFailed || !strings.Contains(stderr, "records, but 10000") {
		t.Errorf("a file is missing: status %d: %s", status, stderr)
	}
	content, err := os.ReadFile(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	content[recordBytes-1] ^= 1
	if err := os.WriteFile(parts[0], content, 0o666); err != nil {
		t.Fatal(err)
	}
	if status, stderr := validate(parts...); status != local.ExitFailed || !strings.Contains(stderr, "checksum") {
		t.Errorf("a bit is wrong: status %d: %s", status, stderr)
	}
	if err := os.Truncate(parts[2], 50); err != nil {
		t.Fatal(err)
	}
	if status, stderr := validate(parts...); status != local.ExitFailed || !strings.Contains(stderr, "unexpected EOF") {
		t.Errorf("half a record: status %d: %s", status, stderr)
	}
}

// The same seed gives the same records, another gives others; keys do not repeat.
func TestRecords(t *testing.T) {
	seen := make(map[string]bool)
	for i := range uint64(1000) {
		r := appendRecord(nil, 1, i)
		if len(r) != recordBytes || !bytes.Equal(r, appendRecord(nil, 1, i)) || bytes.Equal(r, appendRecord(nil, 2, i)) {
			t.Fatalf("record %d is %q", i, r)
		}
		seen[string(r[:keyBytes])] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different keys of 1000", len(seen))
	}
}

func TestSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"-frobnicate", local.ExitUsage, "frobnicate"},
		{"-reduce 0", local.ExitUsage, "-reduce is 0"},
		{"-memory 0", local.ExitUsage, "-memory is 0"},
		{"-memory 1 -size 1", local.ExitFailed, "Memory"},
		{"records", local.ExitUsage, `unexpected argument "records"`},
		{"-output x", local.ExitUsage, "-output goes with sort"},
		{"generate", local.ExitUsage, "one file"},
		{"sort records", local.ExitUsage, "-output"},
		{"validate records", local.ExitUsage, "-input"},
		{"sort -output /no/such/dir /no/such/records", local.ExitFailed, "no/such/records"},
		{"validate -input /no/such/records x", local.ExitFailed, "/no/such/records"},
		{"-help", 0, "-seed"},
	} {
		status, _, stderr := invoke(t, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(stderr, c.says) {
			t.Errorf("terasort %s: status %d, %q; want %d and %q", c.args, status, stderr, c.status, c.says)
		}
		if lines := strings.Count(stderr, "\n"); c.status != 0 && lines != c.status { // of usage, a hint at help too
			t.Errorf("terasort %s: %d lines, %q", c.args, lines, stderr)
		}
	}
}

// Generating and validating end when the user interrupts, and leave no part of a file.
func TestInterrupted(t *testing.T) {
	name := filepath.Join(t.TempDir(), "records")
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := generate(ctx, name, 1, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("generate: %v", err)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is left: %v", err)
	}
	if _, err := generate(t.Context(), name, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := summarize(ctx, []string{name}); !errors.Is(err, context.Canceled) {
		t.Errorf("summarize: %v", err)
	}
}
