package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeWords writes files for a job of several maps.
func writeWords(t *testing.T, dir string, files int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		text := strings.Repeat(fmt.Sprintf("so much depends upon file %c%c\n", 'a'+i%26, 'a'+i/26), 3000)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// The masters and the coordinators that lead are crashed while the job runs, and the output
// is that of a sequential run.
func TestChaos(t *testing.T) {
	dir := t.TempDir()
	input, chaos, oracle := filepath.Join(dir, "in"), filepath.Join(dir, "chaos"), filepath.Join(dir, "oracle")
	writeWords(t, input, 40)
	status, stdout, stderr := invoke(t, "-chaos", "-input", input, "-output", chaos, "-split", "1", "-reduce", "5")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, group := range []string{"master", "coordinator"} {
		_, rest, _ := strings.Cut(stdout, "fail-overs of the "+group+"; another led after")
		pauses, _, _ := strings.Cut(rest, "\n")
		crashes := strings.Count(stdout, group+"-0"+strings.Repeat(" ", 15-len(group+"-0"))+"crashes") + strings.Count(stdout, group+"-1"+strings.Repeat(" ", 15-len(group+"-0"))+"crashes")
		if n := strings.Count(pauses, " ms"); n != 2 || crashes != 2 {
			t.Errorf("%s: %d crashes, %d fail-overs, want 2\n%s", group, crashes, n, stdout)
		}
	}
	if n := strings.Count(stdout, "its claim was won"); n < 2+4 {
		t.Errorf("claims were won %d times, want 6 or more:\n%s", n, stdout)
	}
	if status, _, stderr := invoke(t, "-sequential", "-input", input, "-output", oracle, "-reduce", "5"); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if got, want := parts(t, chaos), parts(t, oracle); len(got) != 5 || !slices.Equal(got, want) {
		t.Errorf("under chaos the output is %.300q, the sequential run's is %.300q", got, want)
	}
}
