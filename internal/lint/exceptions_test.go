package lint

import "testing"

func TestExceptions(t *testing.T) {
	play(t, exceptions, []scene{
		{name: "needed", rules: Rules{
			Layers:       []Layer{{Dir: "a"}, {Dir: "b", Imports: []string{"a"}, Tests: []string{"kit"}}, {Dir: "kit"}},
			Dependencies: []string{"example.com/log"},
			Kits:         []string{"kit"},
			Verbs:        map[string][]string{"a": {"F", "G"}},
			Forbidden:    map[string]Ban{"math/rand": {Except: []string{"a"}, Tests: true}, "io/ioutil": {}},
		}, files: map[string]string{
			"a/a.go":      "package a\n\nimport _ \"math/rand\"",
			"b/b_test.go": "package b\n\nimport _ \"math/rand\"",
			"kit/kit.go":  "package kit",
		}},
		{name: "without effect", rules: Rules{
			Layers:           []Layer{{Dir: "a"}, {Dir: "a"}, {Dir: "atest", Imports: []string{"a"}, Tests: []string{"a"}}, {Dir: "gone"}},
			Dependencies:     []string{"example.com/log"},
			TestDependencies: []string{"example.com/log"},
			Nested:           []string{"n", "n"},
			Kits:             []string{"atest", "none", "none"},
			Verbs:            map[string][]string{"a": {"F", "F"}},
			Forbidden:        map[string]Ban{"math/rand": {Except: []string{"a", "a"}, Tests: true}},
		}, files: map[string]string{
			"a/a.go":         "package a",
			"atest/atest.go": "package atest\n\nimport _ \"math/rand\"",
		}, also: []string{
			`^a:1: is twice in Rules.Layers;`,
			`^a:1: is twice in Rules.Layers, in what atest may import`,
			`^gone:1: has no files`,
			`^example.com/log:1: is twice`,
			`^n:1: is twice in Rules.Nested`,
			`^none:1: is twice in Rules.Kits`,
			`^none:1: no such package`, `^none:1: no such package`,
			`^atest:1: is a kit by its name`,
			`^F:1: is twice in Rules.Verbs of a`,
			`^a:1: is twice in Rules.Forbidden: math/rand`,
			`^a:1: does not import math/rand`, `^a:1: does not import math/rand`,
			`^math/rand:1: is imported by no test`,
		}},
	})
}
