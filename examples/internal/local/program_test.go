package local

import (
	"flag"
	"strings"
	"testing"
)

// A flag that is given nothing is refused; one that is left out is not.
func TestRefusesEmptyFlags(t *testing.T) {
	for args, status := range map[string]int{"": 0, "-name=x": 0, "-name=": ExitUsage, "-n=0": 0} {
		var stderr strings.Builder
		done := false
		got := Program{Name: "program", Define: func(f *flag.FlagSet) func([]string) error {
			f.String("name", "", "")
			f.Int("n", 1, "")
			return func([]string) error {
				done = true
				return nil
			}
		}}.Run(strings.Fields(args), &stderr)
		if got != status || done != (status == 0) || status != 0 && !strings.Contains(stderr.String(), "-name is empty") {
			t.Errorf("%q: status %d, %q", args, got, stderr.String())
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		addr                         string
		named, listenable, reachable bool
	}{
		{"host:7000", true, true, true},
		{"192.0.2.1:7000", true, true, true},
		{"192.0.2.1:0", false, true, true},
		{"127.0.0.1:7000", true, true, false},
		{"[::1]:7000", true, true, false},
		{"localhost:7000", true, true, false},
		{":7000", false, true, false},
		{"0.0.0.0:7000", false, true, false},
		{"host:", false, false, true},
		{"host:65535", true, true, true},
		{"host:65536", false, false, true},
		{"host:http", false, false, true},
		{"host", false, false, false},
		{"", false, false, false},
	} {
		if Named(c.addr) != c.named || Listenable(c.addr) != c.listenable || Reachable(c.addr) != c.reachable {
			t.Errorf("%q: named %v, listenable %v, reachable %v", c.addr, Named(c.addr), Listenable(c.addr), Reachable(c.addr))
		}
	}
	for addrs, named := range map[string]bool{"a:1": true, "a:1,b:2": true, "a:1,,b:2": false, "a:1,": false, "": false} {
		if NamedAll(addrs) != named {
			t.Errorf("%q: named %v", addrs, NamedAll(addrs))
		}
	}
}
