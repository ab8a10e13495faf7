package lint

import (
	"fmt"
	"slices"
	"strings"
)

// layers checks that packages of the module import one another only downwards.
// A directory falls under the longest entry of [Rules.Layers] that holds it, may
// always import from within the same entry, and, in tests and test kits, what the
// entry allows there besides.
func layers(t *Tree, r *Rules) []Finding {
	var found []Finding
	for _, f := range t.Files {
		from := r.layer(f.Dir)
		if from == nil {
			found = append(found, f.find(f.Syntax.Package,
				"package %s is in no layer; add it to Rules.Layers and say what it may import", f.Dir))
			continue
		}
		allowed := from.Imports
		if f.Test() || r.kit(f) {
			allowed = slices.Concat(from.Imports, from.Tests)
		}
		for _, spec := range f.Syntax.Imports {
			dir, ours := t.local(importPath(spec))
			if !ours {
				continue
			}
			into := r.layer(dir)
			if into == nil || (into != from && !slices.Contains(allowed, into.Dir)) {
				found = append(found, f.find(spec.Pos(),
					"%s may not import %s; turn the dependency round or declare a small interface (Rules.Layers)", f.Dir, dir))
			}
		}
	}
	return found
}

// layer returns the longest entry that holds a directory, or nil. The entry of the
// root holds only the root.
func (r *Rules) layer(dir string) *Layer {
	var longest *Layer
	for i := range r.Layers {
		l := &r.Layers[i]
		holds := dir == l.Dir || (l.Dir != "." && within(dir, l.Dir))
		if holds && (longest == nil || len(l.Dir) > len(longest.Dir)) {
			longest = l
		}
	}
	return longest
}

// local returns the directory of an import path of the module.
func (t *Tree) local(importPath string) (dir string, ours bool) {
	if importPath == t.Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, t.Module+"/")
}

// dependencies checks that code outside tests needs no module but the named ones,
// and that nobody imports what is forbidden to all. Nested modules have their own
// go.mod for the first of it.
func dependencies(t *Tree, r *Rules) []Finding {
	var found []Finding
	for _, f := range t.Files {
		allowed := r.Dependencies
		if f.Test() {
			allowed = slices.Concat(allowed, r.TestDependencies)
		}
		for _, spec := range f.Syntax.Imports {
			p := importPath(spec)
			if ban, ok := r.Forbidden[p]; ok && !slices.Contains(ban.Except, f.Dir) && !(ban.Tests && f.Test()) {
				found = append(found, f.find(spec.Pos(), "nobody imports %s: %s", p, ban.Why))
			}
			if p == "testing" && !f.Test() && !r.kit(f) {
				found = append(found, f.find(spec.Pos(),
					"testing in shipped code; move it to a _test.go file or to a test kit beside the package"))
			}
			if _, ours := t.local(p); ours || f.Nested != "" || standard(p) {
				continue
			}
			if !slices.ContainsFunc(allowed, func(mod string) bool { return within(p, mod) }) {
				found = append(found, f.find(spec.Pos(),
					"%s is not among the dependencies allowed here; do without it, or make an example with a go.mod of its own", p))
			}
		}
	}
	return found
}

// standard reports whether an import path is the standard library's: its first
// element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// modules checks that go.mod requires what is imported and nothing else, and that
// the nested modules are the ones we know of.
func modules(t *Tree, r *Rules) []Finding {
	var found []Finding
	for _, mod := range slices.Concat(r.Dependencies, r.TestDependencies) {
		imported, required := t.imported(mod), slices.Contains(t.Direct, mod)
		if imported != required {
			found = append(found, Finding{"go.mod", 1, fmt.Sprintf("%s: imported is %v, required is %v; run go mod tidy", mod, imported, required)})
		}
	}
	for _, mod := range t.Direct {
		if !slices.Contains(r.Dependencies, mod) && !slices.Contains(r.TestDependencies, mod) {
			found = append(found, Finding{"go.mod", 1, mod + " is not among the dependencies (Rules.Dependencies, Rules.TestDependencies)"})
		}
	}
	for _, dir := range t.Nested {
		if !slices.Contains(r.Nested, dir) {
			found = append(found, Finding{dir + "/go.mod", 1, "a module that Rules.Nested does not name; add it if it is meant"})
		}
	}
	for _, dir := range r.Nested {
		if !slices.Contains(t.Nested, dir) {
			found = append(found, Finding{"go.mod", 1, "no module in " + dir + "; strike it from Rules.Nested"})
		}
	}
	return found
}

// imported reports whether a file of the root module imports from a module.
func (t *Tree) imported(mod string) bool {
	for _, f := range t.Files {
		for _, spec := range f.Syntax.Imports {
			if f.Nested == "" && within(importPath(spec), mod) {
				return true
			}
		}
	}
	return false
}
