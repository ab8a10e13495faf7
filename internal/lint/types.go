package lint

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"slices"
)

// A checker finds out the types that the check of the cores asks for. It reads
// source only, so it needs neither the go command nor compiled packages, and it
// reads as little as it can: the bodies of core functions, the declarations of
// the rest of the module and of the pure part of the standard library. All other
// packages are empty to it. Errors that follow from that are expected; a type
// that cannot be known is left unknown.
type checker struct {
	tree   *Tree
	config types.Config
	infos  map[string]*types.Info
	known  map[string]*types.Package
}

// typesOf returns the types in the files of a directory. Only the bodies of
// functions in files that core accepts are looked into.
func (t *Tree) typesOf(dir string, core func(path string) bool) *types.Info {
	if t.types == nil {
		t.types = &checker{
			tree:  t,
			infos: make(map[string]*types.Info),
			known: make(map[string]*types.Package),
		}
		t.types.config = types.Config{
			Importer:    t.types,
			Error:       func(error) {}, // go on
			FakeImportC: true,
		}
	}
	c := t.types
	if info := c.infos[dir]; info != nil {
		return info
	}
	info := &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue),
		Uses:  make(map[*ast.Ident]types.Object),
	}
	var files []*ast.File
	for _, f := range t.byDir[dir] {
		switch {
		case f.Test():
		case core(f.Path):
			files = append(files, f.Syntax)
		default:
			files = append(files, declarations(f.Syntax))
		}
	}
	// The error repeats what Config.Error has been told.
	_, _ = c.config.Check(t.importPath(dir), t.Fset, files, info)
	c.infos[dir] = info
	return info
}

func (t *Tree) importPath(dir string) string {
	if dir == "." {
		return t.Module
	}
	return t.Module + "/" + dir
}

// Import implements types.Importer.
func (c *checker) Import(p string) (*types.Package, error) {
	if p == "unsafe" {
		return types.Unsafe, nil
	}
	if pkg := c.known[p]; pkg != nil {
		return pkg, nil
	}
	fset := c.tree.Fset
	var files []*ast.File
	if dir, ours := c.tree.local(p); ours {
		for _, f := range c.tree.byDir[dir] {
			if !f.Test() {
				files = append(files, declarations(f.Syntax))
			}
		}
	} else if slices.Contains(pure, p) || p == randomness {
		fset = token.NewFileSet() // positions in the library are of no interest
		files = library(fset, p)
	}
	if len(files) == 0 {
		pkg := types.NewPackage(p, packageName(p))
		pkg.MarkComplete()
		c.known[p] = pkg
		return pkg, nil
	}
	pkg, _ := c.config.Check(p, fset, files, nil)
	c.known[p] = pkg
	return pkg, nil
}

// library parses a package of the standard library without the bodies of its
// functions. A package that cannot be read is empty.
func library(fset *token.FileSet, p string) []*ast.File {
	dir := filepath.Join(build.Default.GOROOT, "src", filepath.FromSlash(p))
	pkg, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil
	}
	var files []*ast.File
	for _, name := range pkg.GoFiles {
		file, err := parser.ParseFile(fset, path.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		files = append(files, declarations(file))
	}
	return files
}

// declarations returns a copy of a file in which functions have no bodies.
func declarations(file *ast.File) *ast.File {
	bare := *file
	bare.Decls = slices.Clone(file.Decls)
	for i, decl := range bare.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok {
			head := *fn
			head.Body = nil
			bare.Decls[i] = &head
		}
	}
	return &bare
}
