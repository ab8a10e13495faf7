package lint

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strings"
)

// pure are the packages of the standard library that a core may import: they
// compute. Of package time only the arithmetic is left after [impure].
var pure = []string{
	"bufio", "bytes", "cmp", "compress/flate", "container/heap", "container/list",
	"crypto/hmac", "crypto/sha256", "crypto/subtle",
	"encoding", "encoding/base64", "encoding/binary", "encoding/hex", "encoding/json",
	"errors", "fmt", "hash", "hash/crc32", "hash/crc64", "hash/fnv",
	"io", "io/fs", "iter", "maps", "math", "math/bits", "net/netip", "path", "slices", "sort",
	"strconv", "strings", "time", "unicode", "unicode/utf16", "unicode/utf8", "unsafe",
}

// impure are the names in those packages that a core may not use.
var impure = map[string][]string{
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"time": {
		"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker",
		"Timer", "Ticker", "Local", "LoadLocation",
	},
}

// seeded are the names of math/rand/v2 that a core with a seed may use: those
// that do not draw from the generator that is seeded at random.
var seeded = []string{"Rand", "Source", "PCG", "ChaCha8", "Zipf", "New", "NewPCG", "NewChaCha8", "NewZipf"}

const randomness = "math/rand/v2"

// cores checks the files of [Rules.Cores].
func cores(t *Tree, r *Rules) []Finding {
	var found []Finding
	seen := make(map[string]*Core) // path of a core file → its entry
	for i := range r.Cores {
		core := &r.Cores[i]
		matched := false
		except := make(map[string]bool) // those of its exceptions that are needed
		var twice *Core                 // an entry before this one with one of its files
		for _, f := range t.Files {
			if f.Test() || !core.matches(f.Path) {
				continue
			}
			if slices.Contains(core.Except, f.Path) {
				except[f.Path] = true
				continue
			}
			if twice == nil {
				twice = seen[f.Path]
			}
			seen[f.Path] = core
			matched = true
		}
		if !matched {
			found = append(found, Finding{core.Files, 1, "no such file among the cores; correct Rules.Cores"})
		}
		if twice != nil {
			found = append(found, Finding{core.Files, 1, "a file of these is in the entry " + twice.Files + " too; strike one from Rules.Cores"})
		}
		for _, p := range core.Except {
			if !except[p] {
				found = append(found, Finding{p, 1, "there is no such file in " + core.Files + " to except; correct Rules.Cores"})
			}
		}
	}
	for _, f := range t.Files {
		if core := seen[f.Path]; core != nil {
			c := coreCheck{tree: t, file: f, core: core, files: seen}
			found = append(found, c.run()...)
		}
	}
	return found
}

// matches reports whether a file has a name of the entry's.
func (c *Core) matches(p string) bool {
	ok, err := path.Match(c.Files, p)
	return ok && err == nil
}

// coreCheck is the check of one core file.
type coreCheck struct {
	tree  *Tree
	file  *File
	core  *Core            // its entry
	files map[string]*Core // all core files
	info  *types.Info      // of its package
	found []Finding
}

func (c *coreCheck) run() []Finding {
	c.info = c.tree.typesOf(c.file.Dir, func(p string) bool { return c.files[p] != nil })
	for _, spec := range c.file.Syntax.Imports {
		c.importSpec(spec)
	}
	var parents []ast.Node
	ast.Inspect(c.file.Syntax, func(n ast.Node) bool {
		if n == nil {
			parents = parents[:len(parents)-1]
			return true
		}
		c.node(n, parents)
		parents = append(parents, n)
		return true
	})
	return c.found
}

func (c *coreCheck) report(p token.Pos, format string, args ...any) {
	c.found = append(c.found, c.file.find(p, format, args...))
}

func (c *coreCheck) importSpec(spec *ast.ImportSpec) {
	p := importPath(spec)
	dir, ours := c.tree.local(p)
	switch {
	case ours && !c.purePackage(dir):
		c.report(spec.Pos(), "a core imports %s, which is not a core as a whole; declare what is needed from it here", dir)
	case p == randomness && c.core.Seeded == "":
		c.report(spec.Pos(), "a core imports %s; take the random value as an argument of the event", p)
	case !ours && p != randomness && !slices.Contains(pure, p):
		c.report(spec.Pos(), "a core imports %s; only packages that compute are allowed here, move the rest to a shell", p)
	}
}

