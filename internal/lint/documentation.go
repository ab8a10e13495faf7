package lint

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
	"unicode"
)

// packages checks that every package says what it is: a library in doc.go, a
// program above its package clause in whichever file.
func packages(t *Tree, _ *Rules) []Finding {
	var found []Finding
	for _, dir := range t.Dirs() {
		var first, doc *File
		for _, f := range t.byDir[dir] {
			if f.Test() {
				continue
			}
			if first == nil {
				first = f
			}
			if f.Syntax.Doc != nil && (f.Main() || path.Base(f.Path) == "doc.go") {
				doc = f
			}
		}
		switch {
		case first == nil: // tests only
		case doc == nil && first.Main():
			found = append(found, first.find(first.Syntax.Package, "program %s has no package comment; say what it does and how it is called", dir))
		case doc == nil:
			found = append(found, first.find(first.Syntax.Package, "package %s has no doc.go with a package comment; say what it is and what it guarantees", dir))
		case !doc.Main() && !strings.HasPrefix(doc.Syntax.Doc.Text(), "Package "+doc.Syntax.Name.Name+" "):
			found = append(found, doc.find(doc.Syntax.Doc.Pos(), "the package comment does not begin with \"Package %s …\"", doc.Syntax.Name.Name))
		}
	}
	return found
}

// documentation checks that exported names have comments: types, functions,
// methods of exported types and of exported interfaces, constants, variables, and
// the fields of exported structs called Config or …Config.
func documentation(t *Tree, _ *Rules) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Test() || f.Main() {
			continue
		}
		d := documented{file: f}
		for _, decl := range f.Syntax.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				d.function(decl)
			case *ast.GenDecl:
				d.declaration(decl)
			}
		}
		found = append(found, d.found...)
	}
	return found
}

// documented checks one file.
type documented struct {
	file  *File
	found []Finding
}

func (d *documented) report(p token.Pos, what string) {
	d.found = append(d.found, d.file.find(p, "exported %s has no comment; say what it means to its user", what))
}

// selfEvident are the methods whose meaning their interface in the standard
// library gives: a comment could only repeat it.
var selfEvident = map[string]bool{
	"Error": true, "Unwrap": true, "Is": true, "String": true, "GoString": true,
	"Len": true, "Less": true, "Swap": true,
	"Timeout": true, "Temporary": true,
	"LocalAddr": true, "RemoteAddr": true, "Network": true, "Addr": true,
	"SetDeadline": true, "SetReadDeadline": true, "SetWriteDeadline": true,
}

func (d *documented) function(fn *ast.FuncDecl) {
	name := fn.Name.Name
	if !fn.Name.IsExported() {
		return
	}
	if fn.Recv != nil {
		recv := receiver(fn)
		if !ast.IsExported(recv) || (fn.Doc == nil && selfEvident[name]) {
			return
		}
		if fn.Doc == nil {
			d.report(fn.Pos(), "method "+recv+"."+name)
			return
		}
	}
	if fn.Doc == nil {
		d.report(fn.Pos(), "function "+name)
		return
	}
	d.begins(fn.Doc, name)
}

// receiver returns the name of a method's type.
func receiver(fn *ast.FuncDecl) string {
	x := fn.Recv.List[0].Type
	for {
		switch e := x.(type) {
		case *ast.StarExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.IndexListExpr:
			x = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// begins checks that a comment begins with the name it explains, so that it
// reads as a sentence wherever godoc shows it.
func (d *documented) begins(doc *ast.CommentGroup, name string) {
	text := doc.Text()
	for _, article := range []string{"A ", "An ", "The "} {
		text = strings.TrimPrefix(text, article)
	}
	rest, ok := strings.CutPrefix(text, name)
	if !ok || strings.IndexFunc(rest, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) == 0 {
		d.found = append(d.found, d.file.find(doc.Pos(), "the comment on %s does not begin with its name", name))
	}
}

func (d *documented) declaration(decl *ast.GenDecl) {
	for _, spec := range decl.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			d.typeSpec(decl, spec)
		case *ast.ValueSpec:
			// One comment may stand for a group.
			if decl.Doc != nil || spec.Doc != nil || spec.Comment != nil {
				continue
			}
			for _, name := range spec.Names {
				if name.IsExported() {
					d.report(name.Pos(), decl.Tok.String()+" "+name.Name)
				}
			}
		}
	}
}

func (d *documented) typeSpec(decl *ast.GenDecl, spec *ast.TypeSpec) {
	name := spec.Name.Name
	if !spec.Name.IsExported() {
		return
	}
	doc := spec.Doc
	if doc == nil && !decl.Lparen.IsValid() {
		doc = decl.Doc
	}
	if doc == nil && spec.Comment == nil {
		d.report(spec.Pos(), "type "+name)
	} else if doc != nil {
		d.begins(doc, name)
	}
	switch typ := spec.Type.(type) {
	case *ast.InterfaceType:
		d.fields(name, "method ", typ.Methods)
	case *ast.StructType:
		if strings.HasSuffix(name, "Config") {
			d.fields(name, "field ", typ.Fields)
		}
	}
}

// fields checks the methods of an interface or the fields of a struct. What is
// embedded has its comment where it is declared. One comment may stand for several
// lines, up to the next empty one.
func (d *documented) fields(owner, kind string, list *ast.FieldList) {
	line := -1 // the last one that the last comment stands for
	for _, field := range list.List {
		if field.Doc != nil || d.file.tree.line(field.Pos()) == line+1 {
			line = d.file.tree.line(field.End())
			continue
		}
		if field.Comment != nil {
			continue
		}
		for _, name := range field.Names {
			if name.IsExported() && !selfEvident[name.Name] {
				d.report(name.Pos(), kind+owner+"."+name.Name)
			}
		}
	}
}
