package rv64

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew")

// The hashes of these histories are in the repository: another host, of another
// architecture, has to come to the same.
func TestGoldenHashes(t *testing.T) {
	var b strings.Builder
	words := examples(t)
	for seed := range uint64(12) {
		m := bare(t, callLoop, randomCalls(rand.New(rand.NewPCG(seed, 9)), 2300), false)
		endure(t, m, 60_000)
		fmt.Fprintf(&b, "calls %d: %d %x\n", seed, m.Position(), m.Hash())

		r := newRig(randomProgram(rand.New(rand.NewPCG(seed, 2)), words, 1500), seed, blockEngine)
		r.runTo(60_000)
		sum := r.c.mem.digest()
		fmt.Fprintf(&b, "code %d: pc %x, fcsr %x, memory %016x%016x", seed, r.c.pc, r.c.fcsr, sum.hi, sum.lo)
		mix := uint64(0)
		for i := range 32 {
			mix = (mix^r.c.x[i])*0x9e3779b97f4a7c15 ^ r.c.f[i]
		}
		fmt.Fprintf(&b, ", registers %016x\n", mix)
	}
	const name = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(b.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Errorf("line %d: want %s\nhave %s", i+1, line, got[min(i, len(got)-1)])
		}
	}
}
