package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
)

// chained runs the jobs over a tree and returns what the last one has written.
func chained(t *testing.T, tree fs.FS, iterations int) string {
	t.Helper()
	var jobs []string
	c := &chain{
		source: mapreduce.ReadOnly(tree), files: mapreduce.Dir(t.TempDir()),
		iterations: iterations, workers: 2, reduces: 3, done: func(job string) { jobs = append(jobs, job) },
	}
	name, err := c.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) != iterations+2 {
		t.Errorf("the jobs were %q, want %d", jobs, iterations+2)
	}
	ranks, err := readFile(t.Context(), c.files, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(ranks)
}

// direct computes the same without MapReduce.
func direct(t *testing.T, tree fs.FS, iterations int) string {
	t.Helper()
	imports := make(map[string]map[string]bool)
	node := func(name string) map[string]bool {
		if imports[name] == nil {
			imports[name] = make(map[string]bool)
		}
		return imports[name]
	}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		pkg, ok := packageOf(name)
		if err != nil || !ok || !d.Type().IsRegular() {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		names, err := importsOf(name, text)
		for _, imported := range names {
			node(imported)
			node(pkg)[imported] = true
		}
		node(pkg)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ranks := make(map[string]int64)
	for name := range imports {
		ranks[name] = 1_000_000_000
	}
	for range iterations {
		sunk := int64(0)
		for name, to := range imports {
			if len(to) == 0 {
				sunk += ranks[name]
			}
		}
		next := make(map[string]int64)
		for name := range imports {
			next[name] += 150_000_000 + sunk*85/100/int64(len(imports))
			for to := range imports[name] {
				next[to] += ranks[name] * 85 / 100 / int64(len(imports[name]))
			}
		}
		ranks = next
	}
	var names []string
	for name := range ranks {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(ranks[b], ranks[a]), cmp.Compare(a, b))
	})
	var lines strings.Builder
	for _, name := range names {
		fmt.Fprintf(&lines, "%d\t%s\n", ranks[name], name)
	}
	return lines.String()
}

func check(t *testing.T, tree fs.FS, iterations int) (ranks string) {
	t.Helper()
	got, want := chained(t, tree, iterations), direct(t, tree, iterations)
	if got != want {
		t.Errorf("%d iterations of jobs give\n%.2000s\ncomputed directly it is\n%.2000s", iterations, got, want)
	}
	return got
}

// small is a tree with a cycle, packages without imports, a repeated import, a
// vendored package, and files that do not count.
var small = fstest.MapFS{
	"a/a.go":                     {Data: []byte("package a\nimport (\n\t\"b\"\n\tc \"c/d\"\n\t_ \"unsafe\"\n)\n")},
	"a/more.go":                  {Data: []byte("package a\nimport \"b\"\nimport \"x.org/v\"\n")},
	"b/b.go":                     {Data: []byte("package b\nimport \"C\"\nimport \"c/d\"\n")},
	"c/d/d.go":                   {Data: []byte("package d\nimport \"b\"\n")},
	"vendor/x.org/v/v.go":        {Data: []byte("package v\n")},
	"lonely/lonely.go":           {Data: []byte("package lonely\n")},
	"a/a_test.go":                {Data: []byte("package a\nimport \"testing\"\n")},
	"a/testdata/broken.go":       {Data: []byte("no package\n")},
	"b/internal/testdata/x/x.go": {Data: []byte("package x\nimport \"y\"\n")},
}

func TestChainIsTheDirectComputation(t *testing.T) {
	for _, iterations := range []int{0, 1, 7} {
		ranks := check(t, small, iterations)
		if n := strings.Count(ranks, "\n"); n != 6 {
			t.Errorf("%d packages, want a, b, c/d, lonely, unsafe and x.org/v:\n%s", n, ranks)
		}
	}
}

func TestImportGraphOfTheGoSource(t *testing.T) {
	source, err := local.GoSource()
	if err != nil {
		t.Skip(err)
	}
	ranks := check(t, os.DirFS(source), 4)
	if n := strings.Count(ranks, "\n"); n < 200 {
		t.Errorf("only %d packages", n)
	}
	if first, _, _ := strings.Cut(ranks, "\n"); !strings.HasSuffix(first, "\tunsafe") {
		t.Errorf("the first package is %q", first)
	}
}

func TestProgram(t *testing.T) {
	tree := t.TempDir()
	if err := os.CopyFS(tree, small); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-source", tree, "-iterations", "3", "-top", "1"}, 0, "  b\n6 packages, 5 jobs"},
		{[]string{"-source", "/no/such/tree"}, local.ExitFailed, "/no/such/tree"},
		{[]string{"-source", t.TempDir()}, local.ExitFailed, "matches no file"},
		{[]string{"-iterations", "-1"}, local.ExitUsage, "-iterations is -1"},
		{[]string{"-top", "-1"}, local.ExitUsage, "-top is -1"},
		{[]string{"-workers", "x"}, local.ExitUsage, "-workers"},
		{[]string{"tree"}, local.ExitUsage, `unexpected argument "tree"`},
		{[]string{"-help"}, 0, "-iterations"},
	} {
		var out bytes.Buffer
		status := run(t.Context(), c.args, &out, &out)
		if status != c.status || !strings.Contains(out.String(), c.says) {
			t.Errorf("pagerank %q: status %d, %q; want %d and %q", c.args, status, out.String(), c.status, c.says)
		}
		if lines := strings.Count(out.String(), "\n"); c.status != 0 && lines != c.status { // of usage, a hint at help too
			t.Errorf("pagerank %q: %d lines, %q", c.args, lines, out.String())
		}
	}
}
