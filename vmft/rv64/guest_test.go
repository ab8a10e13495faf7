package rv64

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

// soak runs everything: all test binaries of the standard library, and more of the rest.
var soak = flag.Bool("soak", false, "run the long tests too")

// guests are the programs that this process has built, by their package or name.
var guests struct {
	mu   sync.Mutex
	dir  string
	done map[string][]byte
}

func TestMain(m *testing.M) {
	testutil.RareGC()
	status := m.Run()
	if guests.dir != "" {
		os.RemoveAll(guests.dir)
	}
	os.Exit(status)
}

// build runs the Go tool to make a riscv64 program, once.
func build(t testing.TB, key, dir string, args ...string) []byte {
	t.Helper()
	return buildFor(t, "", key, dir, args...)
}

// buildFor is build for a level of the architecture.
func buildFor(t testing.TB, level, key, dir string, args ...string) []byte {
	t.Helper()
	guests.mu.Lock()
	defer guests.mu.Unlock()
	if guests.done == nil {
		var err error
		if guests.dir, err = os.MkdirTemp("", "rv64"); err != nil {
			t.Fatal(err)
		}
		guests.done = make(map[string][]byte)
	}
	if b := guests.done[key+level]; b != nil {
		return b
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain to build a guest with")
	}
	out := filepath.Join(guests.dir, strings.ReplaceAll(key, "/", "_"))
	cmd := exec.Command("go", append(args, "-o", out)...)
	cmd.Args = append(cmd.Args, key)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=riscv64", "CGO_ENABLED=0", "GOFLAGS=", "GORISCV64="+level)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", key, err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	guests.done[key+level] = b
	return b
}

// guest builds one of testdata/guests.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	return build(t, "./"+name, "testdata/guests", "build")
}

func load(t testing.TB, elf []byte, cfg Config) *Machine {
	t.Helper()
	m, err := Load(elf, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// drive runs a machine that needs nothing from outside to its end, in parts as next
// says, and lets time pass whenever it is idle. It returns what was written to
// standard output and error.
func drive(t testing.TB, m *Machine, next func() uint64) string {
	t.Helper()
	return driveRecorded(t, m, m, next)
}

// driveRecorded is drive by way of what may be a recorder.
func driveRecorded(t testing.TB, m *Machine, by interface {
	Run(until uint64) uint64
	Inject(event []byte) error
}, next func() uint64) string {
	t.Helper()
	var out bytes.Buffer
	for {
		by.Run(m.Position() + next())
		for {
			_, b, ok := m.NextOutput()
			if !ok {
				break
			}
			o, err := ParseOutput(b)
			if err != nil {
				t.Fatal(err)
			}
			if o.Kind == OutputData && o.Conn < firstConn {
				out.Write(o.Data)
			}
		}
		if _, ended := m.Exited(); ended {
			return out.String()
		}
		if wake, idle := m.Idle(); idle {
			if wake < 0 {
				t.Fatalf("all threads wait for ever at %d; so far:\n%s", m.Position(), out.String())
			}
			if err := by.Inject(SkipEvent(wake)); err != nil {
				t.Fatal(err)
			}
		}
		if m.Position() > 200e9 {
			t.Fatalf("no end in sight; so far:\n%s", out.String())
		}
	}
}

func whole() uint64 { return 1 << 40 }

const stressOutput = `nodes 1260
slept true
331 keys in the order `

func TestGoRuntime(t *testing.T) {
	m := load(t, guest(t, "stress"), Config{Args: []string{"stress"}})
	out := drive(t, m, whole)
	if status, _ := m.Exited(); status != 7 || !strings.HasPrefix(out, stressOutput) ||
		!strings.HasSuffix(out, "hello <nil>\nruntime error: invalid memory address or nil pointer dereference\n") {
		t.Errorf("status %d, crash %+v, output:\n%s", status, m.Crash(), out)
	}
}
