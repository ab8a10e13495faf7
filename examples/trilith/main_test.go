package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/internal/testutil"
)

// roleEnv makes the test binary the program itself.
const roleEnv = "TRILITH_TEST_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" {
		go func() { // to end with the test, however that ends
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
		main()
	}
	testutil.RareGC()
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
	t.Setenv(masterEnv, "")
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"master extra", local.ExitUsage, `unexpected argument "extra"`},
		{"master -chunk 100", local.ExitUsage, "-chunk is 100"},
		{"master -lease 0s", local.ExitUsage, "-lease is 0s"},
		{"master -server-timeout -1s", local.ExitUsage, "-server-timeout is -1s"},
		{"master -replication 65", local.ExitUsage, "-replication is 65"},
		{"master -listen 127.0.0.1:x", local.ExitFailed, "127.0.0.1:x"},
		{"master -journal " + empty, local.ExitFailed, "start master"},
		{"master -node a:1", local.ExitUsage, "-node goes with -standby only"},
		{"master -standby b", local.ExitUsage, `"b" is not host:port`},
		{"master -standby b:2", local.ExitUsage, "-standby needs -node"},
		{"master -standby b:2 -node :1 -lock l", local.ExitUsage, "has to name the host and the port"},
		{"master -standby a:1 -node a:1 -lock l", local.ExitUsage, "this process's own node alone"},
		{"master -standby b:2 -node a:1", local.ExitUsage, "-standby needs -lock or -arbiter"},
		{"master -standby b:2 -node a:1 -lock l -arbiter c:3", local.ExitUsage, "only one of -lock and -arbiter"},
		{"master -standby b:2 -node a:1 -arbiter c", local.ExitUsage, "-arbiter is \"c\""},
		{"master -standby 127.0.0.1:2 -node 127.0.0.1:1 -lock /no/lock", local.ExitFailed, "-lock: /no/lock is not there"},
		{"master -standby 127.0.0.1:2 -node 127.0.0.1:1 -lock " + empty, local.ExitFailed, "is not a directory"},
		{"shadow -master a:1 -standby b:2", local.ExitUsage, "standby"},
		{"coordinator -standby b:2", local.ExitUsage, "-standby needs -node"},
		{"arbiter", local.ExitUsage, "-dir is missing"},
		{"arbiter -dir " + empty + "/x/y", local.ExitFailed, "-dir"},
		{"master -cert c", local.ExitUsage, "-cert and -key go together"},
		{"shadow", local.ExitUsage, "-master is missing"},
		{"shadow -master localhost", local.ExitUsage, `"localhost" is not host:port`},
		{"chunkserver -master a:1,b -dir d", local.ExitUsage, `"b" is not host:port`},
		{"chunkserver -master a:1 -dir d -scrub 0s", local.ExitUsage, "-scrub is 0s"},
		{"fs ls -master 127.0.0.1", local.ExitUsage, `"127.0.0.1" is not host:port`},
		{"fs ls -master a:1 -shadow b", local.ExitUsage, `"b" is not host:port`},
		{"shadow -master a:1 -journal j", local.ExitUsage, "journal"},
		{"chunkserver", local.ExitUsage, "-master is missing"},
		{"chunkserver -master a:1", local.ExitUsage, "-dir is missing"},
		{"chunkserver -master a:1 -dir d -capacity -1", local.ExitUsage, "-capacity is -1"},
		{"chunkserver -master a:1 -dir d -buffer 1", local.ExitUsage, "-buffer is 1"},
		{"chunkserver -master a:1 -dir " + empty, local.ExitFailed, "start chunkserver"},
		{"all", local.ExitUsage, "-dir is missing"},
		{"all -dir d -chunkservers 0", local.ExitUsage, "-chunkservers is 0"},
		{"all -dir d -chunkservers 2 -replication 3", local.ExitUsage, "-replication is 3"},
		{"all -dir d -listen :7100", local.ExitUsage, "has to name the host"},
		{"fs", local.ExitUsage, "verb is missing"},
		{"fs lss", local.ExitUsage, `no "lss"`},
		{"help fs lss", local.ExitUsage, `no "lss"`},
		{"fs ls", local.ExitUsage, "-master is missing"},
		{"fs ls -frobnicate", local.ExitUsage, "frobnicate"},
		{"fs ls -master 127.0.0.1:1 -timeout 200ms /", local.ExitFailed, "refused"},
		{"fs put x -master 127.0.0.1:1", local.ExitUsage, "what to copy, or where, is missing"},
		{"fs rm -r", local.ExitUsage, "the path is missing"},
		{"", local.ExitUsage, "coordinator"},
		{"stone", local.ExitUsage, `no role "stone"`},
		{"help stone", local.ExitUsage, `no role "stone"`},
		{"coordinator extra", local.ExitUsage, `unexpected argument "extra"`},
		{"coordinator -frobnicate", local.ExitUsage, "frobnicate"},
		{"coordinator -worker-timeout 0s", local.ExitUsage, "-worker-timeout is 0s"},
		{"coordinator -log loud", local.ExitUsage, `-log is "loud"`},
		{"coordinator -cert c", local.ExitUsage, "-cert and -key go together"},
		{"coordinator -ca c", local.ExitUsage, "-cert and -key are missing"},
		{"coordinator -cert /no/c -key /no/k", local.ExitFailed, "/no/c"},
		{"coordinator -secret-file /no/s", local.ExitFailed, "-secret-file"},
		{"coordinator -secret-file " + empty, local.ExitFailed, "nothing in it"},
		{"coordinator -root /no/dir", local.ExitFailed, "-root"},
		{"coordinator -root " + empty, local.ExitFailed, "not a directory"},
		{"coordinator -listen 127.0.0.1:x", local.ExitFailed, "127.0.0.1:x"},
		{"worker", local.ExitUsage, "-coordinator is missing"},
		{"worker -coordinator a:1 -only mapping", local.ExitUsage, "-only is \"mapping\""},
		{"worker -coordinator a:1 -labels a,,b", local.ExitFailed, "WorkerConfig.Labels"},
		{"worker -coordinator a:1 -slots -1", local.ExitUsage, "-slots is -1"},
		{"worker -coordinator a:1 -memory 0", local.ExitUsage, "-memory is 0"},
		{"worker -coordinator a:1 -memory 1 -slots 1", local.ExitFailed, "WorkerConfig.Memory"},
		{"submit", local.ExitUsage, "name of a job is missing"},
		{"submit count x", local.ExitUsage, `no job "count"`},
		{"submit wordcount", local.ExitUsage, "patterns of the input are missing"},
		{"submit wordcount x", local.ExitUsage, "-output is missing"},
		{"submit -output o wordcount x", local.ExitUsage, "-coordinator is missing"},
		{"submit -output o -reduce 0 wordcount x", local.ExitUsage, "-reduce is 0"},
		{"submit -output o -reduce-after 101 wordcount x", local.ExitUsage, "-reduce-after is 101"},
		{"submit -output o -resubmits -1 wordcount x", local.ExitUsage, "-resubmits is -1"},
		{"submit -output o -arg pattern grep x", local.ExitUsage, "name=value"},
		{"submit -output o grep x", local.ExitUsage, "needs -arg pattern"},
		{"submit -output o -skip 1001 wordcount x", local.ExitUsage, "-skip is 1001"},
		{"submit -output o -attempts 0 wordcount x", local.ExitUsage, "-attempts is 0"},
		{"submit wordcount -output o -reduce -1 x", local.ExitUsage, "-reduce is -1"},
		{"submit wordcount -output o -frobnicate x", local.ExitUsage, "frobnicate"},
		{"submit streaming -output o x", local.ExitUsage, "needs -mapper"},
		{"submit streaming -output o -mapper cat x", local.ExitUsage, "needs -reducer"},
		{"submit streaming -output o -mapper cat -reducer cat -key-fields -1 x", local.ExitUsage, "-key-fields is -1"},
		{"submit wordcount -output o -mapper cat x", local.ExitUsage, "flags of the job streaming"},
		{"submit terasort -output o -coordinator 127.0.0.1:1 -reduce 2 -root /no/dir x", local.ExitFailed, "-root"},
		{"submit terasort -output o -coordinator 127.0.0.1:1 -reduce 2 no/such/file", local.ExitFailed, "matches no file"},
		{"submit -output ../o -coordinator 127.0.0.1:1 wordcount x", local.ExitFailed, "Spec.Output"},
		{"submit -output o -coordinator 127.0.0.1:1 -ca " + empty + " wordcount x", local.ExitFailed, "holds no certificate"},
		{"status -coordinator 127.0.0.1:1 one", local.ExitUsage, `"one" is not the number of a job`},
		{"status -coordinator 127.0.0.1:1 1 2", local.ExitUsage, `unexpected argument "2"`},
		{"status -coordinator 127.0.0.1:1 -timeout 100ms", local.ExitFailed, "127.0.0.1:1"},
		{"cancel -coordinator 127.0.0.1:1", local.ExitUsage, "number of the job is missing"},
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
	for _, v := range fsRole().verbs {
		status, about, stderr := invoke(t, "help", "fs", v.name)
		if status != 0 || stderr != "" || !strings.Contains(about, "Usage: trilith fs "+v.name) || !strings.Contains(about, masterEnv) {
			t.Errorf("help fs %s: status %d, %q, %s", v.name, status, stderr, about)
		}
		if _, same, _ := invoke(t, "fs", v.name, "-help"); same != about {
			t.Errorf("fs %s -help says\n%s\nhelp fs %s says\n%s", v.name, same, v.name, about)
		}
	}
	if status, about, stderr := invoke(t, "submit", "wordcount", "-help"); status != 0 || stderr != "" || !strings.Contains(about, "Usage: trilith submit") {
		t.Errorf("submit wordcount -help: status %d, %q, %s", status, stderr, about)
	}
	if _, about, _ := invoke(t, "help", "submit"); !strings.Contains(about, "needs -arg pattern=") {
		t.Errorf("help submit does not list the jobs:\n%s", about)
	}
}
