package lint

import "testing"

func TestConduct(t *testing.T) {
	play(t, conduct, []scene{
		{name: "good", files: map[string]string{
			"a/a.go": `package a

import (
	"fmt"
	"io"
)

func f(w io.Writer) {
	fmt.Fprintln(w)
	// unreachable: kinds are complete
	panic("kind")
}

func g() {
	panic("kind") // unreachable: see f
	panic("kind") // caught: by h
}
`,
			"a/a_test.go":  "package a\n\nfunc f() { panic(1) }",
			"a/atest/b.go": "package atest\n\nimport \"fmt\"\n\nfunc f() { fmt.Println() }",
			"cmd/main.go":  "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(); panic(1) }",
		}},
		{name: "bad", files: map[string]string{
			"a/a.go": `package a

import (
	"fmt"
	"log"
	"os"
)

func f() {
	panic("kind") // want §a panic in a library§
	// unreachable:
	panic("kind") // want §a panic in a library§
	fmt.Println() // want §fmt.Println in a library§
	println() // want §println in a library§
	fmt.Fprintln(os.Stderr) // want §os.Stderr in a library§
	os.Exit(1) // want §os.Exit in a library§
	log.Fatal() // want §log.Fatal in a library§
}
`,
		}},
	})
}

func TestUnfinished(t *testing.T) {
	mark := "TO" + "DO"
	play(t, unfinished, []scene{
		{name: "finished", files: map[string]string{
			"a/a.go": "package a\n\n// mastodon\nvar " + mark + " = `" + mark + "`",
		}},
		{name: "unfinished", files: map[string]string{
			"a/a.go":      "package a\n\n// " + mark + ": later // want `do it now`",
			"a/a_test.go": "package a\n\n/* FIX" + "ME */ // want `do it now`",
		}},
	})
}
