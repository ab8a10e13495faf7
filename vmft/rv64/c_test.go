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
		"process": {5, `pipe child
fork 1 3, parent 1
none -1 1
exec spawned y, fd 9 closed
spawn 0
status 5, handler 5
signal 6, handler 6
tree 16
waitid 1 1 15
reaped 1, gone 1
vfork 3
nobody 1
named, then 0
exec last -, fd 9 closed
`},
		"shared": {0, `refused 1
stored Stored Stored
60 to the end 10000
Stored
few few
turns 200, sum 4957
sent 2 2, got 3 one 5 three
probe 0 1 3b 3 -1
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

// Programs for a machine without a kernel, as the official tests of instructions are.
func TestTestEnvironment(t *testing.T) {
	cc, err := exec.LookPath(crossCompiler)
	if err != nil {
		t.Skipf("there is no %s here", crossCompiler)
	}
	for _, c := range []struct {
		flags  []string
		status int
	}{
		{[]string{"-DSTATUS=1"}, 0}, {[]string{"-DSTATUS=43"}, 42}, {[]string{"-DSTATUS=1", "-DDIRECT"}, 0},
		{[]string{"-DSTATUS=43", "-DDIRECT"}, 43},
		{[]string{"-DSTATUS=1", "-DDIRECT", "-Wl,--nmagic"}, 0}, // its pages are shared with what it writes
	} {
		out := filepath.Join(t.TempDir(), "testenv")
		args := append([]string{"-march=rv64gc", "-mcmodel=medany", "-static", "-nostdlib", "-Wl,--no-warn-rwx-segments", "-Wl,-Ttext=0x80002000",
			"-Wl,--section-start=.text.init=0x80000000", "-Wl,--build-id=none", "-o", out, "testdata/c/testenv.S"}, c.flags...)
		if b, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		elf, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		hashes := make(map[[32]byte]bool)
		for _, stepper := range []bool{false, true} {
			m := load(t, elf, Config{Stepper: stepper})
			drive(t, m, whole)
			if status, exited := m.Exited(); !exited || status != c.status {
				t.Errorf("%v: status %d, exited %v, crash %v", c.flags, status, exited, m.Crash())
			}
			hashes[m.Hash()] = true
		}
		if len(hashes) != 1 {
			t.Errorf("%v: the engines differ", c.flags)
		}
	}
}
