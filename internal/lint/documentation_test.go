package lint

import "testing"

func TestPackages(t *testing.T) {
	play(t, packages, []scene{
		{name: "explained", files: map[string]string{
			"a/doc.go":    "// Package a is explained.\npackage a",
			"a/a.go":      "package a",
			"cmd/main.go": "// Cmd is explained.\npackage main",
			"b/b_test.go": "package b_test",
		}},
		{name: "not explained", files: map[string]string{
			"a/a.go":      "package a // want `package a has no doc.go`",
			"b/b.go":      "// Package b is explained elsewhere.\npackage b // want `package b has no doc.go`",
			"c/doc.go":    "// This is c. // want `does not begin with \"Package c`\npackage c",
			"cmd/main.go": "package main // want `program cmd has no package comment`",
		}},
	})
}

func TestDocumentation(t *testing.T) {
	play(t, documentation, []scene{
		{name: "documented", files: map[string]string{"a/a.go": `package a

// A Node is.
type Node struct{ Name string }

// Run runs.
func (n *Node) Run() {}

func (n *Node) String() string { return "" }

type hidden struct{}

func (hidden) Run() {}

// These are limits.
const (
	A = 1
	B = 2
)

// Doer does.
type Doer interface {
	// Do does it.
	Do()
	String() string
}

// ListConfig configures.
type ListConfig struct {
	// Length in elements; default 3.
	Length, Width int
	Name string // what it is called
	node *Node

	// Host and Port are where it is; Port 0 is any.
	Host string
	Port int
}
`, "a/a_test.go": "package a\n\nfunc Helper() {}", "cmd/main.go": "package main\n\ntype T int"}},
		{name: "not documented", files: map[string]string{"a/a.go": `package a

type Node struct{} // the comment is part of it

type Edge struct{}

func (n *Node) Run() {} // want §exported method Node.Run§

func (l *List[T]) Len2() int { return 0 } // want §exported method List.Len2§

// A List is.
type List[T any] struct{}

func Do() {} // want §exported function Do§

// This function acts. // want §the comment on Act does not begin with its name§
func Act() {}

// Actor acts too. // want §the comment on Actors§
func Actors() {}

const C = 1

var V int

var (
	v int
	W int
)

// Doer does.
type Doer interface {
	Do() // a comment
	Undo()
}

// Config configures.
type Config struct {
	Length int

	Width int // in elements

	// Host and Port are where it is.
	Host string
	Port int

	Other int // has a comment of its own alone
	Ports []int
}
`}, also: []string{
			"a.go:5: exported type Edge",
			"a.go:22: exported const C", "a.go:24: exported var V", "a.go:28: exported var W",
			"a.go:34: exported method Doer.Undo", "a.go:39: exported field Config.Length",
			"a.go:48: exported field Config.Ports",
		}},
	})
}
