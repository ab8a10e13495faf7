package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListsFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a": "one two two\n", "sub/b": "two\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	a := strings.TrimPrefix(filepath.ToSlash(filepath.Join(dir, "a")), "/")
	b := strings.TrimPrefix(filepath.ToSlash(filepath.Join(dir, "sub", "b")), "/")
	want := "one\t" + a + "\ntwo\t" + a + " " + b + "\n"
	for _, args := range [][]string{{dir}, {"-sequential", dir}} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args, &stdout, &stderr); status != 0 || stdout.String() != want {
			t.Errorf("index %q: status %d, %q, %s; want %q", args, status, &stdout, &stderr, want)
		}
	}
}

func TestSaysWhatIsWrong(t *testing.T) {
	for args, says := range map[string]string{"": "the files are missing", "-reduce 0 .": "-reduce is 0", "-x": "-x"} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), strings.Fields(args), &stdout, &stderr); status != 2 || !strings.Contains(stderr.String(), says) || stdout.Len() > 0 {
			t.Errorf("index %s: status %d, %q, %q", args, status, &stdout, &stderr)
		}
	}
}
