package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
)

// invoke runs the program.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

// parts returns the content of the output files.
func parts(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, filepath.Base(name)+":"+string(content))
	}
	return found
}

func TestCountsWords(t *testing.T) {
	dir := t.TempDir()
	input := filepath.Join(dir, "in [1]*") // a name that is no pattern
	if err := os.MkdirAll(filepath.Join(input, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a.txt": "the cat, the dog; naïve Ångström!\nλόγος λόγος", "sub/b.txt": "the x2y cat\xff\xfecat\n",
	} {
		if err := os.WriteFile(filepath.Join(input, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	cluster, oracle, plain := filepath.Join(dir, "cluster"), filepath.Join(dir, "oracle"), filepath.Join(dir, "plain")
	status, stdout, stderr := invoke(t, "-input", input, "-output", cluster, "-reduce", "3", "-workers", "2", "-top", "3")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if want := "         3  cat\n         3  the\n         2  λόγος\n13 words, 8 different ones"; !strings.HasPrefix(stdout, want) {
		t.Errorf("printed %q, want %q and so on", stdout, want)
	}
	for _, want := range []string{"        13  map.records.out\n", "  map.bytes.local\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("printed %q, want the counter %q in it", stdout, want)
		}
	}
	if status, stdout, stderr := invoke(t, "-fs", "dir", "-input", input, "-output", plain, "-reduce", "3"); status != 0 || strings.Contains(stdout, "map.bytes.local") {
		t.Errorf("without gfs: status %d, %s%s", status, stdout, stderr)
	}
	if status, _, stderr := invoke(t, "-input", input, "-output", oracle, "-reduce", "3", "-sequential"); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	got, want := parts(t, cluster), parts(t, oracle)
	if len(got) != 3 || !slices.Equal(got, want) {
		t.Errorf("the cluster wrote %q, the sequential run %q", got, want)
	}
	if got := parts(t, plain); !slices.Equal(got, want) {
		t.Errorf("without gfs the cluster wrote %q, the sequential run %q", got, want)
	}
	if status, _, stderr := invoke(t, "-input", input, "-output", cluster); status != local.ExitFailed || !strings.Contains(stderr, "not empty") {
		t.Errorf("output into a directory in use: status %d, %s", status, stderr)
	}
	if status, stdout, stderr := invoke(t, "-input", filepath.Join(dir, "in*", "*.txt"), "-top", "1"); status != 0 || !strings.Contains(stdout, "8 words") {
		t.Errorf("a pattern: status %d, %s%s", status, stdout, stderr)
	}
}

func TestSaysWhatIsWrong(t *testing.T) {
	output := " -input main.go -output " + t.TempDir()
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"-fs tape", local.ExitUsage, "-fs is \"tape\""},
		{"-fs gfs -worker localhost:1", local.ExitUsage, "-fs gfs does not go with"},
		{"-fs gfs -sequential", local.ExitUsage, "-fs gfs does not go with"},
		{"-fs dir -input /no/such/*.txt", local.ExitFailed, "matches no file"},
		{"-input /no/such/dir", local.ExitFailed, "/no/such/dir"},
		{"-input /no/such/*.txt", local.ExitFailed, "matches no file"},
		{"-reduce 0", local.ExitUsage, "-reduce is 0"},
		{"-workers -3", local.ExitUsage, "-workers is -3"},
		{"-skip -1", local.ExitUsage, "-skip is -1"},
		{"-attempts 0", local.ExitUsage, "-attempts is 0"},
		{"-worker localhost:1 -split 1", local.ExitUsage, "-split does not go with -worker"},
		{"-top -1", local.ExitUsage, "-top is -1"},
		{"-top many", local.ExitUsage, "-top"},
		{"-reduce 0 -listen x", local.ExitUsage, "-reduce is 0"},
		{"-frobnicate", local.ExitUsage, "frobnicate"},
		{"words.txt", local.ExitUsage, "words.txt"},
		{"-sequential -worker localhost:1", local.ExitUsage, "only one of"},
		{"-journal j", local.ExitUsage, "-journal goes with -coordinator"},
		{"-sequential -status localhost:0", local.ExitUsage, "-status does not go with -sequential"},
		{"-status nonsense", local.ExitFailed, "-status: "},
		{"-worker localhost:1 -input x", local.ExitUsage, "-input does not go with -worker"},
		{"-worker=", local.ExitUsage, "-worker is empty"},
		{"-coordinator= -output x", local.ExitUsage, "-coordinator is empty"},
		{"-input=", local.ExitUsage, "-input is empty"},
		{"-output=", local.ExitUsage, "-output is empty"},
		{"-worker nonsense", local.ExitUsage, "-worker is \"nonsense\""},
		{"-worker a:1,,", local.ExitUsage, "-worker is \"a:1,,\""},
		{"-worker :1", local.ExitUsage, "-worker is \":1\""},
		{"-worker a:1 -listen nonsense", local.ExitUsage, "-listen is \"nonsense\""},
		{"-coordinator nonsense", local.ExitUsage, "-coordinator is \"nonsense\""},
		{"-coordinator a:65536", local.ExitUsage, "-coordinator is \"a:65536\""},
		{"-coordinator 192.0.2.1:1 -input main.go", local.ExitFailed, "wordcount: -coordinator: "}, // no address of this machine
		{"-coordinator 192.0.2.1:1 -journal " + t.TempDir() + output, local.ExitFailed, "wordcount: -coordinator: "},
		{"-coordinator 127.0.0.1:0 -journal main.go" + output, local.ExitFailed, "wordcount: -journal: "}, // it is a file
		{"-coordinator a:1 -journal j", local.ExitUsage, "-journal needs -output"},
		{"-coordinator a:1 -node a:2 -standby b:2 -lock l", local.ExitUsage, "-standby needs -output"},
		{"-reduce 3 -reduces 4", local.ExitUsage, "-reduce is 3 and -reduces, its older name, 4"},
		{"-chaos -sequential", local.ExitUsage, "-chaos does not go with"},
		{"-chaos -fs dir", local.ExitUsage, "-fs does not go with -chaos"},
		{"-standby a:1", local.ExitUsage, "-standby goes with -coordinator"},
		{"-coordinator a:1 -node a:2", local.ExitUsage, "-node goes with -standby"},
		{"-coordinator a:1 -standby b:2", local.ExitUsage, "-standby needs -node"},
		{"-coordinator a:1 -node a:2 -standby b:2", local.ExitUsage, "-lock or -arbiter"},
		{"-help", 0, "-sequential"},
	} {
		status, _, stderr := invoke(t, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(stderr, c.says) {
			t.Errorf("wordcount %s: status %d, %q; want %d and %q", c.args, status, stderr, c.status, c.says)
		}
		if lines := strings.Count(stderr, "\n"); c.status != 0 && lines != c.status { // of usage, a hint at help too
			t.Errorf("wordcount %s: %d lines, %q", c.args, lines, stderr)
		}
	}
}

// An output that cannot be written is found before the input is looked at.
func TestLooksAtOutputFirst(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "missing", "dir"), filepath.Join(dir, "out")); err != nil {
		t.Skip(err)
	}
	for _, mode := range []string{"-fs=gfs", "-fs=dir", "-chaos", "-sequential", "-coordinator=127.0.0.1:0"} {
		status, _, stderr := invoke(t, mode, "-input", filepath.Join(dir, "*.txt"), "-output", filepath.Join(dir, "out"))
		if status != local.ExitFailed || !strings.HasPrefix(stderr, "wordcount: -output: ") {
			t.Errorf("%s: status %d, %s", mode, status, stderr)
		}
	}
}

