package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Tree is the source of a module, parsed.
type Tree struct {
	Fset   *token.FileSet
	Module string   // the import path of the root
	Direct []string // the modules that the root's go.mod requires for code of ours
	Nested []string // directories, other than the root, with a go.mod of their own
	Files  []*File  // in the order of their paths
	Broken []Finding

	byDir map[string][]*File
	types *checker // what is known of types, made when first needed
}

// A File is one Go file.
type File struct {
	Path   string // relative to the root of the module, with slashes
	Dir    string // the directory of Path, "." for the root
	Nested string // the directory of the nested module it belongs to, or ""
	Lines  int
	Syntax *ast.File

	tree    *Tree
	imports map[string]string // local name → path
	notes   map[int][]string  // last line of a comment group → its lines, without //
}

// A Finding is a violation of a rule.
type Finding struct {
	Path string
	Line int
	Text string // what is wrong, and what to do
}

// String returns the finding as path:line: text.
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Text)
}

var (
	moduleLine  = regexp.MustCompile(`(?m)^module\s+(\S+)`)
	requireLine = regexp.MustCompile(`(?m)^(?:require)?\s+([^\s(]+\.\S+)\s+v\S+\s*$`) // without // indirect
)

// Load parses every Go file below the root of fsys, except for testdata and
// directories whose names begin with a dot or an underscore. A file that does not
// parse is a finding; the error reports a tree that cannot be read.
func Load(fsys fs.FS) (*Tree, error) {
	mod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("lint: reading the root of the module: %w", err)
	}
	name := moduleLine.FindSubmatch(mod)
	if name == nil {
		return nil, fmt.Errorf("lint: go.mod has no module line")
	}
	t := &Tree{
		Fset:   token.NewFileSet(),
		Module: string(name[1]),
		byDir:  make(map[string][]*File),
	}
	for _, m := range requireLine.FindAllSubmatch(mod, -1) {
		t.Direct = append(t.Direct, string(m[1]))
	}
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(p)
		if d.IsDir() {
			if p != "." && (base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if base == "go.mod" && p != "go.mod" {
			t.Nested = append(t.Nested, path.Dir(p))
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		return t.add(fsys, p)
	})
	if err != nil {
		return nil, fmt.Errorf("lint: reading the tree: %w", err)
	}
	for _, f := range t.Files {
		for _, dir := range t.Nested {
			if within(f.Dir, dir) {
				f.Nested = dir
			}
		}
	}
	return t, nil
}

// add parses one file.
func (t *Tree) add(fsys fs.FS, p string) error {
	source, err := fs.ReadFile(fsys, p)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(t.Fset, p, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Broken = append(t.Broken, Finding{p, 1, fmt.Sprintf("does not parse: %v", err)})
		return nil
	}
	f := &File{
		Path:    p,
		Dir:     path.Dir(p),
		Lines:   strings.Count(string(source), "\n"),
		Syntax:  syntax,
		tree:    t,
		imports: make(map[string]string),
		notes:   make(map[int][]string),
	}
	for _, spec := range syntax.Imports {
		p := importPath(spec)
		local := packageName(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		f.imports[local] = p
	}
	for _, group := range syntax.Comments {
		var lines []string
		for _, c := range group.List {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(c.Text, "//")))
		}
		f.notes[t.line(group.End())] = lines
	}
	t.Files = append(t.Files, f)
	t.byDir[f.Dir] = append(t.byDir[f.Dir], f)
	return nil
}

// line returns the line of a position.
func (t *Tree) line(p token.Pos) int { return t.Fset.Position(p).Line }

// Dirs returns the directories that hold Go files, in order.
func (t *Tree) Dirs() []string {
	var dirs []string
	for _, f := range t.Files {
		dirs = append(dirs, f.Dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Test reports whether the file is only part of a test.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Main reports whether the file belongs to a program.
func (f *File) Main() bool { return f.Syntax.Name.Name == "main" }

// find returns a finding at a position in the file.
func (f *File) find(p token.Pos, format string, args ...any) Finding {
	return Finding{f.Path, f.tree.line(p), fmt.Sprintf(format, args...)}
}

// noted reports whether a comment at the end of the line of p, or directly above
// that line, has a line that begins with the mark and, if the mark ends with a
// colon, goes on with a reason.
func (f *File) noted(p token.Pos, mark string) bool {
	line := f.tree.line(p)
	for _, group := range [][]string{f.notes[line], f.notes[line-1]} {
		for _, text := range group {
			reason, ok := strings.CutPrefix(text, mark)
			if ok && (!strings.HasSuffix(mark, ":") || strings.TrimSpace(reason) != "") {
				return true
			}
		}
	}
	return false
}

// selected returns the import path and the name if x is a name selected from an
// imported package, such as time.Now.
func (f *File) selected(x ast.Node) (pkg, name string) {
	sel, ok := x.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok || f.imports[id.Name] == "" {
		return "", ""
	}
	return f.imports[id.Name], sel.Sel.Name
}

// within reports whether dir is root or below it; everything is within ".".
func within(dir, root string) bool {
	return root == "." || dir == root || strings.HasPrefix(dir, root+"/")
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser has checked it
	}
	return p
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// packageName guesses the name of a package from its import path.
func packageName(p string) string {
	base := path.Base(p)
	if majorVersion.MatchString(base) && p != base {
		base = path.Base(path.Dir(p))
	}
	return strings.TrimPrefix(base, "go-")
}
