package lint

import "testing"

func TestFuzzing(t *testing.T) {
	rules := Rules{Strangers: "kit/Strangers"}
	const head = "package a\n\nimport (\n\t\"testing\"\n\n\t\"example.org/m/kit\"\n\t\"example.org/m/other/kit2\"\n)\n\n"
	play(t, fuzzing, []scene{
		{name: "shown", rules: rules, files: map[string]string{
			"a/a_test.go": head + "func FuzzA(f *testing.F) {\n\tfor range kit.Strangers() {\n\t}\n\tkit2.F()\n}\n\nfunc FuzzB(f *testing.F) { seeds(f) }\n",
			"a/b_test.go": head + "func seeds(f *testing.F) { more(f) }\n\nfunc more(f *testing.F) { kit.Strangers() }\n",
		}},
		{name: "not shown", rules: rules, files: map[string]string{
			"a/a_test.go": head + "func FuzzA(f *testing.F) { // want `FuzzA is not shown`\n\tkit.Others()\n\tkit2.Strangers()\n}\n\n" +
				"func FuzzB(f *testing.F) { seeds(f) } // want `FuzzB is not shown`\n\nfunc seeds(f *testing.F) {}\n",
			"b/b_test.go": head + "func seeds(f *testing.F) { kit.Strangers() }\n",
		}},
		{name: "no such rule", files: map[string]string{
			"a/a_test.go": head + "func FuzzA(f *testing.F) {}\n",
		}},
	})
}
