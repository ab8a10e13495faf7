package lint

import "testing"

func TestCores(t *testing.T) {
	rules := Rules{Cores: []Core{{Files: "p/core*.go"}}}
	parted := Rules{Cores: []Core{{Files: "p/core*.go", Except: []string{"p/core_shell.go"}}}}
	whole := Rules{Cores: []Core{{Files: "p/core*.go"}, {Files: "q/*.go"}}}
	play(t, cores, []scene{
		{name: "a pure core", rules: parted, files: map[string]string{
			"p/core.go": `package p

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

type table struct{ m map[string]time.Duration }

func (t *table) step(now time.Time) (s string) {
	for _, k := range slices.Sorted(maps.Keys(t.m)) {
		s += fmt.Sprint(k, now.Add(t.m[k]))
	}
	// order-free: a sum has none
	for _, d := range t.m {
		now = now.Add(d)
	}
	for range t.m { // order-free: only counts
		s += "."
	}
	return s + helper() + now.String()
}
`,
			"p/core_test.go":  "package p\n\nimport _ \"os\"",
			"p/core_more.go":  "package p\n\nfunc helper() string { return \"\" }",
			"p/core_shell.go": "package p\n\nimport _ \"os\"",
			"p/shell.go":      "package p\n\nimport \"sync\"\n\nvar wg sync.WaitGroup\n\nfunc run() { go run() }",
		}},
		{name: "the forbidden", rules: rules, files: map[string]string{
			"p/core.go": "package p\n" + `
import (
	"fmt"
	"math/rand/v2" // want §take the random value§
	"os" // want §a core imports os§
	"sync" // want §a core imports sync§
	clock "time"
)

var _ = os.Args
var _ sync.Mutex
var _ = rand.IntN(3) // want §rand/v2.IntN§

func step(c chan int) { // want §uses a channel§
	go step(c) // want §starts a goroutine§
	fmt.Println(clock.Now()) // want §fmt.Println|time.Now§
	_ = clock.Now() // want §time.Now§
	f := clock.Now // want §time.Now§
	_ = f
	c <- 1 // want §uses a channel§
	<-c // want §receives from a channel§
	select {} // want §uses a channel§
}
`,
		}, also: []string{"p/core.go:17: a core uses time.Now"}},
		{name: "order of maps", rules: rules, files: map[string]string{
			"p/core.go": `package p

import (
	"maps"
	"slices"
)

type names map[string]int

type set[K comparable] struct{ in map[K]bool }

func (s *set[K]) each(n names, o other) {
	for range s.in { // want §ranges over a map§
	}
	for range n { // want §ranges over a map§
	}
	for range o.table() { // want §ranges over a map§
	}
	c := maps.Clone(n)
	for range c { // want §ranges over a map§
	}
	for range maps.Keys(n) { // want §iterates over a map§
	}
	_ = slices.Collect(maps.Values(n)) // want §iterates over a map§
	// order-free:
	for range n { // want §ranges over a map§
	}
	for range slices.Sorted(maps.Keys(n)) {
	}
	for range o.list() {
	}
}

func generic[M ~map[K]V, K comparable, V any](m M) {
	for range m { // want §ranges over a map§
	}
}
`,
			"p/shell.go": "package p\n\ntype other interface { table() names; list() []names }",
		}},
		{name: "a core leans on a shell", rules: rules, files: map[string]string{
			"p/core.go": `package p

func (c *conn) step(o outlet) {
	now() // want §calls now, which is in p/shell.go, a shell§
	c.write() // want §calls write, which is in p/shell.go§
	o.put()
	c.state++
	c.failure = wrong("state")
}
`,
			"p/errors.go": "package p\n\nfunc wrong(what string) error { return nil }",
			"p/shell.go": `package p

type conn struct { state int; failure error }

type outlet interface{ put() }

func now() {}

func (c *conn) write() {}
`,
		}},
		{name: "packages that are cores as a whole", rules: Rules{
			Cores: []Core{{Files: "p/core*.go"}, {Files: "q/*.go", Except: []string{"q/doc.go"}}},
		}, files: map[string]string{
			"p/core.go": "package p\n\nimport _ \"example.org/m/q\"",
			"q/doc.go":  "package q",
			"q/a.go":    "package q",
		}},
		{name: "packages that are not", rules: whole, files: map[string]string{
			"p/core.go": "package p\n\nimport _ \"example.org/m/r\" // want `a core imports r, which is not a core as a whole`",
			"q/a.go":    "package q",
			"r/a.go":    "package r",
		}},
		{name: "maps of other packages", rules: whole, files: map[string]string{
			"p/core.go": `package p

import "example.org/m/q"

func step() {
	for range q.Table() { // want §ranges over a map§
	}
}
`,
			"q/a.go": "package q\n\nfunc Table() map[int]int { return nil }",
		}},
		{name: "a seed", rules: Rules{Cores: []Core{{Files: "p/*.go", Seeded: "it is a simulation"}}}, files: map[string]string{
			"p/core.go": `package p

import "math/rand/v2"

var r = rand.New(rand.NewPCG(1, 2))

var n = rand.N(7) // want §rand/v2.N§
`,
		}},
		{name: "no such file", rules: parted, also: []string{`^p/core\*.go:1: no such file`, `^p/core_shell.go:1: there is no such file in p/core`}},
		{name: "listed twice", rules: Rules{Cores: []Core{{Files: "p/a.go"}, {Files: "p/b*.go"}, {Files: "p/*.go"}, {Files: "p/a.go"}}}, files: map[string]string{
			"p/a.go": "package p",
			"p/b.go": "package p",
		}, also: []string{`^p/\*.go:1: .* in the entry p/a.go too`, `^p/a.go:1: .* in the entry p/\*.go too`}},
		{name: "an exception that is a test, or elsewhere", rules: Rules{Cores: []Core{{Files: "p/*.go", Except: []string{"p/b_test.go", "q/q.go"}}}}, files: map[string]string{
			"p/a.go":      "package p",
			"p/b_test.go": "package p",
			"q/q.go":      "package q",
		}, also: []string{`^p/b_test.go:1: there is no such file`, `^q/q.go:1: there is no such file`}},
	})
}
