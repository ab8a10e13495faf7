package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A directory for output is made, with what is missing above it, unless that cannot be, or
// there is something in it that is not hidden.
func TestNewOutput(t *testing.T) {
	dir := t.TempDir()
	file, out := filepath.Join(dir, "file"), filepath.Join(dir, "new", "out")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		if abs, err := NewOutput(out); err != nil || abs != out {
			t.Errorf("made, again %v: %q, %v", again, abs, err)
		}
		if left, err := os.ReadDir(out); err != nil || len(left) > 0 && !again {
			t.Errorf("made, again %v, there is %v, %v", again, left, err)
		}
		if err := os.WriteFile(filepath.Join(out, ".attempt"), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, says := range map[string]string{dir: "is not empty", file: "not a directory", filepath.Join(file, "out"): "not a directory"} {
		if _, err := NewOutput(name); err == nil || !strings.HasPrefix(err.Error(), "-output: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
