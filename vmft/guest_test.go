//lint:bubble
package vmft_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/vmft/rv64"
)

var buildServer = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "vmft")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "server")
	cmd := exec.Command("go", "build", "-o", out, "./server")
	cmd.Dir = "testdata/guests"
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=riscv64", "CGO_ENABLED=0", "GOFLAGS=", "GORISCV64=")
	if b, err := cmd.CombinedOutput(); err != nil {
		return b, err
	}
	return os.ReadFile(out)
})

// serverELF is testdata/guests/server, which is built once.
func serverELF(t *testing.T) []byte {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain to build a guest with")
	}
	elf, err := buildServer()
	if err != nil {
		t.Fatalf("building the guest: %v\n%s", err, elf)
	}
	return elf
}

// instructionTime is how long an instruction takes, of a machine's time and of a bubble's.
const instructionTime = 40 * time.Nanosecond

// A pacedMachine takes its time in a bubble too, and stops at an instruction when it is asked
// to.
type pacedMachine struct {
	*rv64.Machine
	at atomic.Uint64

	mu   sync.Mutex // guards what follows
	trap uint64     // 0: none
	hit  func()     // what is done there, before anything that follows is known to anybody
}

func (m *pacedMachine) Run(until uint64) uint64 {
	from := m.Position()
	m.mu.Lock()
	trap, hit := m.trap, m.hit
	m.mu.Unlock()
	if trap > from {
		until = min(until, trap)
	}
	to := m.Machine.Run(until)
	m.at.Store(to)
	if trap > 0 && to >= trap {
		m.arm(0, nil)
		hit()
	}
	time.Sleep(time.Duration(to-from) * instructionTime)
	return to
}

// arm has a machine stop so many instructions from now, the next time that it runs as many.
func (m *pacedMachine) arm(after uint64, hit func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trap, m.hit = 0, hit; hit != nil {
		m.trap = m.at.Load() + after
	}
}
