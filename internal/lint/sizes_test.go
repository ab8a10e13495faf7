package lint

import "testing"

func TestSizes(t *testing.T) {
	const long = "package a\n\nfunc f() { // want `f has 4 lines, more than 3`\n\n\n}\n\nfunc g() {\n\n}\n"
	limits := Rules{FileLines: 10, TestFileLines: 12, FunctionLines: 3}
	excused := limits
	excused.Long = map[string]string{
		"a/a.go":      "a table",
		"a/a.go:f":    "a switch over a table",
		"a/b_test.go": "many cases",
	}
	superfluous := limits
	superfluous.Long = map[string]string{"a/a.go": "a table", "a/a.go:g": ""}
	play(t, sizes, []scene{
		{name: "short", rules: limits, files: map[string]string{
			"a/a.go":      "package a\n\n\n\n\n\n\n\n\n\n",
			"a/b_test.go": "package a\n\nfunc f() {\n\n\n}\n\n\n\n\n\n\n",
		}},
		{name: "long", rules: limits, files: map[string]string{
			"a/a.go":      long,
			"a/b.go":      "package a // want `11 lines, more than 10`\n\n\n\n\n\n\n\n\n\n\n",
			"a/b_test.go": "package a // want `13 lines, more than 12`\n\n\n\n\n\n\n\n\n\n\n\n\n",
		}},
		{name: "excused", rules: excused, files: map[string]string{
			"a/a.go":      "package a\n\nfunc f() {\n\n\n}\n\n\n\n\n\n",
			"a/b_test.go": "package a\n\n\n\n\n\n\n\n\n\n\n\n\n",
		}},
		{name: "excused without need", rules: superfluous, files: map[string]string{
			"a/a.go": "package a\n\nfunc g() {\n}\n",
		}, also: []string{
			`^a/a.go:1: is not too long`, `^a/a.go:g:1: is not too long`, `^a/a.go:g:1: an exception without a reason`,
		}},
	})
}
