package lint

import (
	"go/ast"
	"path"
	"strings"
)

// sleeps checks that nothing waits by time.Sleep but code in a synctest bubble,
// where it costs no time, and the polling helper ([Rules.Sleeper]). In a bubble
// means: lexically in a function literal that is passed to testutil.Bubble, or in a
// function or a file noted as //lint:bubble, or in a literal passed to such a
// function of the same package. Programs may sleep. Nor does anything make a bubble
// but that one function ([Rules.Bubble]), which knows what the race detector needs.
func sleeps(t *Tree, r *Rules) []Finding {
	var found []Finding
	for _, dir := range t.Dirs() {
		bubbles := make(map[string]bool) // functions noted, by name
		for _, f := range t.byDir[dir] {
			for _, decl := range f.Syntax.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && f.bubble(fn) {
					bubbles[fn.Name.Name] = true
				}
			}
		}
		for _, f := range t.byDir[dir] {
			if f.Path != r.Sleeper && (f.Test() || !f.Main()) && !f.noted(f.Syntax.Package, "lint:bubble") {
				found = append(found, f.sleeps(r, bubbles)...)
			}
			if f.Dir != path.Dir(r.Bubble) {
				found = append(found, f.bare()...)
			}
		}
	}
	return found
}

// bubble reports whether a function is noted as one that belongs to a bubble.
func (f *File) bubble(fn *ast.FuncDecl) bool {
	if fn.Doc == nil {
		return f.noted(fn.Pos(), "lint:bubble")
	}
	for _, c := range fn.Doc.List {
		if c.Text == "//lint:bubble" {
			return true
		}
	}
	return false
}

// sleeps finds the calls of time.Sleep in a file that are outside a bubble.
func (f *File) sleeps(r *Rules, bubbles map[string]bool) []Finding {
	var found []Finding
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return !f.bubble(n)
		case *ast.CallExpr:
			if f.runsBubble(r, n, bubbles) {
				// What is passed is in the bubble, but for other calls among the arguments.
				for _, arg := range n.Args {
					if _, ok := arg.(*ast.FuncLit); !ok {
						ast.Inspect(arg, func(n ast.Node) bool {
							found = append(found, f.sleep(r, n)...)
							return true
						})
					}
				}
				return false
			}
		}
		found = append(found, f.sleep(r, n)...)
		return true
	})
	return found
}

// runsBubble reports whether a call runs what it is passed in a bubble.
func (f *File) runsBubble(r *Rules, call *ast.CallExpr, bubbles map[string]bool) bool {
	switch fn := call.Fun.(type) {
	case *ast.Ident:
		return bubbles[fn.Name]
	case *ast.SelectorExpr:
		if pkg, name := f.selected(fn); pkg != "" {
			return name == path.Base(r.Bubble) && strings.HasSuffix(pkg, "/"+path.Dir(r.Bubble))
		}
		return bubbles[fn.Sel.Name]
	}
	return false
}

func (f *File) sleep(r *Rules, n ast.Node) []Finding {
	if pkg, name := f.selected(n); pkg != "time" || name != "Sleep" {
		return nil
	}
	if f.Test() || r.kit(f) {
		return []Finding{f.find(n.Pos(), "time.Sleep outside a synctest bubble; "+
			"test in a bubble, or wait with testutil.Eventually; note a helper or a file that only bubbles call with //lint:bubble")}
	}
	return []Finding{f.find(n.Pos(), "time.Sleep in a library cannot be cancelled; use a timer and the context")}
}

// bare finds the bubbles in a file that are made without [Rules.Bubble].
func (f *File) bare() []Finding {
	var found []Finding
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		if pkg, name := f.selected(n); pkg == "testing/synctest" && name == "Test" {
			found = append(found, f.find(n.Pos(), "a bubble made by synctest.Test dies under the race detector; use testutil.Bubble"))
		}
		return true
	})
	return found
}
