package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// invoke runs the program.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain to build a guest with")
	}
	var out, errs bytes.Buffer
	status, err := run(t.Context(), args, strings.NewReader("some input\n"), &out, &errs)
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, &out, &errs)
	}
	return status, out.String(), errs.String()
}

func TestDemonstration(t *testing.T) {
	_, stdout, _ := invoke(t)
	hashes := regexp.MustCompile(`hash is [0-9a-f]{64}`).FindAllString(stdout, -1)
	if len(hashes) != 2 || hashes[0] != hashes[1] || !strings.Contains(stdout, "GET /count/ada: ada: 2\n") {
		t.Error(stdout)
	}
}

// A package of this module is built and run, recorded, and replayed up to an instruction.
func TestRecordAndReplay(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	status, stdout, stderr := invoke(t, "-record", log, "./testdata/echo", "a", "b")
	if status != 3 || stdout != "[a b]\nsome input\n" {
		t.Fatalf("status %d, %q, %s", status, stdout, stderr)
	}
	status, stdout, stderr = invoke(t, "-trace", "-replay", log)
	if status != 3 || stdout != "[a b]\nsome input\n" || !strings.Contains(stderr, "the state's hash is") {
		t.Errorf("status %d, %q, %s", status, stdout, stderr)
	}
	_, _, stderr = invoke(t, "-replay", log, "-until", "100000")
	if !strings.Contains(stderr, "at instruction 100000 ") || !strings.Contains(stderr, "runtime.") || !strings.Contains(stderr, "ra ") {
		t.Error(stderr)
	}
}

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{{"-listen", "x", "p"}, {"-listen", "x:80", "testdata/echo"}, {"./no-such-program"}, {"-until", "5", "p"}, {"-replay", "l", "p"}, {"-memory", "0", "p"}, {"-nothing"}, {"no-such-program"},
		{"/no/such/program"}, {"-write-back", "p"}, {"../../vmft"}} {
		var out bytes.Buffer
		if _, err := run(t.Context(), args, strings.NewReader(""), &out, &out); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
