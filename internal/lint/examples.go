package lint

import (
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var outputComment = regexp.MustCompile(`(?i)^[[:space:]]*(unordered )?output:`)

// examples checks that each package that users import has an example, that the
// verbs of [Rules.Verbs] have each their own, and that all examples are run, not
// only compiled.
func examples(t *Tree, r *Rules) []Finding {
	var found []Finding
	for _, dir := range t.Dirs() {
		library := false
		names := make(map[string]bool)
		for _, f := range t.byDir[dir] {
			if !f.Test() {
				library = library || !f.Main()
				continue
			}
			for _, decl := range f.Syntax.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Recv != nil || !isExample(fn.Name.Name) {
					continue
				}
				names[fn.Name.Name] = true
				if !f.checksOutput(fn) {
					found = append(found, f.find(fn.Pos(), "%s has no \"// Output:\" comment, so it is never run; add one", fn.Name.Name))
				}
			}
		}
		public := library && !slices.Contains(strings.Split(dir, "/"), "internal")
		if public && len(names) == 0 {
			first := t.byDir[dir][0]
			found = append(found, first.find(first.Syntax.Package, "package %s has no example; add one with \"// Output:\" to example_test.go", dir))
		}
		found = append(found, verbs(dir, r.Verbs[dir], names)...)
	}
	for _, dir := range slices.Sorted(maps.Keys(r.Verbs)) {
		if len(t.byDir[dir]) == 0 {
			found = append(found, Finding{dir, 1, "no such package; strike it from Rules.Verbs"})
		}
	}
	return found
}

// verbs returns a finding for each verb that no example of a package is named
// after, alone or with a suffix in lower case.
func verbs(dir string, verbs []string, names map[string]bool) []Finding {
	var found []Finding
	for _, verb := range verbs {
		want := "Example" + verb
		shown := false
		for name := range names {
			rest, ok := strings.CutPrefix(name, want)
			shown = shown || (ok && (rest == "" || rest[0] == '_'))
		}
		if !shown {
			found = append(found, Finding{dir, 1, "no " + want + "; every main verb (Rules.Verbs) has an example with \"// Output:\""})
		}
	}
	return found
}

// isExample reports whether go test takes the function for an example.
func isExample(name string) bool {
	rest, ok := strings.CutPrefix(name, "Example")
	return ok && (rest == "" || rest[0] < 'a' || rest[0] > 'z')
}

// checksOutput reports whether the last comment in a function declares its output.
func (f *File) checksOutput(fn *ast.FuncDecl) bool {
	var last *ast.CommentGroup
	for _, group := range f.Syntax.Comments {
		if fn.Body.Pos() < group.Pos() && group.End() <= fn.Body.End() {
			last = group
		}
	}
	return last != nil && outputComment.MatchString(last.Text())
}
