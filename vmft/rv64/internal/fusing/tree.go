package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
)

// A leaf is an operation, or several next to one another for which the same is done.
type leaf struct {
	name   string // the constant of the first
	weight float64
	body   func(w *writer)
	slow   bool // it is done elsewhere
}

// operations returns the names of the operations' constants in their order, which is
// that of ops.go and, from opCount on, of block.go.
func operations() (names []string, err error) {
	for _, file := range []string{"ops.go", "block.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			spec := g.Specs[0].(*ast.ValueSpec)
			if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "op" {
				continue
			}
			for _, s := range g.Specs {
				if name := s.(*ast.ValueSpec).Names[0].Name; name != "opCount" {
					names = append(names, name)
				}
			}
		}
	}
	if len(names) == 0 || names[len(names)-1] != "opFused" {
		return nil, fmt.Errorf("ops.go and block.go: want operations from opIllegal to opFused, have %q", names)
	}
	return names, nil
}

// tree writes comparisons that lead to each leaf, to the heavier ones by fewer: the
// alphabetic tree of which the weighted depth is least.
func (w *writer) tree(leaves []leaf) {
	n := len(leaves)
	sum := make([]float64, n+1) // of the weights before; no weight is nothing at all, so that the depth is limited
	for i, l := range leaves {
		sum[i+1] = sum[i] + l.weight + 1e-3
	}
	cost, split := make([][]float64, n+1), make([][]int, n+1)
	for i := range cost {
		cost[i], split[i] = make([]float64, n+1), make([]int, n+1)
	}
	for size := 2; size <= n; size++ {
		for i := range n + 1 - size {
			j := i + size
			split[i][j] = i + 1
			for k := i + 1; k < j; k++ {
				if cost[i][k]+cost[k][j] < cost[i][split[i][j]]+cost[split[i][j]][j] {
					split[i][j] = k
				}
			}
			cost[i][j] = cost[i][split[i][j]] + cost[split[i][j]][j] + sum[j] - sum[i]
		}
	}
	w.line("o := uint(in.op)")
	var write func(i, j int)
	write = func(i, j int) {
		if j-i == 1 {
			leaves[i].body(w)
			return
		}
		k := split[i][j]
		w.line("if o < uint(%s) {", leaves[k].name)
		write(i, k)
		w.line("} else {")
		write(k, j)
		w.line("}")
	}
	write(0, n)
}

// table writes a switch, of which the compiler makes one jump through a table.
func (w *writer) table(leaves []leaf) {
	w.line("switch in.op {")
	for _, l := range leaves {
		if !l.slow {
			w.line("case %s:", l.name)
			l.body(w)
		}
	}
	w.line("default:\ngoto slow\n}")
}
