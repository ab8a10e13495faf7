package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/internal/testutil"
)

// TestMain also is what the processes run that the program starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-child" {
		main()
	}
	testutil.RareGC()
	os.Exit(m.Run())
}

// screen is what the program prints.
type screen struct{ testutil.Text }

// await waits for a text that matches, after what was there before, and returns its groups.
func (s *screen) await(t *testing.T, after int, pattern string) []string {
	t.Helper()
	var m []string
	r := regexp.MustCompile(pattern)
	testutil.Eventually(t, time.Minute, func() bool {
		text := s.String()
		m = r.FindStringSubmatch(text[min(after, len(text)):])
		return m != nil
	}, "that the program prints "+pattern)
	return m
}

// The primary is killed, and the program goes on with its connection.
func TestChaos(t *testing.T) {
	for name, args := range map[string]string{"memory": "-memory", "process": "", "transfer": "-memory -transfer"} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "process" {
				t.Skip("takes seconds")
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out, errs screen
			ended := make(chan int, 1)
			go func() {
				ended <- run(ctx, strings.Fields("-chaos 500ms -forward 127.0.0.1:0 "+args), strings.NewReader(""), &out, &errs)
			}()
			for _, want := range []string{
				"fail-over 1: ", "the primary seems to be dead", ": live\n", "a clone was made in", "on a connection that went on",
			} {
				out.await(t, 0, want)
			}
			cancel()
			if status := <-ended; status != 0 || !strings.Contains(out.String(), "no count was lost or done twice") {
				t.Errorf("status %d: %s\n%s", status, &errs, &out)
			}
		})
	}
}

func TestFlagsThatAreWrong(t *testing.T) {
	for args, want := range map[string]string{
		"-chaos soon":                       "soon",
		"-chaos -1s":                        "-chaos -1s",
		"-for -1s":                          "-for -1s",
		"-port 0":                           "-port 0",
		"-port 70000":                       "-port 70000",
		"-size 1":                           "-size 1",
		"-peers a:1":                        "-peers is of no use without -node",
		"-node a:1":                         "-node needs -lock",
		"-node a:1 -lock x -for 3s":         "-for is of no use with -node",
		"-connect a:1 -memory":              "-memory is of no use with -connect",
		"-connect a:1 ./server":             `"./server"`,
		"-connect a:1 -node b:1":            "-node and -connect",
		"-connect a":                        `"a" is not host:port`,
		"-forward 8080":                     `-forward is "8080"`,
		"-forward a:b":                      `-forward is "a:b"`,
		"-node :7101 -lock x":               "-node is \":7101\": it has to name the host",
		"-node a:1 -lock x -peers b:1,,c:1": `"" is not host:port`,
		"-node a:1 -lock x -status 80":      `-status is "80"`,
		"-reads never":                      "-reads",
		"-reads backup":                     "-reads is of no use without -shared",
		"-node a:1 -lock x -shared gfs":     "-shared gfs is of no use with -node",
		"-connect a:1 -transfer":            "-transfer is of no use with -connect",
	} {
		var errs bytes.Buffer
		if status := run(t.Context(), strings.Fields(args), nil, io.Discard, &errs); status != local.ExitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: status %d and %q, want one about %q", args, status, errs.String(), want)
		}
	}
}

// What is no program is said so before anything runs.
func TestNoProgram(t *testing.T) {
	for name, want := range map[string]string{"main.go.none": "building main.go.none", os.Args[0]: "not a static riscv64 program"} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), []string{"-forward", "127.0.0.1:0", name}, nil, &out, &errs); status != local.ExitFailed || out.Len() > 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("status %d: %s%s", status, out.String(), errs.String())
		}
	}
}

var counterAt = regexp.MustCompile(`the counter is at (\d+)`)

// With a shared disk, the counter goes on when all nodes have ended and are started again.
func TestSharedDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	last := 0
	dir := t.TempDir()
	for _, args := range []string{"-chaos 500ms -for 700ms -shared " + dir, "-for 100ms -reads backup -shared " + dir} {
		n, out := counted(t, args)
		if n <= last || last > 0 && !strings.Contains(out, "the guest has 1 counters") {
			t.Errorf("the counter is at %d, after %d:\n%s", n, last, out)
		}
		last = n
	}
}

// The shared disk can be in a gfs.
func TestSharedDiskInGFS(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	counted(t, "-chaos 500ms -for 700ms -reads backup -shared gfs")
}

// counted runs the program and returns where its counter is in the end, and what was printed.
func counted(t *testing.T, args string) (n int, text string) {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(t.Context(), strings.Fields("-memory -forward 127.0.0.1:0 "+args), strings.NewReader(""), &out, &errs); status != 0 {
		t.Fatalf("status %d: %s\n%s", status, errs.String(), out.String())
	}
	return counter(t, out.String()), out.String()
}

// counter returns where the counter is in the end, as the program has printed.
func counter(t *testing.T, text string) int {
	t.Helper()
	found := counterAt.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("there is no counter in\n%s", text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What is no shared disk is said to be none, and left alone.
func TestNoSharedDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letter"), []byte("Dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	if status := run(t.Context(), []string{"-memory", "-forward", "127.0.0.1:0", "-shared", dir}, nil, io.Discard, &errs); status != local.ExitFailed || !strings.Contains(errs.String(), `"letter"`) {
		t.Errorf("status %d: %s", status, errs.String())
	}
}
