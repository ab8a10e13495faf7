package rv64

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A stdPackage is one of the standard library whose own tests run in the machine.
type stdPackage struct {
	path  string
	quick bool     // it runs without -soak too, and does not have half of the library built anew for its test
	files []string // that its tests read outside their directory, below GOROOT
	// left are the tests that are left out, and why.
	left map[string]string
}

var stdPackages = []stdPackage{
	{path: "sort"},
	{path: "strconv"},
	{path: "math", quick: true},
	{path: "math/big"},
	{path: "math/bits"},
	{path: "math/rand/v2"},
	{path: "encoding/json"},
	{path: "encoding/gob"},
	{path: "encoding/binary"},
	{path: "crypto/sha256"},
	{path: "crypto/sha512"},
	{path: "crypto/ed25519"},
	{path: "compress/flate", files: []string{"src/testdata"}},
	{path: "compress/gzip", files: []string{"src/testdata"}},
	{path: "bytes"},
	{path: "strings"},
	{path: "slices"},
	{path: "maps", quick: true},
	{path: "unicode/utf8", quick: true},
	{path: "container/heap", quick: true},
	{path: "container/list", quick: true},
	{path: "context", quick: true},
	{path: "sync"},
	{path: "sync/atomic"},
	{path: "time", files: []string{"lib/time/zoneinfo.zip", "src/time/testdata"}},
	{path: "io"},
	{path: "bufio"},
	{path: "regexp", files: []string{"src/regexp/testdata"}},
	{path: "text/template"},
	{path: "html/template"},
	{path: "path/filepath", files: []string{"src/unicode"}},
	{path: "net/textproto"},
	{path: "net/url"},
	{path: "net/http/httptest", quick: true},
	{path: "os"},
	{path: "go/parser", files: []string{"src/go/printer/nodes.go", "src/go/ast", "src/go/parser/testdata"}},
}

// stdRoot is the tree that a package's tests find: its source where it is on the
// host, and a few things that every system has.
func stdRoot(t *testing.T, goroot string, p stdPackage) fs.FS {
	t.Helper()
	root := fstest.MapFS{
		"etc/hosts":     {Data: []byte("127.0.0.1 localhost\n::1 localhost\n"), Mode: 0o644},
		"etc/passwd":    {Data: []byte("root:x:0:0:root:/root:/bin/sh\n"), Mode: 0o644},
		"etc/group":     {Data: []byte("root:x:0:\n"), Mode: 0o644},
		"usr/bin/true":  {Mode: 0o755},
		"usr/lib/empty": {Mode: 0o644},
		"root/empty":    {Mode: 0o644},
	}
	if p.path == "os" {
		root["usr/bin/pwd"] = &fstest.MapFile{Data: guest(t, "pwd"), Mode: 0o755}
	}
	for _, name := range append([]string{"src/" + p.path}, p.files...) {
		err := filepath.WalkDir(filepath.Join(goroot, filepath.FromSlash(name)), func(file string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			info, err := e.Info()
			root[strings.TrimPrefix(filepath.ToSlash(file), "/")] = &fstest.MapFile{Data: b, Mode: 0o644, ModTime: info.ModTime()}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// replayed runs a log again, unless that takes long, and compares.
func replayed(t *testing.T, m *Machine, rec *Recorder, log *bytes.Buffer) {
	t.Helper()
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	if m.Position() > 500e6 && !*soak {
		return
	}
	r, err := NewReplayer(log, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(1 << 50); err != nil {
		t.Error(err)
	} else if !r.Done() || r.Machine().Hash() != m.Hash() {
		t.Errorf("the replay ends at %d, not %d, or differs", r.Machine().Position(), m.Position())
	}
}

var testLine = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// The test binaries of the standard library, as the Go toolchain makes them, pass in
// the machine.
func TestStandardLibrary(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long, on one goroutine")
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no Go toolchain")
	}
	goroot := strings.TrimSpace(string(out))
	passed, left, failed := 0, 0, 0
	for _, p := range stdPackages {
		if !p.quick && !*soak {
			continue
		}
		t.Run(p.path, func(t *testing.T) {
			elf := build(t, p.path, "", "test", "-c")
			name := strings.ReplaceAll(p.path, "/", "_") + ".test"
			args := []string{name, "-test.short", "-test.v"}
			if len(p.left) > 0 {
				var names []string
				for n := range p.left {
					names = append(names, "^"+n+"$")
				}
				slices.Sort(names)
				args = append(args, "-test.skip", strings.Join(names, "|"))
			}
			m := load(t, elf, Config{
				Args: args, Root: stdRoot(t, goroot, p), Dir: path.Join(filepath.ToSlash(goroot), "src", p.path),
				Env: []string{"HOME=/root", "PATH=/bin:/usr/bin", "GOROOT=" + goroot, "USER=root"}, Memory: 2 << 30,
			})
			var log bytes.Buffer
			rec, err := NewRecorder(m, &log, 0)
			if err != nil {
				t.Fatal(err)
			}
			text := driveRecorded(t, m, rec, whole)
			status, _ := m.Exited()
			replayed(t, m, rec, &log)
			for _, match := range testLine.FindAllStringSubmatch(text, -1) {
				if match[1] == "FAIL" {
					failed++
					t.Errorf("%s fails", match[2])
				} else {
					passed++
				}
			}
			left += len(p.left)
			if status != 0 {
				t.Errorf("status %d, crash %v\n%s", status, m.Crash(), text[max(0, len(text)-3000):])
			}
		})
	}
	if all := passed + failed + left; all > 0 {
		t.Logf("%d tests pass of %d, %d left out", passed, all, left)
		if all > 2000 && passed*100 < all*98 {
			t.Errorf("less than 98 %% pass")
		}
	}
}
