package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// invoke runs the program.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestFindsLines(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "one rose\ntwo\n", "b": "none\nroses", "c.txt": "a rose\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	place := func(name string) string { return strings.TrimPrefix(filepath.ToSlash(filepath.Join(dir, name)), "/") }
	want := place("a") + ":0\tone rose\n" + place("b") + ":5\troses\n" + place("c.txt") + ":0\ta rose\n"
	for _, args := range [][]string{
		{"rose", dir},
		{"-sequential", "rose", filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "*.txt")},
		{"-workers", "1", "-reduce-after", "100", "-no-backups", "-attempts", "1", "-skip", "1", "-split", "1", "-task-timeout", "1m", "rose", dir},
	} {
		status, stdout, stderr := invoke(t, args...)
		if status != 0 || stdout != want {
			t.Errorf("grep %q: status %d, %q, %s; want %q", args, status, stdout, stderr, want)
		}
	}
	out := filepath.Join(dir, "out")
	if status, stdout, stderr := invoke(t, "-reduce", "2", "-output", out, "rose", dir); status != 0 || stdout != "" {
		t.Errorf("with -output: status %d, %q, %s", status, stdout, stderr)
	}
	if parts, err := filepath.Glob(filepath.Join(out, "part-*")); err != nil || len(parts) != 2 {
		t.Errorf("the output is %q, %v", parts, err)
	}
	if status, _, stderr := invoke(t, "-output", out, "rose", dir); status != 1 || !strings.Contains(stderr, "not empty") {
		t.Errorf("output into a directory in use: status %d, %s", status, stderr)
	}
}

// One line says what is wrong, another where help is.
func TestSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 2, "a pattern and files"},
		{"rose", 2, "a pattern and files"},
		{"( .", 2, "missing closing )"},
		{"rose /no/such/file", 1, "/no/such/file"},
		{"rose /no/such/*.txt", 1, "matches no file"},
		{"-frobnicate", 2, "frobnicate"},
		{"-reduce 0 x .", 2, "-reduce is 0, not 1 to 65536"},
		{"-split -1 x .", 2, "-split is -1"},
		{"-attempts 61 x .", 2, "-attempts is 61, not 1 to 60"},
		{"-skip 1001 x .", 2, "-skip is 1001, not 0 to 1000"},
		{"-task-timeout 0s x .", 2, "-task-timeout is 0s"},
		{"-reduce-after 101 x .", 2, "-reduce-after is 101, not 1 to 100"},
		{"-workers -1 x .", 2, "-workers is -1"},
		{"-help", 0, "-no-backups"},
	} {
		status, stdout, stderr := invoke(t, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("grep %s: status %d, %q, %q; want %d and %q", c.args, status, stderr, stdout, c.status, c.says)
		}
		if lines := strings.Count(stderr, "\n"); c.status != 0 && lines != c.status {
			t.Errorf("grep %s: %d lines, %q", c.args, lines, stderr)
		}
	}
}
