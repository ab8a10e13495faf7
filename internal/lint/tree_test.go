package lint

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestLoad(t *testing.T) {
	empty := &fstest.MapFile{Data: []byte("package p")}
	tree, err := Load(fstest.MapFS{
		"go.mod":          {Data: []byte("// a comment\nmodule example.org/m\n")},
		"a.go":            empty,
		"b/b.go":          empty,
		"b/testdata/c.go": empty,
		".hidden/d.go":    empty,
		"_hidden/e.go":    empty,
		"x/go.mod":        {},
		"x/y/f.go":        empty,
		"xy/g.go":         {Data: []byte("package p\n\nfunc {")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range tree.Files {
		paths = append(paths, f.Path)
		if nested := strings.HasPrefix(f.Path, "x/"); (f.Nested == "x") != nested {
			t.Errorf("%s belongs to module %q", f.Path, f.Nested)
		}
	}
	if want := []string{"a.go", "b/b.go", "x/y/f.go"}; !slices.Equal(paths, want) {
		t.Errorf("files %v, want %v", paths, want)
	}
	if tree.Module != "example.org/m" {
		t.Errorf("module %q", tree.Module)
	}
	if len(tree.Broken) != 1 || tree.Broken[0].Path != "xy/g.go" {
		t.Errorf("broken %v, want xy/g.go alone", tree.Broken)
	}
}

func TestLoadNeedsAModule(t *testing.T) {
	for name, fsys := range map[string]fstest.MapFS{
		"no go.mod":      {"a.go": {Data: []byte("package p")}},
		"no module line": {"go.mod": {Data: []byte("go 1.26\n")}},
	} {
		if _, err := Load(fsys); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
