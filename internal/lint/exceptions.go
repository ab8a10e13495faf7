package lint

import (
	"fmt"
	"maps"
	"slices"
)

// exceptions checks that the lists of [Rules] say nothing that has no effect: what is
// named exists, is named once, and needs the exception that it is given. (Cores and Long
// are looked after by the checks of those names.)
func exceptions(t *Tree, r *Rules) []Finding {
	var found []Finding
	report := func(where, format string, args ...any) {
		found = append(found, Finding{where, 1, fmt.Sprintf(format, args...)})
	}
	once := func(list string, names []string) {
		for i, name := range names {
			if slices.Contains(names[:i], name) {
				report(name, "is twice in Rules.%s; strike one", list)
			}
		}
	}
	var dirs []string
	for _, l := range r.Layers {
		dirs = append(dirs, l.Dir)
		once("Layers, in what "+l.Dir+" may import", slices.Concat(l.Imports, l.Tests))
		if !slices.ContainsFunc(t.Files, func(f *File) bool { return r.layer(f.Dir) != nil && r.layer(f.Dir).Dir == l.Dir }) {
			report(l.Dir, "has no files; strike it from Rules.Layers")
		}
	}
	once("Layers", dirs)
	once("Dependencies or Rules.TestDependencies", slices.Concat(r.Dependencies, r.TestDependencies))
	once("Nested", r.Nested)
	once("Kits", r.Kits)
	for _, dir := range r.Kits {
		plain := Rules{}
		switch {
		case len(t.byDir[dir]) == 0:
			report(dir, "no such package; strike it from Rules.Kits")
		case plain.kit(t.byDir[dir][0]):
			report(dir, "is a kit by its name; strike it from Rules.Kits")
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(r.Verbs)) {
		once("Verbs of "+dir, r.Verbs[dir])
	}
	for _, p := range slices.Sorted(maps.Keys(r.Forbidden)) {
		ban := r.Forbidden[p]
		once("Forbidden: "+p, ban.Except)
		for _, dir := range ban.Except {
			if !t.imports(p, func(f *File) bool { return f.Dir == dir }) {
				report(dir, "does not import %s (any more); strike it from Rules.Forbidden", p)
			}
		}
		if ban.Tests && !t.imports(p, (*File).Test) {
			report(p, "is imported by no test (any more); forbid it to them too in Rules.Forbidden")
		}
	}
	return found
}

// imports reports whether one of the files imports a package.
func (t *Tree) imports(p string, of func(*File) bool) bool {
	for _, f := range t.Files {
		if !of(f) {
			continue
		}
		for _, spec := range f.Syntax.Imports {
			if importPath(spec) == p {
				return true
			}
		}
	}
	return false
}
