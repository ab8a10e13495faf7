package rv64

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// crossCompiler is Debian's; package gcc-riscv64-linux-gnu has it.
const crossCompiler = "riscv64-linux-gnu-gcc"

// Static programs of C, with glibc.
func TestC(t *testing.T) {
	cc, err := exec.LookPath(crossCompiler)
	if err != nil {
		t.Skipf("there is no %s here (Debian: gcc-riscv64-linux-gnu, libc6-dev-riscv64-cross)", crossCompiler)
	}
	for name, want := range map[string]struct {
		status int
		out    string
	}{
		"all": {134, `2 hi 0.30000000000000004 3.141593e+100 0x1.5555555555555p-2
36000 72
jumped
hits 2
caught
21065.833132 No such file or directory
hits 3
in: a line
`},
		"poll": {0, `poll 0 1
eventfd 3 times, then Resource temporarily unavailable
timer went off often: 1
edge 1 0 1
level 1 1
select 1 1
connect 0
peek 5, read 3 hello
rest 2, end 0
pair 4
unix connect 0
moved 0
.:4 ..:4 a:10 b:8 
0 120777 -1
escape -1
`},
	} {
		for _, opt := range []string{"-O0", "-O2"} {
			out := filepath.Join(t.TempDir(), name)
			if b, err := exec.Command(cc, opt, "-w", "-static", "-o", out, "testdata/c/"+name+".c", "-lm", "-pthread").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, b)
			}
			elf, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			m := load(t, elf, Config{Args: []string{name, "hi"}})
			for _, e := range [][]byte{InputEvent([]byte("a line\n")), InputEndEvent()} {
				if err := m.Inject(e); err != nil {
					t.Fatal(err)
				}
			}
			got := drive(t, m, whole)
			if status, _ := m.Exited(); status != want.status || got != want.out {
				t.Errorf("%s %s: status %d, crash %v\n%s", name, opt, status, m.Crash(), got)
			}
		}
	}
}
