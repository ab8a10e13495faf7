package mapreduce

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

// benchInput makes text whose words are as frequent as Zipf has it.
func benchInput(bytes int) fstest.MapFS {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.2, 5, 200_000)
	var b strings.Builder
	for b.Len() < bytes {
		for range 4 + r.IntN(12) {
			n := zipf.Uint64()
			fmt.Fprintf(&b, "%c%s ", 'a'+n%26, strings.Repeat(string(rune('a'+n/26%26)), int(n%7)))
			if n > 1000 {
				fmt.Fprintf(&b, "%c%c", 'a'+n/100%26, 'a'+n/1000%26)
			}
		}
		b.WriteByte('\n')
	}
	return fstest.MapFS{"text": {Data: []byte(b.String())}}
}

// benchCount counts words that are separated by anything but ASCII letters.
var benchCount = Job[string, int, int]{
	Name: "count",
	Map: func(_ *Task, line Record, emit func(string, int)) error {
		text := line.Text()
		for i := 0; i < len(text); {
			for i < len(text) && (text[i]|0x20 < 'a' || text[i]|0x20 > 'z') && text[i] < utf8.RuneSelf {
				i++
			}
			start := i
			for i < len(text) && (text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z' || text[i] >= utf8.RuneSelf) {
				i++
			}
			if i > start {
				emit(text[start:i], 1)
			}
		}
		return nil
	},
	Reduce: func(_ *Task, _ string, counts iter.Seq[int], emit func(int)) error {
		sum := 0
		for n := range counts {
			sum += n
		}
		emit(sum)
		return nil
	},
	Combine: func(a, b int) int { return a + b },
}

func BenchmarkWordCount(b *testing.B) {
	const size = 64 << 20
	input := benchInput(size)
	plain := benchCount
	plain.Combine = nil
	for _, c := range []struct {
		name string
		job  Definition
		run  func(b *testing.B, job Definition, spec Spec, cfg RunConfig) error
	}{
		{"combine", benchCount, runBench},
		{"no-combine", plain, runBench},
		{"sequential", benchCount, func(b *testing.B, job Definition, spec Spec, cfg RunConfig) error {
			_, err := RunSequential(b.Context(), job, spec, cfg)
			return err
		}},
	} {
		b.Run(fmt.Sprintf("%s/bytes=%d", c.name, size), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				cfg := RunConfig{FileSystem: newMemoryFiles(), Input: ReadOnly(input), Workers: runtime.GOMAXPROCS(0)}
				if err := c.run(b, c.job, Spec{Input: []string{"text"}, Output: "out", Reduces: 4}, cfg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func runBench(b *testing.B, job Definition, spec Spec, cfg RunConfig) error {
	_, err := Run(b.Context(), job, spec, cfg)
	return err
}
