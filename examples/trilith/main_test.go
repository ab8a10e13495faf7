package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// roleEnv makes the test binary the program itself.
const roleEnv = "TRILITH_TEST_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" {
		go func() { // to end with the test, however that ends
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// invoke runs the program in this process.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestSaysWhatIsWrong(t *testing.T) {
	empty := t.TempDir() + "/empty"
	if err := os.WriteFile(empty, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"", exitUsage, "coordinator"},
		{"stone", exitUsage, `no role "stone"`},
		{"help stone", exitUsage, `no role "stone"`},
		{"coordinator extra", exitUsage, `unexpected argument "extra"`},
		{"coordinator -frobnicate", exitUsage, "frobnicate"},
		{"coordinator -worker-timeout 0s", exitUsage, "-worker-timeout is 0s"},
		{"coordinator -log loud", exitUsage, `-log is "loud"`},
		{"coordinator -cert c", exitUsage, "-cert and -key go together"},
		{"coordinator -ca c", exitUsage, "-cert and -key are missing"},
		{"coordinator -cert /no/c -key /no/k", exitFailed, "/no/c"},
		{"coordinator -secret-file /no/s", exitFailed, "-secret-file"},
		{"coordinator -secret-file " + empty, exitFailed, "nothing in it"},
		{"coordinator -root /no/dir", exitFailed, "-root"},
		{"coordinator -root " + empty, exitFailed, "not a directory"},
		{"coordinator -listen 127.0.0.1:x", exitFailed, "127.0.0.1:x"},
		{"worker", exitUsage, "-coordinator is missing"},
		{"worker -coordinator a:1 -only mapping", exitUsage, "-only is \"mapping\""},
		{"worker -coordinator a:1 -labels a,,b", exitFailed, "WorkerConfig.Labels"},
		{"worker -coordinator a:1 -slots -1", exitUsage, "-slots is -1"},
		{"worker -coordinator a:1 -memory 0", exitUsage, "-memory is 0"},
		{"worker -coordinator a:1 -memory 1 -slots 1", exitFailed, "WorkerConfig.Memory"},
		{"submit", exitUsage, "name of a job is missing"},
		{"submit count x", exitUsage, `no job "count"`},
		{"submit wordcount", exitUsage, "patterns of the input are missing"},
		{"submit wordcount x", exitUsage, "-output is missing"},
		{"submit -output o wordcount x", exitUsage, "-coordinator is missing"},
		{"submit -output o -reduces 0 wordcount x", exitUsage, "-reduces is 0"},
		{"submit -output o -reduce-after 101 wordcount x", exitUsage, "-reduce-after is 101"},
		{"submit -output o -resubmits -1 wordcount x", exitUsage, "-resubmits is -1"},
		{"submit -output o -arg pattern grep x", exitUsage, "name=value"},
		{"submit -output o grep x", exitUsage, "needs -arg pattern"},
		{"submit -output o -skip 1001 wordcount x", exitUsage, "-skip is 1001"},
		{"submit -output o -attempts 0 wordcount x", exitUsage, "-attempts is 0"},
		{"submit wordcount -output o -reduces -1 x", exitUsage, "-reduces is -1"},
		{"submit wordcount -output o -frobnicate x", exitUsage, "frobnicate"},
		{"submit streaming -output o x", exitUsage, "needs -mapper"},
		{"submit streaming -output o -mapper cat x", exitUsage, "needs -reducer"},
		{"submit streaming -output o -mapper cat -reducer cat -key-fields -1 x", exitUsage, "-key-fields is -1"},
		{"submit wordcount -output o -mapper cat x", exitUsage, "flags of the job streaming"},
		{"submit terasort -output o -coordinator 127.0.0.1:1 -reduces 2 -root /no/dir x", exitFailed, "-root"},
		{"submit terasort -output o -coordinator 127.0.0.1:1 -reduces 2 no/such/file", exitFailed, "matches no file"},
		{"submit -output ../o -coordinator 127.0.0.1:1 wordcount x", exitFailed, "Spec.Output"},
		{"submit -output o -coordinator 127.0.0.1:1 -ca " + empty + " wordcount x", exitFailed, "holds no certificate"},
		{"status -coordinator 127.0.0.1:1 one", exitUsage, `"one" is not the number of a job`},
		{"status -coordinator 127.0.0.1:1 1 2", exitUsage, `unexpected argument "2"`},
		{"status -coordinator 127.0.0.1:1 -timeout 100ms", exitFailed, "127.0.0.1:1"},
		{"cancel -coordinator 127.0.0.1:1", exitUsage, "number of the job is missing"},
	} {
		status, stdout, stderr := invoke(t, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("trilith %s: status %d, %q, %q; want %d and %q", c.args, status, stderr, stdout, c.status, c.says)
		}
	}
}

func TestHelp(t *testing.T) {
	status, stdout, _ := invoke(t, "help")
	if status != 0 {
		t.Errorf("help: status %d", status)
	}
	for _, r := range roles() {
		if !strings.Contains(stdout, "  "+r.name+" ") {
			t.Errorf("help does not list %s:\n%s", r.name, stdout)
		}
		status, about, stderr := invoke(t, "help", r.name)
		if status != 0 || stderr != "" || !strings.Contains(about, "Usage: trilith "+r.name) || !strings.Contains(about, "-secret-file") {
			t.Errorf("help %s: status %d, %q, %s", r.name, status, stderr, about)
		}
		if _, same, _ := invoke(t, r.name, "-help"); same != about {
			t.Errorf("%s -help says\n%s\nhelp %s says\n%s", r.name, same, r.name, about)
		}
	}
	if _, about, _ := invoke(t, "help", "submit"); !strings.Contains(about, "needs -arg pattern=") {
		t.Errorf("help submit does not list the jobs:\n%s", about)
	}
}
