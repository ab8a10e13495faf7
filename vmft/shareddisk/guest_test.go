package shareddisk

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/vmft/rv64"
)

func TestMain(m *testing.M) {
	testutil.RareGC()
	m.Run()
}

// built is testdata/guest as a riscv64 program.
var built = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "shareddisk")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Dir = "testdata/guest"
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=riscv64", "CGO_ENABLED=0", "GOFLAGS=", "GORISCV64=")
	if b, err := cmd.CombinedOutput(); err != nil {
		return b, err
	}
	return os.ReadFile(out)
})

func program(t testing.TB) []byte {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain to build a guest with")
	}
	b, err := built()
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return b
}

func machine(t testing.TB, args ...string) *rv64.Machine {
	t.Helper()
	m, err := rv64.Load(program(t), rv64.Config{Args: append([]string{"guest"}, args...), Env: []string{"ROOT=/shared"}, Shared: "/shared"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t testing.TB, files Files) *Disk {
	t.Helper()
	d, err := Open(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// alone runs a machine that is not replicated on a disk, and returns what the program prints.
func alone(t testing.TB, d *Disk, m *rv64.Machine) string {
	t.Helper()
	var out bytes.Buffer
	do, end := d.Host()
	status, err := rv64.Drive(t.Context(), m, rv64.HostConfig{Stdout: &out, Stderr: &out, Disk: do})
	if err != nil {
		t.Fatal(err, out.String())
	}
	if status != 0 {
		t.Errorf("status %d, crash %+v:\n%s", status, m.Crash(), out.String())
	}
	if err := end(context.Background()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// onlyShared is what the guest says of a shared disk, and not of a local one.
const onlyShared = `rename from another disk: true
link from another disk: true
map: no such device
copied to the local disk: 280 <nil>
and back: 280 <nil> <nil>
remove what is mounted: true
`

// Files are what programs expect, as on the local disk, and the next machine on the disk
// finds them.
func TestFilesOutlastTheMachine(t *testing.T) {
	m, err := rv64.Load(program(t), rv64.Config{Args: []string{"guest", "all"}, Env: []string{"ROOT=/tmp/disk"}, Root: fstest.MapFS{"tmp/disk": {Mode: fs.ModeDir | 0o755}}})
	if err != nil {
		t.Fatal(err)
	}
	local := alone(t, open(t, Directory(t.TempDir())), m)
	i := strings.Index(local, " drwx")
	if i < 0 || !strings.HasPrefix(local, "cut and grown: true\n") {
		t.Fatalf("on the local disk:\n%s", local)
	}
	there := local[i:]
	dir := t.TempDir()
	if out := alone(t, open(t, Directory(dir)), machine(t, "all")); out != local[:i]+onlyShared+there {
		t.Errorf("on the local disk\n%s\nthe first machine finds\n%s", local, out)
	}
	for range 2 {
		if out := alone(t, open(t, Directory(dir)), machine(t, "look")); out != there {
			t.Errorf("a later machine finds\n%s", out)
		}
	}
}

// A program that was told that a record is safe finds it after the power has failed.
func TestSyncedSurvivesPowerFailure(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		fsys := vfs.NewMemory(1)
		w := &crasher{fsys: fsys, images: make(map[int]*vfs.Memory)}
		do, end := open(t, DirectoryOn(fsys, "disk")).Host()
		if status, err := rv64.Drive(t.Context(), machine(t, "log", "12"), rv64.HostConfig{Stdout: w, Disk: do}); status != 0 || err != nil {
			t.Fatal(status, err)
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(w.images) != 12 {
			t.Fatalf("%d records were safe", len(w.images))
		}
		for n, image := range w.images {
			out := alone(t, open(t, DirectoryOn(image, "disk")), machine(t, "log", "0"))
			var there int
			if _, err := fmt.Sscanf(out, "there are %d", &there); err != nil || there < n+1 || there > n+2 {
				t.Errorf("after record %d was safe, and the power failed: %q %v", n, out, err)
			}
		}
	})
}

// A crasher takes an image of the disk, as a failure of power leaves it, whenever the program
// says that a record is safe.
type crasher struct {
	fsys   *vfs.Memory
	images map[int]*vfs.Memory
}

func (c *crasher) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(line, "safe %d", &n); err == nil {
			c.images[n] = c.fsys.CrashImage(uint64(n))
		}
	}
	return len(b), nil
}
