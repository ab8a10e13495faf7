package lint

import (
	"go/ast"
)

// sizes checks that files and functions can be read in one go. An exception
// names its reason and must still be needed.
func sizes(t *Tree, r *Rules) []Finding {
	var found []Finding
	needed := make(map[string]bool)
	excused := func(key string) bool {
		needed[key] = true
		return r.Long[key] != ""
	}
	for _, f := range t.Files {
		limit := r.FileLines
		if f.Test() {
			limit = r.TestFileLines
		}
		if f.Lines > limit && !excused(f.Path) {
			found = append(found, f.find(f.Syntax.Package, "%d lines, more than %d; divide the file by theme", f.Lines, limit))
		}
		if f.Test() {
			continue
		}
		for _, decl := range f.Syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			lines := t.line(fn.End()) - t.line(fn.Pos()) + 1
			if lines > r.FunctionLines && !excused(f.Path+":"+fn.Name.Name) {
				found = append(found, f.find(fn.Pos(), "%s has %d lines, more than %d; give its parts names", fn.Name.Name, lines, r.FunctionLines))
			}
		}
	}
	for key, why := range r.Long {
		if !needed[key] {
			found = append(found, Finding{key, 1, "is not too long (any more); strike it from Rules.Long"})
		}
		if why == "" {
			found = append(found, Finding{key, 1, "an exception without a reason in Rules.Long"})
		}
	}
	return sorted(found)
}
