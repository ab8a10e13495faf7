package rv64

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var profile = flag.String("profile", "", "TestProfile writes to this `file` what programs execute, for internal/fusing to choose by")

// A counter is the engine of blocks, executed by the stepper, with counts of what is.
type counter struct {
	*blocks
	lines map[uint64]*countedLine // by where they start
}

// A countedLine is a line of code, not yet fused.
type countedLine struct {
	code   []inst
	counts [blockLength + 1]uint64 // of the instructions that end with the first so many
}

func (e *counter) run(c *cpu, limit uint64) trap {
	for c.count < limit {
		if e.mem.codeStale || len(e.code) >= codeLimit {
			e.forget()
		}
		b := e.lookup(c.pc)
		if b == nil || limit-c.count < b.n {
			if t := c.step(); t != trapNone {
				return t
			}
			continue
		}
		l := e.lines[b.pc]
		if l == nil {
			_, code, _ := e.line(b.pc)
			l = &countedLine{code: foldConstants(code)}
			e.lines[b.pc] = l
		}
		for n := range b.n {
			if c.pc != b.pcs[n] || e.mem.codeStale {
				break
			}
			l.counts[n+1]++
			if t := c.step(); t != trapNone {
				return t
			}
		}
	}
	return trapNone
}

// write writes a line for each line of code: its instructions, how many before gave
// their operands, and how often they were executed.
func (e *counter) write(w *bufio.Writer) {
	var starts []uint64
	for pc := range e.lines {
		starts = append(starts, pc)
	}
	slices.Sort(starts)
	for _, pc := range starts {
		l := e.lines[pc]
		for i := 0; i < len(l.code); i++ {
			if gathers(l.code[i:]) {
				fmt.Fprint(w, "gather=0 ")
				i += gatherLength - 1
				continue
			}
			in := l.code[i]
			name := in.op.String()
			if in.op == opRET {
				name = "ret"
			}
			for operand, register := range map[string]uint8{"a": in.rs1, "b": in.rs2} {
				for d := 1; d <= min(i, 9); d++ {
					if before := l.code[i-d]; before.op.writesX() && before.rd == register {
						name += fmt.Sprint(":", operand, d)
						break
					}
				}
			}
			fmt.Fprintf(w, "%s=%d ", name, l.counts[in.n])
		}
		fmt.Fprintln(w)
	}
}

// TestProfile counts what the kernels of examples/bench and some tests of the standard
// library execute.
func TestProfile(t *testing.T) {
	if *profile == "" {
		t.Skip("no -profile to write")
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no Go toolchain")
	}
	goroot := strings.TrimSpace(string(out))
	f, err := os.Create(*profile)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	run := func(name string, weight int, m *Machine) {
		e := &counter{newBlocks(m.kernel.spaces()[0]), make(map[uint64]*countedLine)}
		m.engines = []spaceEngine{{e.mem, e}}
		for m.Position() < 250e6 {
			m.Run(250e6)
			m.drop()
			if _, ended := m.Exited(); ended {
				break
			}
			wake, idle := m.Idle()
			if !idle || wake < 0 {
				break
			}
			if err := m.Inject(SkipEvent(wake)); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintln(w, "program", name, weight)
		e.write(w)
	}
	kernels := buildFor(t, "rva22u64", "github.com/trilith-go/trilith/examples/bench/internal/kernels", "", "build")
	for _, name := range []string{"fib", "sort", "sha256", "json", "map", "matmul"} {
		run(name, 2, load(t, kernels, Config{Args: []string{"kernels", name, "1000"}}))
	}
	for _, p := range stdPackages {
		if slices.Contains([]string{"bufio", "compress/flate", "encoding/json", "go/parser", "regexp", "slices", "strconv", "strings", "text/template"}, p.path) {
			run(p.path, 1, load(t, build(t, p.path, "", "test", "-c"), Config{
				Args: []string{"test", "-test.short"}, Root: stdRoot(t, goroot, p), Dir: path.Join(filepath.ToSlash(goroot), "src", p.path),
				Env: []string{"HOME=/root", "GOROOT=" + goroot}, Memory: 2 << 30,
			}))
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
