package lint

import "testing"

func TestExamples(t *testing.T) {
	rules := Rules{Verbs: map[string][]string{"a": {"Open", "File_Read"}}}
	const shown = "package a_test\n\nfunc ExampleOpen() {\n\t// Output: x\n}\n\nfunc ExampleFile_Read_twice() {\n\t// why\n\n\t// Unordered output:\n\t// x\n}\n"
	play(t, examples, []scene{
		{name: "shown", rules: rules, files: map[string]string{
			"a/a.go":             "package a",
			"a/example_test.go":  shown,
			"internal/b/b.go":    "package b",
			"a/internal/c/c.go":  "package c",
			"cmd/main.go":        "package main",
			"cmd/main_test.go":   "package main",
			"d/d_test.go":        "package d",
			"e/e.go":             "package e",
			"e/example_test.go":  "package e_test\n\nfunc Example() {\n\t// Output:\n}",
			"e/examples_test.go": "package e_test\n\nfunc Examples() {}\n\nfunc Exampleless() {}",
		}},
		{name: "no example", files: map[string]string{
			"a/a.go":      "package a // want `package a has no example`",
			"a/a_test.go": "package a\n\nfunc TestA() {}",
		}},
		{name: "never run", files: map[string]string{
			"a/a.go":            "package a",
			"a/example_test.go": "package a_test\n\nfunc Example() {} // want `Example has no \"// Output:\"`\n\n// Output: elsewhere",
			"b/b.go":            "package b",
			"b/example_test.go": "package b_test\n\nfunc ExampleB() { // want `ExampleB has no \"// Output:\"`\n\t// Output: x\n\n\t// an afterthought\n}",
		}},
		{name: "verbs", rules: rules, files: map[string]string{
			"a/a.go":            "package a",
			"a/example_test.go": "package a_test\n\nfunc ExampleOpened() {\n\t// Output:\n}",
		}, also: []string{"^a:1: no ExampleOpen;", "^a:1: no ExampleFile_Read;"}},
		{name: "verbs of nothing", rules: rules, also: []string{"^a:1: no such package"}},
	})
}