// purePackage reports whether every file of a directory is a core.
func (c *coreCheck) purePackage(dir string) bool {
	for _, f := range c.tree.byDir[dir] {
		if !f.Test() && c.files[f.Path] == nil && path.Base(f.Path) != "doc.go" {
			return false
		}
	}
	return true
}

func (c *coreCheck) node(n ast.Node, parents []ast.Node) {
	switch n := n.(type) {
	case *ast.GoStmt:
		c.report(n.Pos(), "a core starts a goroutine; return an action and let the shell do it")
	case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
		c.report(n.Pos(), "a core uses a channel; take events as arguments and return actions")
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			c.report(n.Pos(), "a core receives from a channel; take events as arguments")
		}
	case *ast.SelectorExpr:
		c.selector(n, parents)
	case *ast.Ident:
		c.use(n)
	case *ast.RangeStmt:
		if typ := c.info.TypeOf(n.X); typ != nil && isMap(typ) && !c.file.noted(n.Pos(), "order-free:") {
			c.report(n.Pos(), "a core ranges over a map; sort its keys, or say in a comment above why the order is of no effect (order-free: …)")
		}
	}
}

// selector checks a name selected from an imported package.
func (c *coreCheck) selector(n *ast.SelectorExpr, parents []ast.Node) {
	pkg, name := c.file.selected(n)
	switch {
	case slices.Contains(impure[pkg], name):
		c.report(n.Pos(), "a core uses %s.%s; take the value as an argument, or return an action", pkg, name)
	case pkg == randomness && !slices.Contains(seeded, name):
		c.report(n.Pos(), "a core uses %s.%s, whose seed nobody knows; draw from a *rand.Rand with a seed", pkg, name)
	case pkg == "maps" && slices.Contains([]string{"Keys", "Values", "All"}, name):
		if !c.sortedAtOnce(parents) && !c.file.noted(n.Pos(), "order-free:") {
			c.report(n.Pos(), "a core iterates over a map; wrap it in slices.Sorted, or say in a comment above why the order is of no effect (order-free: …)")
		}
	}
}

// sortedAtOnce reports whether the selector with these parents is called and the
// result handed to slices.Sorted or a relative.
func (c *coreCheck) sortedAtOnce(parents []ast.Node) bool {
	if len(parents) < 2 {
		return false
	}
	outer, ok := parents[len(parents)-2].(*ast.CallExpr)
	if !ok {
		return false
	}
	pkg, name := c.file.selected(outer.Fun)
	return pkg == "slices" && strings.HasPrefix(name, "Sorted")
}

// use checks that a function or method of the core's own package that it uses is
// part of a core too, or of errors.go, where errors are made.
func (c *coreCheck) use(id *ast.Ident) {
	fn, ok := c.info.Uses[id].(*types.Func)
	if !ok || fn.Pkg() == nil || fn.Pkg().Path() != c.tree.importPath(c.file.Dir) {
		return
	}
	if recv := fn.Signature().Recv(); recv != nil && types.IsInterface(recv.Type()) {
		return
	}
	where := c.tree.Fset.Position(fn.Origin().Pos()).Filename
	if c.files[where] == nil && path.Base(where) != "errors.go" {
		c.report(id.Pos(), "a core calls %s, which is in %s, a shell; move it to a core file or pass its result in", id.Name, where)
	}
}

// isMap reports whether a range over the type is one over a map.
func isMap(t types.Type) bool {
	if p, ok := types.Unalias(t).(*types.TypeParam); ok {
		t = p.Constraint()
	}
	switch u := t.Underlying().(type) {
	case *types.Map:
		return true
	case *types.Interface: // a constraint
		for i := range u.NumEmbeddeds() {
			union, ok := u.EmbeddedType(i).(*types.Union)
			for j := 0; ok && j < union.Len(); j++ {
				if isMap(union.Term(j).Type()) {
					return true
				}
			}
		}
	}
	return false
}
