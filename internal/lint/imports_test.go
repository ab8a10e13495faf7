package lint

import "testing"

func TestLayers(t *testing.T) {
	rules := Rules{Layers: []Layer{
		{Dir: "low", Tests: []string{"tools"}},
		{Dir: "tools"},
		{Dir: "high", Imports: []string{"low"}},
		{Dir: "high/side"},
		{Dir: "."},
	}}
	play(t, layers, []scene{
		{name: "downwards and within", rules: rules, files: map[string]string{
			"high/a.go":          "package high\n\nimport _ \"example.org/m/low\"",
			"high/inner/a.go":    "package inner\n\nimport _ \"example.org/m/high\"",
			"low/lowtest/kit.go": "package lowtest\n\nimport _ \"example.org/m/tools\"",
			"low/a.go":           "package low\n\nimport _ \"strings\"",
			"low/a_test.go":      "package low_test\n\nimport _ \"example.org/m/tools\"",
		}},
		{name: "upwards", rules: rules, files: map[string]string{
			"low/a.go": "package low\n\nimport _ \"example.org/m/high\" // want `low may not import high`",
		}},
		{name: "upwards in a test", rules: rules, files: map[string]string{
			"low/a_test.go": "package low_test\n\nimport _ \"example.org/m/high/inner\" // want `low may not import high/inner`",
		}},
		{name: "a test's freedom outside tests", rules: rules, files: map[string]string{
			"low/a.go": "package low\n\nimport _ \"example.org/m/tools\" // want `low may not import tools`",
		}},
		{name: "the longest entry counts", rules: rules, files: map[string]string{
			"high/side/a.go": "package side\n\nimport _ \"example.org/m/low\" // want `high/side may not import low`",
		}},
		{name: "no layer", rules: rules, files: map[string]string{
			"stray/a.go": "package stray // want `package stray is in no layer`",
			"a.go":       "package m\n\nimport _ \"example.org/m/stray\" // want `may not import stray`",
		}},
	})
}

func TestDependencies(t *testing.T) {
	rules := Rules{
		Dependencies:     []string{"example.com/log"},
		TestDependencies: []string{"example.com/check"},
		Kits:             []string{"kit"},
		Forbidden: map[string]Ban{
			"encoding/gob": {Why: "because", Except: []string{"old"}, Tests: true},
			"math/rand":    {Why: "because"},
		},
	}
	play(t, dependencies, []scene{
		{name: "allowed", rules: rules, files: map[string]string{
			"a/a.go":        "package a\n\nimport (\n\t_ \"example.com/log/sub\"\n\t_ \"net/http\"\n)",
			"a/a_test.go":   "package a\n\nimport (\n\t_ \"example.com/check\"\n\t_ \"testing\"\n)",
			"old/a.go":      "package old\n\nimport _ \"encoding/gob\"",
			"at/atest/a.go": "package atest\n\nimport _ \"testing\"",
			"kit/a.go":      "package kit\n\nimport _ \"testing\"",
		}},
		{name: "not allowed", rules: rules, files: map[string]string{
			"a/a.go":      "package a\n\nimport _ \"example.com/check\" // want `not among the dependencies`",
			"a/b.go":      "package a\n\nimport _ \"example.com/logger\" // want `not among the dependencies`",
			"a/a_test.go": "package a\n\nimport _ \"example.com/other\" // want `not among the dependencies`",
			"a/c.go":      "package a\n\nimport _ \"encoding/gob\" // want `nobody imports encoding/gob: because`",
			"a/b_test.go": "package a\n\nimport _ \"math/rand\" // want `nobody imports math/rand: because`",
			"a/d.go":      "package a\n\nimport _ \"testing\" // want `testing in shipped code`",
		}},
		{name: "a nested module has its own", rules: rules, files: map[string]string{
			"x/go.mod": "module example.org/m/x",
			"x/y/a.go": "package y\n\nimport _ \"example.com/other\"",
			"xy/b.go":  "package xy\n\nimport _ \"example.com/other\" // want `not among the dependencies`",
		}},
	})
}

func TestModules(t *testing.T) {
	rules := Rules{
		Dependencies:     []string{"example.com/log", "example.com/more"},
		TestDependencies: []string{"example.com/check"},
	}
	const log = "package a\n\nimport _ \"example.com/log/sub\""
	const check = "package a\n\nimport _ \"example.com/check\""
	play(t, modules, []scene{
		{name: "required and imported", rules: rules, files: map[string]string{
			"go.mod":      "module example.org/m\n\nrequire example.com/log v1.2.3\n\nrequire (\n\texample.com/check v0.1.0\n\texample.com/other v1.0.0 // indirect\n)\n",
			"a/a.go":      log,
			"a/a_test.go": check,
		}},
		{name: "one without the other", rules: rules, files: map[string]string{
			"go.mod": "module example.org/m\n\nrequire (\n\texample.com/check v0.1.0\n\texample.com/log v1.0.0 // indirect\n\texample.com/other v1.0.0\n)\n",
			"a/a.go": log,
		}, also: []string{
			"example.com/log: imported is true, required is false", "example.com/check: imported is false, required is true",
			"example.com/other is not among the dependencies",
		}},
		{name: "nested as named", rules: Rules{Nested: []string{"x"}}, files: map[string]string{"x/go.mod": ""}},
		{name: "one nested module more", files: map[string]string{"x/go.mod": ""}, also: []string{`^x/go.mod:1: a module that Rules.Nested does not name`}},
		{name: "one less", rules: Rules{Nested: []string{"x"}}, also: []string{`^go.mod:1: no module in x`}},
	})
}
