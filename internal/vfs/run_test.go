package vfs_test

import (
	"runtime"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// A run has one name, and the next has another.
func TestRunOfTheMachine(t *testing.T) {
	first, second := vfs.OS().(vfs.Runner).Run(), vfs.OS().(vfs.Runner).Run()
	if first != second || runtime.GOOS == "linux" && first == "" {
		t.Errorf("the run of the operating system is %q, then %q", first, second)
	}
	m := vfs.NewMemory(1)
	if in := vfs.Inject(m, nil); in.Run() != m.Run() || m.Run() == "" {
		t.Errorf("the run of a memory is %q, and %q with an injector around", m.Run(), in.Run())
	}
	if after := m.Crash(); after.Run() == m.Run() {
		t.Errorf("a crash leaves the run %q", m.Run())
	}
}
