package lint

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

// abrupt are the functions that end the process, or write to its terminal, over
// the head of the program that uses us.
var abrupt = map[string][]string{
	"fmt":     {"Print", "Printf", "Println"},
	"os":      {"Exit", "Stdin", "Stdout", "Stderr"},
	"log":     {"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln", "Print", "Printf", "Println", "Default"},
	"runtime": {"Goexit"},
	"syscall": {"Exit"},
}

// conduct checks that library code, which is everything but programs and tests,
// returns errors rather than panicking and leaves the terminal and the process to
// its user. The second half of it does not hold for test kits: their user is the
// one who runs the tests.
func conduct(t *Tree, r *Rules) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Test() || f.Main() {
			continue
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				id, ok := n.Fun.(*ast.Ident)
				if !ok {
					break
				}
				if id.Name == "panic" && !f.noted(n.Pos(), "unreachable:") && !f.noted(n.Pos(), "caught:") {
					found = append(found, f.find(n.Pos(), "a panic in a library; return an error, or say in a comment above "+
						"why only a bug of ours leads here (unreachable: …) or where it is recovered (caught: …)"))
				}
				if id.Name == "print" || id.Name == "println" {
					found = append(found, f.find(n.Pos(), "%s in a library; log through the Config's Logger", id.Name))
				}
			case *ast.SelectorExpr:
				if pkg, name := f.selected(n); slices.Contains(abrupt[pkg], name) && !r.kit(f) {
					found = append(found, f.find(n.Pos(),
						"%s.%s in a library; return an error, or log through the Config's Logger", pkg, name))
				}
			}
			return true
		})
	}
	return found
}

// The marks are put together here so that this file does not contain them.
var marks = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}, "|") + `)\b`)

// unfinished checks that no comment promises to finish the code around it.
func unfinished(t *Tree, _ *Rules) []Finding {
	var found []Finding
	for _, f := range t.Files {
		for _, group := range f.Syntax.Comments {
			for _, c := range group.List {
				if mark := marks.FindString(c.Text); mark != "" {
					found = append(found, f.find(c.Pos(), "%s: do it now, or describe the limit as one", mark))
				}
			}
		}
	}
	return found
}
