package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/examples/internal/local"
)

// What cannot be a shared disk is said at the start, with what is to be done, and nothing is
// made in its place: a disk that is not mounted must not look like an empty one.
func TestUnusableSharedDisk(t *testing.T) {
	dir := t.TempDir()
	missing, file, locked := filepath.Join(dir, "mount", "disk"), filepath.Join(dir, "file"), filepath.Join(dir, "locked")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(locked, 0o500)); err != nil {
		t.Fatal(err)
	}
	refused := func(shared, want string) {
		t.Helper()
		for _, how := range []string{"-memory -forward 127.0.0.1:0", "-forward 127.0.0.1:0", "-node 127.0.0.1:1 -lock " + filepath.Join(dir, "lock")} {
			var errs bytes.Buffer
			args := append(strings.Fields(how), "-shared", shared)
			if strings.HasPrefix(how, "-node") {
				args = append(args, file) // the program, which it never comes to
			}
			if status := run(t.Context(), args, nil, io.Discard, &errs); status != local.ExitFailed || !strings.Contains(errs.String(), want) {
				t.Errorf("%s -shared %s: status %d, %q does not tell %q", how, shared, status, errs.String(), want)
			}
		}
	}
	refused(missing, "mkdir -p "+missing)
	if _, err := os.Stat(filepath.Dir(missing)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	refused(file, "that is a file")
	if os.WriteFile(filepath.Join(locked, "probe"), nil, 0o600) != nil { // root may write anywhere
		refused(locked, "read and write")
	}
}