// The same over TCP, as processes would do it: the workers end when the
// coordinator has dismissed them.
func TestCoordinatorAndWorkers(t *testing.T) {
	addr := testutil.FreeAddrs(t, 1)[0]
	dir := t.TempDir()
	input, cluster, oracle := filepath.Join(dir, "in"), filepath.Join(dir, "cluster"), filepath.Join(dir, "oracle")
	if err := os.WriteFile(input, []byte(strings.Repeat("so much depends upon a red wheel barrow\n", 1000)), 0o666); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if status, _, stderr := invoke(t, "-worker", addr); status != 0 {
				t.Errorf("worker: status %d: %s", status, stderr)
			}
		})
	}
	status, _, stderr := invoke(t, "-coordinator", addr, "-journal", filepath.Join(dir, "journal"), "-input", input, "-output", cluster)
	if status != 0 {
		t.Errorf("coordinator: status %d: %s", status, stderr)
	}
	wg.Wait()
	if status, _, stderr := invoke(t, "-sequential", "-input", input, "-output", oracle); status != 0 {
		t.Errorf("sequential: status %d: %s", status, stderr)
	}
	if got, want := parts(t, cluster), parts(t, oracle); len(got) != 4 || !slices.Equal(got, want) {
		t.Errorf("the cluster wrote %.300q, the sequential run %.300q", got, want)
	}
}

// The status page is there while the program runs and after the job has ended,
// until the user interrupts.
func TestStatusPage(t *testing.T) {
	input := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(input, []byte("so much depends upon\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	said, stderr := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"-input", input, "-status", "127.0.0.1:0"}, io.Discard, stderr)
		_ = stderr.Close()
	}()
	var url string
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "the status page is at "); ok {
			url = at
		}
		if strings.Contains(lines.Text(), "until you interrupt") {
			break
		}
	}
	resp, err := http.Get(url + "status.json?job=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var job mapreduce.JobReport
	if err := json.NewDecoder(resp.Body).Decode(&job); err != nil {
		t.Fatal(err)
	}
	if job.Name != "wordcount" || job.State != "succeeded" {
		t.Errorf("the job is %+v", job)
	}
	interrupt()
	if status := <-done; status != 0 {
		t.Errorf("status %d", status)
	}
}

// A worker that reaches no coordinator says why, and on which addresses others cannot fetch
// from it.
func TestWorkerSaysThatItWaits(t *testing.T) {
	for coordinator, says := range map[string][]string{
		testutil.FreeAddrs(t, 1)[0]: {"waiting for the coordinator at %s: error="},
		"192.0.2.1:1":               {"cannot fetch from this one at 127.0.0.1:0; if there are any, name this machine's address with -listen"},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		said, stderr := io.Pipe()
		done := make(chan int, 1)
		go func() {
			done <- run(ctx, []string{"-worker", coordinator}, io.Discard, stderr)
			_ = stderr.Close()
		}()
		lines := bufio.NewScanner(said)
		for _, want := range says {
			if want = strings.ReplaceAll(want, "%s", coordinator); !lines.Scan() || !strings.Contains(lines.Text(), want) {
				t.Errorf("said %q, want %q", lines.Text(), want)
			}
		}
		interrupt()
		for lines.Scan() { // its end
		}
		if status := <-done; status != local.ExitFailed {
			t.Errorf("status %d", status)
		}
	}
}
