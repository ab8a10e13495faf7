package lint

import (
	"go/ast"
	"path"
	"strings"
)

// fuzzing checks that every fuzz target is shown first what [Rules.Strangers] returns,
// by itself or by a function of its package that it calls. A corpus that each target
// makes up for itself lacks something else in each.
func fuzzing(t *Tree, r *Rules) []Finding {
	if r.Strangers == "" {
		return nil
	}
	var found []Finding
	for _, dir := range t.Dirs() {
		shows := make(map[string]bool) // functions that name it, and those that call them
		for grown := true; grown; {
			grown = false
			t.testFunctions(dir, func(f *File, fn *ast.FuncDecl) {
				if !shows[fn.Name.Name] && f.names(fn.Body, r.Strangers, shows) {
					shows[fn.Name.Name], grown = true, true
				}
			})
		}
		t.testFunctions(dir, func(f *File, fn *ast.FuncDecl) {
			if strings.HasPrefix(fn.Name.Name, "Fuzz") && fn.Recv == nil && !shows[fn.Name.Name] {
				found = append(found, f.find(fn.Pos(), "%s is not shown what %s returns; add it to the seeds", fn.Name.Name, r.Strangers))
			}
		})
	}
	return found
}

// testFunctions calls do for every function in the test files of a directory.
func (t *Tree) testFunctions(dir string, do func(*File, *ast.FuncDecl)) {
	for _, f := range t.byDir[dir] {
		for _, decl := range f.Syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil && f.Test() {
				do(f, fn)
			}
		}
	}
}

// names reports whether a body calls one of the local functions, or names the function
// of another package, by directory and name.
func (f *File) names(body ast.Node, function string, local map[string]bool) bool {
	hit := false
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			pkg, name := f.selected(n)
			dir, ours := f.tree.local(pkg)
			hit = hit || ours && dir == path.Dir(function) && name == path.Base(function)
		case *ast.CallExpr:
			id, ok := n.Fun.(*ast.Ident)
			hit = hit || ok && local[id.Name]
		}
		return !hit
	})
	return hit
}
