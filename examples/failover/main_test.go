package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
)

// TestMain also is what the processes run that the program starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-child" {
		main()
	}
	os.Exit(m.Run())
}

// The primary is killed, the group goes on, and every increment is counted once.
func TestFailover(t *testing.T) {
	for name, args := range map[string]string{
		"memory":   "-memory",
		"process":  "",
		"journals": "-dir " + filepath.Join(t.TempDir(), "nodes"),
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "journals" {
				t.Skip("takes seconds")
			}
			var out, errs bytes.Buffer
			args := strings.Fields("-for 1500ms -every 400ms -clients 4 " + args)
			if status := run(t.Context(), args, strings.NewReader(""), &out, &errs); status != 0 {
				t.Fatalf("status %d: %s\n%s", status, errs.String(), out.String())
			}
			for _, want := range []string{ // epochs: whoever is slow may have been replaced before
				"fail-over 1: ", "the primary seems to be dead", `claims epoch \d+`, "entries are to be executed", ": live\n",
				"a clone was made in", `epoch \d+: primary`, "clients saw a pause", "exactly once",
			} {
				if !regexp.MustCompile(want).MatchString(out.String()) {
					t.Errorf("there is no %q in\n%s", want, out.String())
				}
			}
		})
	}
}

func TestFlagsThatAreWrong(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "something"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"now":                                  `"now"`,
		"-for 0s":                              "-for 0s",
		"-every -1s":                           "-every -1s",
		"-every soon":                          "soon",
		"-clients 0":                           "-clients 0",
		"-memory -dir x":                       "-dir is of no use with -memory",
		"-for 2s -every 3s":                    "nobody would be killed in 2s",
		"-node a:1 -lock x -peers b:1,,c:1":    "an address is empty",
		"-status a:1":                          "-status is of no use without -node",
		"-peers a:1":                           "-peers is of no use without -node",
		"-node 127.0.0.1:0":                    "-node needs -lock",
		"-node 127.0.0.1:0 -lock x -clients 3": "-clients is of no use with -node",
		"-dir " + full:                         "is not empty",
	} {
		var errs bytes.Buffer
		if status := run(t.Context(), strings.Fields(args), nil, io.Discard, &errs); status != local.ExitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: status %d and %q, want one about %q", args, status, errs.String(), want)
		}
	}
}

func TestStore(t *testing.T) {
	s := newStore()
	for _, step := range []struct{ cmd, want string }{
		{"add a 2", "2"},
		{"add a -5", "-3"},
		{"set b two words", "two words"},
		{"add b 1", "error: b is no counter"},
		{"add a x", `error: "x" is no number`},
		{"get a", `error: "get a" is no command`},
		{"del a 1", `error: there is no "del"`},
	} {
		if got := s.Apply(1, time.Time{}, []byte(step.cmd), nil); string(got) != step.want {
			t.Errorf("%s is answered by %q, want %q", step.cmd, got, step.want)
		}
	}
	image, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(2, time.Time{}, []byte("add a 1"), nil) // does not disturb the image
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	clone := newStore()
	if err := clone.Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{"get a": "-3", "get b": "two words", "get c": ""} {
		if got, err := clone.Query([]byte(query), nil); err != nil || string(got) != want {
			t.Errorf("%s is answered by %q, %v, want %q", query, got, err, want)
		}
	}
	if err := clone.Restore(bytes.NewReader(b.Bytes()[:b.Len()-1])); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("half an image is restored: %v", err)
	}
}
