package lint

import (
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
)

// sleeps checks that nothing sleeps but code in a synctest bubble, where it costs no
// time, the polling helper ([Rules.Sleeper]) and what [Rules.Pauses] excuses. To sleep is
// to call time.Sleep, or to wait for time.After, a timer or a ticker and for nothing
// else; where a select waits for something else too, it is a time-out. In a bubble
// means: lexically in a function literal that is passed to testutil.Bubble, or in a
// function or a file noted as //lint:bubble, or in a literal passed to such a
// function of the same package. Programs may sleep. Nor does anything make a bubble
// but that one function ([Rules.Bubble]), which knows what the race detector needs.
func sleeps(t *Tree, r *Rules) []Finding {
	var found []Finding
	paused := make(map[string]bool) // the entries of Rules.Pauses that are needed
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
				for _, decl := range f.Syntax.Decls {
					key := f.Path
					if fn, ok := decl.(*ast.FuncDecl); ok {
						key += ":" + fn.Name.Name
					}
					all := f.sleeps(r, decl, bubbles)
					if len(all) > 0 && r.Pauses[key] != "" {
						paused[key] = true
						continue
					}
					found = append(found, all...)
				}
			}
			if f.Dir != path.Dir(r.Bubble) {
				found = append(found, f.bare()...)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Pauses)) {
		if !paused[key] {
			found = append(found, Finding{key, 1, "does not sleep (any more), or has no reason to; strike it from Rules.Pauses"})
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

// sleeps finds what sleeps in a declaration, outside a bubble.
func (f *File) sleeps(r *Rules, decl ast.Decl, bubbles map[string]bool) []Finding {
	s := sleepCheck{file: f, rules: r, bubbles: bubbles, clocks: f.clocks(decl), timeouts: make(map[ast.Node]bool)}
	ast.Inspect(decl, s.outside)
	return s.found
}

// sleepCheck is the check of one declaration.
type sleepCheck struct {
	file     *File
	rules    *Rules
	bubbles  map[string]bool   // functions of the package that are noted as of bubbles
	clocks   map[string]bool   // variables that hold a timer or a ticker, or its channel
	timeouts map[ast.Node]bool // receives of selects that wait for something else too
	found    []Finding
}

// outside looks at a node that is in no bubble.
func (s *sleepCheck) outside(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.FuncDecl:
		return !s.file.bubble(n)
	case *ast.CallExpr:
		if s.file.runsBubble(s.rules, n, s.bubbles) {
			// What is passed is in the bubble, but for other calls among the arguments.
			for _, arg := range n.Args {
				if _, ok := arg.(*ast.FuncLit); !ok {
					ast.Inspect(arg, func(n ast.Node) bool { s.look(n); return true })
				}
			}
			return false
		}
	}
	s.look(n)
	return true
}

// receivedBy returns what a clause of a select receives, or nil.
func receivedBy(clause *ast.CommClause) ast.Expr {
	switch comm := clause.Comm.(type) {
	case *ast.ExprStmt:
		return ast.Unparen(comm.X)
	case *ast.AssignStmt:
		return ast.Unparen(comm.Rhs[0])
	}
	return nil
}

// look reports a node that sleeps.
func (s *sleepCheck) look(n ast.Node) {
	switch n := n.(type) {
	case *ast.SelectStmt:
		received := make([]ast.Expr, 0, len(n.Body.List))
		others := false // something that is not a clock ends it too
		for _, clause := range n.Body.List {
			x := receivedBy(clause.(*ast.CommClause))
			if arrow, ok := x.(*ast.UnaryExpr); ok && s.isClock(arrow.X) {
				received = append(received, x)
			} else {
				others = true
			}
		}
		for _, x := range received {
			s.timeouts[x] = others
		}
	case *ast.SelectorExpr:
		if pkg, name := s.file.selected(n); pkg == "time" && name == "Sleep" {
			s.report(n, "time.Sleep")
		}
	case *ast.UnaryExpr:
		if n.Op == token.ARROW && !s.timeouts[n] && s.isClock(n.X) {
			s.report(n, "waiting for a timer alone")
		}
	case *ast.RangeStmt:
		if s.isClock(n.X) {
			s.report(n, "waiting for a ticker alone")
		}
	}
}

func (s *sleepCheck) report(n ast.Node, what string) {
	advice := " in a library cannot be cancelled; use a timer and the context"
	if s.file.Test() || s.rules.kit(s.file) {
		advice = " outside a synctest bubble; test in a bubble, or wait with testutil.Eventually; " +
			"note a helper or a file that only bubbles call with //lint:bubble"
	}
	s.found = append(s.found, s.file.find(n.Pos(), "%s", what+advice))
}

// clockMakers are the functions of package time that make what fires by itself.
var clockMakers = []string{"After", "Tick", "NewTimer", "NewTicker"}

// isClock reports whether an expression is a channel on which only time arrives.
func (s *sleepCheck) isClock(x ast.Expr) bool {
	x = ast.Unparen(x)
	if sel, ok := x.(*ast.SelectorExpr); ok && sel.Sel.Name == "C" {
		x = ast.Unparen(sel.X)
	}
	id, ok := x.(*ast.Ident)
	return ok && s.clocks[id.Name] || s.file.makesClock(x)
}

func (f *File) makesClock(x ast.Expr) bool {
	call, ok := ast.Unparen(x).(*ast.CallExpr)
	if !ok {
		return false
	}
	pkg, name := f.selected(call.Fun)
	return pkg == "time" && slices.Contains(clockMakers, name)
}

// clocks returns the variables of a declaration that are made as a timer, a ticker or the
// channel of one. (A name that is also something else, elsewhere in a function, is rare.)
func (f *File) clocks(decl ast.Decl) map[string]bool {
	names := make(map[string]bool)
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, x := range n.Rhs {
				if id, ok := n.Lhs[i].(*ast.Ident); ok && f.makesClock(x) {
					names[id.Name] = true
				}
			}
		case *ast.ValueSpec:
			for i, x := range n.Values {
				if f.makesClock(x) {
					names[n.Names[i].Name] = true
				}
			}
		}
		return true
	})
	return names
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
