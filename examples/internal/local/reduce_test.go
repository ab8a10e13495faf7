package local

import (
	"flag"
	"strings"
	"testing"
)

// -reduce and its older name, -reduces, say the same; they cannot say different things.
func TestReduceFlag(t *testing.T) {
	for _, c := range []struct {
		args, says string
		n          int
	}{
		{args: "", n: 4},
		{args: "-reduce 7", n: 7},
		{args: "-reduces 7", n: 7},
		{args: "-reduces 7 -reduce 7", n: 7},
		{args: "-reduces 7 -reduce 8", says: "-reduce is 8 and -reduces, its older name, 7"},
		{args: "-reduce 0", says: "-reduce is 0, not 1 to 65536"},
		{args: "-reduces 65537", says: "-reduces is 65537, not 1 to 65536"},
		{args: "-reduce many", says: `invalid value "many" for flag -reduce`},
	} {
		f := flag.NewFlagSet("", flag.ContinueOnError)
		var r ReduceFlag
		r.Define(f, 4, "")
		err := Parse(f, strings.Fields(c.args))
		if err == nil {
			err = r.Check()
		}
		switch {
		case c.says == "" && (err != nil || r.N() != c.n):
			t.Errorf("%q: %d, %v; want %d", c.args, r.N(), err, c.n)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%q: %v, want %q", c.args, err, c.says)
		}
	}
}
