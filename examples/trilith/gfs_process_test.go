package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
)

// writeTree writes a directory of files of many sizes, one of them empty, and an empty
// directory.
func writeTree(t *testing.T, root string) {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{1})
	for name, size := range map[string]int{
		"empty": 0, "one": 1, "small": 5000, "deep/er/block": 64 << 10, "deep/chunk": 256 << 10, "deep/er/large": 3<<20 + 17, "deep/name with [*] blanks": 300_000,
	} {
		b := make([]byte, size)
		_, _ = rng.Read(b)
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "nothing"), 0o777); err != nil {
		t.Fatal(err)
	}
}

// tree returns what is in a directory: paths, and what is in the files.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(root, name)
		if err != nil || rerr != nil || e.IsDir() {
			all[rel] = "directory"
			return err
		}
		all[rel] = "file " + readFile(t, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sameTree checks that two directories have the same in them.
func sameTree(t *testing.T, got, want string) {
	t.Helper()
	have, wanted := tree(t, got), tree(t, want)
	for name, content := range wanted {
		if have[name] != content {
			t.Errorf("%s is not what it was: %d bytes, %d were there", name, len(have[name]), len(content))
		}
	}
	if len(have) != len(wanted) {
		t.Errorf("there are %d files and directories, want %d", len(have), len(wanted))
	}
}

// fsTest calls the verbs of fs.
type fsTest struct {
	t      *testing.T
	common []string
}

// try calls a verb.
func (f *fsTest) try(verb string, args ...string) (status int, stdout, stderr string) {
	f.t.Helper()
	return invoke(f.t, slices.Concat([]string{"fs", verb}, f.common, args)...)
}

// do calls a verb that must succeed, and returns what it prints.
func (f *fsTest) do(verb string, args ...string) string {
	f.t.Helper()
	status, stdout, stderr := f.try(verb, args...)
	if status != 0 || stderr != "" {
		f.t.Fatalf("fs %s %q: status %d, %s%s", verb, args, status, stdout, stderr)
	}
	return stdout
}

// fails calls a verb that must fail, and say why.
func (f *fsTest) fails(says, verb string, args ...string) {
	f.t.Helper()
	if status, stdout, stderr := f.try(verb, args...); status != local.ExitFailed || !strings.Contains(stderr, says) {
		f.t.Errorf("fs %s %q: status %d, %s%s; want %q", verb, args, status, stdout, stderr, says)
	}
}

// says checks that a text has all parts in it.
func (f *fsTest) says(text string, parts ...string) {
	f.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			f.t.Errorf("there is no %q in\n%s", part, text)
		}
	}
}

// fetch returns a page.
func fetch(t *testing.T, url string) string {
	t.Helper()
	page, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// next returns the address in the next line that a process prints.
func (p *process) next(before string) string {
	p.t.Helper()
	line, err := p.stdout.ReadString('\n')
	_, at, ok := strings.Cut(strings.TrimSpace(line), before)
	if err != nil || !ok {
		p.t.Fatalf("printed %q, %v, want %q in it", line, err, before)
	}
	return at
}

// What README.md shows: a master, a shadow and four chunkservers; a directory is copied
// in, a chunkserver is killed and its disk is lost, everything is read back, and is
// replicated anew. Then the master is killed, a shadow answers in its place, and it comes
// back with everything from its journal.
func TestGFSProcesses(t *testing.T) {
	t.Parallel()
	dir, in := t.TempDir(), filepath.Join(t.TempDir(), "in")
	writeTree(t, in)
	lead := func(listen string) *process {
		return start(t, "master", "-listen", listen, "-journal", filepath.Join(dir, "master"), "-chunk", "256", "-server-timeout", "1s", "-lease", "2s", "-status", "127.0.0.1:0")
	}
	master := lead(testutil.FreeAddrs(t, 1)[0])
	page := master.next("page at ")
	shadow := start(t, "shadow", "-listen", "127.0.0.1:0", "-master", master.addr, "-chunk", "256")
	var servers []*process
	for i := range 4 {
		servers = append(servers, start(t, "chunkserver", "-master", master.addr+","+shadow.addr, "-dir", filepath.Join(dir, fmt.Sprint(i)), "-rack", fmt.Sprint("r", i%2), "-capacity", "256"))
	}
	f := &fsTest{t, []string{"-master", master.addr}}
	testutil.Eventually(t, time.Minute, func() bool { return strings.Count(f.do("servers"), "alive") == 4 }, "all chunkservers have registered")

	f.says(f.do("put", in, "/data"), "put: 7 files, 3.")
	f.says(f.do("ls", "-r"), "data/\n", "data/deep/er/large\n", "data/nothing/\n")
	testutil.Eventually(t, time.Minute, func() bool { return strings.Contains(f.do("du", "data"), "3778426") }, "the master has heard how long the chunks are")
	f.says(f.do("stat", "-where", "data/deep/er/large"), "3145745 bytes in 13 chunks of 3 replicas", "chunk 12: 127.0.0.1")
	f.says(f.do("fsck", "-wait", "2m"), "7 files, 19 chunks: 0 short of replicas, 0 with none")

	if code := servers[1].signal(os.Kill); code >= 0 {
		t.Errorf("a killed chunkserver exited with %d", code)
	}
	if err := os.RemoveAll(filepath.Join(dir, "1")); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	f.do("get", "data", out)
	sameTree(t, out, in)
	testutil.Eventually(t, time.Minute, func() bool { return strings.Contains(f.do("servers"), "dead") }, "the chunkserver is given up for dead")
	f.says(f.do("fsck", "-wait", "2m"), "19 chunks: 0 short of replicas")
	f.says(fetch(t, page), "gfs at "+master.addr, `class="tag bad">dead`, "is given up for dead")

	if code := master.signal(os.Kill); code >= 0 {
		t.Errorf("a killed master exited with %d", code)
	}
	shadowed := &fsTest{t, append(f.common, "-shadow", shadow.addr)}
	f.says(shadowed.do("ls", "data"), "data/deep/\n", "data/small\n")
	if got := shadowed.do("cat", "data/deep/er/large"); got != readFile(t, in, "deep/er/large") {
		t.Error("while the master is down, a file is not what it was")
	}
	master = lead(master.addr)
	again := filepath.Join(t.TempDir(), "out")
	f.do("get", "/", again)
	sameTree(t, filepath.Join(again, "data"), in)
	f.do("put", filepath.Join(in, "small"), "later")
	f.says(f.do("fsck", "-wait", "2m"), "8 files, 20 chunks: 0 short of replicas")

	if code := servers[0].signal(syscall.SIGTERM); code != 0 {
		t.Errorf("a chunkserver exited with %d after SIGTERM: %s", code, servers[0].stderr.String())
	}
	if code := master.signal(os.Interrupt); code != 0 {
		t.Errorf("the master exited with %d after SIGINT: %s", code, master.stderr.String())
	}
}

// Every verb of fs, on a cluster in one process, and a job over its files: by the
// coordinator in that process, and by another in processes of their own. The output is
// that of the sequential run.
func TestAllAndItsFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := func(listen string) (*process, string) {
		p := start(t, "all", "-dir", filepath.Join(dir, "all"), "-listen", listen, "-coordinator", "127.0.0.1:0", "-chunk", "256", "-chunkservers", "3", "-replication", "2", "-lease", "2s")
		return p, p.next("coordinator at ")
	}
	cluster, coordinator := all(testutil.FreeAddrs(t, 1)[0])
	f := &fsTest{t, []string{"-master", cluster.addr}}
	testutil.Eventually(t, time.Minute, func() bool { return strings.Count(f.do("servers"), "alive") == 3 }, "all chunkservers have registered")

	t.Run("names", func(t *testing.T) { testNames(&fsTest{t, f.common}, dir) })
	t.Run("copies", func(t *testing.T) { testCopies(&fsTest{t, f.common}, dir) })
	t.Run("administration", func(t *testing.T) { testAdministration(&fsTest{t, f.common}) })

	t.Run("jobs", func(t *testing.T) {
		f := &fsTest{t, f.common}
		root := filepath.Join(dir, "root")
		if err := os.MkdirAll(filepath.Join(root, "texts"), 0o777); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			text := strings.Repeat(fmt.Sprintf("so much depends upon a red wheel barrow %d glazed with rain\n", i), 8000)
			if err := os.WriteFile(filepath.Join(root, "texts", fmt.Sprint(i)), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		for name, job := range map[string]mapreduce.Definition{"wordcount": jobs.WordCount, "index": jobs.Index} {
			spec := mapreduce.Spec{Input: []string{"texts"}, Output: "oracle-" + name, Reduces: 2}
			if _, err := mapreduce.RunSequential(t.Context(), job, spec, mapreduce.RunConfig{FileSystem: mapreduce.Dir(root)}); err != nil {
				t.Fatal(err)
			}
		}
		f.do("put", filepath.Join(root, "texts"), "texts")
		apart := start(t, "coordinator", "-listen", "127.0.0.1:0", "-gfs", cluster.addr)
		start(t, "worker", "-coordinator", apart.addr, "-gfs", cluster.addr, "-scratch", t.TempDir())
		for _, c := range []struct{ job, coordinator string }{{"wordcount", coordinator}, {"index", apart.addr}} {
			status, stdout, stderr := invoke(t, "submit", "-coordinator", c.coordinator, "-output", "out/"+c.job, "-reduce", "2", c.job, "texts")
			if status != 0 {
				t.Fatalf("submit %s: status %d, %s%s", c.job, status, stdout, stderr)
			}
			for _, part := range []string{"part-00000", "part-00001"} {
				if got, want := f.do("cat", "out/"+c.job+"/"+part), readFile(t, root, "oracle-"+c.job, part); got != want || want == "" {
					t.Errorf("%s of %s is %.100q, that of the sequential run %.100q", part, c.job, got, want)
				}
			}
		}
	})

	before := f.do("cat", "out/wordcount/*")
	if code := cluster.signal(os.Kill); code >= 0 {
		t.Errorf("a killed process exited with %d", code)
	}
	cluster, _ = all(cluster.addr)
	if got := f.do("cat", "out/wordcount/*"); got != before {
		t.Errorf("after kill -9 the output is %.100q, not %.100q", got, before)
	}
	if code := cluster.signal(os.Interrupt); code != 0 {
		t.Errorf("all exited with %d after SIGINT: %s", code, cluster.stderr.String())
	}
}

func testNames(f *fsTest, dir string) {
	hello := filepath.Join(dir, "hello")
	if err := os.WriteFile(hello, []byte("hello\n"), 0o666); err != nil {
		f.t.Fatal(err)
	}
	f.do("mkdir", "-p", "/names/sub")
	f.fails("file does not exist", "mkdir", "no/such/dir")
	f.do("put", hello, "names")
	f.fails("exist", "put", hello, "names/")
	f.do("snapshot", "names/hello", "names/sub")
	f.do("mv", "names/hello", "names/bye")
	f.fails("exist", "mv", "names/bye", "names/sub/hello")
	f.fails("names/hello", "cat", "names/hello")
	if got := f.do("ls", "names", "-r"); got != "names/bye\nnames/sub/\nnames/sub/hello\n" {
		f.t.Errorf("ls -r: %q", got)
	}
	if got := f.do("cat", "names/b*", "names/**/h?llo", "-timeout", "20s"); got != "hello\nhello\n" {
		f.t.Error("patterns match nothing")
	}
	f.fails("nothing matches", "rm", "names/x*")
	f.fails("not empty", "rm", "names/sub")
	f.do("rm", "names/bye")
	f.says(f.do("ls", "-l", "-deleted", "names"), "names/", "bye", "removed ")
	f.says(f.do("undelete", "names/bye"), "names/bye\n")
	f.do("rm", "-r", "names/sub")
	f.fails("names/sub", "stat", "names/sub")
	f.says(f.do("undelete", "names/sub", "names/back"), "names/back\n")
	if got := f.do("cat", "names/back/hello", "names/bye"); got != "hello\nhello\n" {
		f.t.Errorf("cat: %q", got)
	}
	f.do("chown", "ann:staff", "names/bye")
	f.do("chmod", "600", "names/bye")
	f.says(f.do("ls", "-l", "names/bye"), "-rw-------", "ann", "staff")
	f.fails("permission", "cat", "-user", "ben", "names/bye")
	if got := f.do("cat", "-user", "ann", "names/bye"); got != "hello\n" {
		f.t.Errorf("cat: %q", got)
	}
	f.fails("permission", "rm", "-user", "ben", "names/bye")
}

func testCopies(f *fsTest, dir string) {
	in := filepath.Join(dir, "in")
	writeTree(f.t, in)
	f.do("mkdir", "copies")
	f.do("put", in, filepath.Join(in, "small"), "copies") // in, and a file beside it
	f.fails("exist", "put", in, "copies")
	f.do("put", "-f", "-parallel", "1", "-replication", "1", in, "copies")
	f.says(f.do("stat", "copies/in/small"), "5000 bytes in 1 chunks of 1 replicas")
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o777); err != nil {
		f.t.Fatal(err)
	}
	f.do("get", "copies/*", out)
	sameTree(f.t, filepath.Join(out, "in"), in)
	f.fails("exist", "get", "copies/small", out)
	f.do("get", "-f", "copies/small", out)
	f.fails("not a directory", "get", "copies/*", filepath.Join(out, "none"))
	f.fails("no such file", "put", filepath.Join(in, "none"), "copies")
	if got := f.do("cat", "copies/in/deep/name with [*] blanks"); got != readFile(f.t, in, "deep", "name with [*] blanks") {
		f.t.Errorf("a file whose name looks like a pattern: %d bytes", len(got))
	}

	lines := filepath.Join(dir, "lines")
	text := strings.Repeat("a line\n", 20_000) // in several pieces
	if err := os.WriteFile(lines, []byte(text), 0o666); err != nil {
		f.t.Fatal(err)
	}
	f.says(f.do("append", "copies/log", lines), "bytes at 0\n")
	if got := f.do("cat", "copies/log"); strings.Count(got, "a line\n") < 20_000 || strings.Trim(got, "aline \n\x00") != "" {
		f.t.Errorf("the log has %d bytes, and %d lines", len(got), strings.Count(got, "\n"))
	}
	if got := f.do("append", "-records", "copies/records", lines); got != "20000 records\n" {
		f.t.Errorf("append -records: %q", got)
	}
	if got := f.do("cat", "-records", "copies/records"); got != text {
		f.t.Errorf("the records are %d bytes, want %d", len(got), len(text))
	}
}

func testAdministration(f *fsTest) {
	f.do("setrep", "3", "copies/in")
	f.do("fsck", "-wait", "2m", "copies/in")
	f.says(f.do("stat", "copies/in/small"), "of 3 replicas")
	f.do("setrep", "1", "copies/in")
	f.says(f.do("policy", "-max-files", "100", "-retention", "1h", "copies"), "retention 1h0m0s, at most 100 files")
	f.says(f.do("policy", "copies"), "retention 1h0m0s, at most 100 files")
	f.says(f.do("rebalance", "-wait", "2m"), "use of those that take replicas", "0 replicas are being moved, 0 repaired")
	f.says(f.do("drain", "-wait", "2m", "1"), "chunkserver 1 is being drained: 0 replicas left")
	f.says(f.do("servers"), "draining")
	f.do("drain", "-stop", "1")
	if got := f.do("servers"); strings.Contains(got, "draining") {
		f.t.Error(got)
	}
	f.fails("no chunkserver \"77\"", "drain", "77")
	f.fails("permission", "drain", "-user", "ben", "1")
}

// A gfs with TLS on both sides and a secret, as TestTLSAndSecret has it. Who somebody is
// comes from the certificate.
func TestGFSTLSAndSecret(t *testing.T) {
	keys, others := t.TempDir(), t.TempDir()
	cert, key := writeCertificate(t, keys, "ann")
	otherCert, otherKey := writeCertificate(t, others, "ben")
	secret, ca := filepath.Join(keys, "secret"), filepath.Join(keys, "ca")
	for name, text := range map[string]string{secret: "upright\n", ca: readFile(t, cert) + readFile(t, otherCert)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secure := []string{"-cert", cert, "-key", key, "-ca", ca, "-secret-file", secret, "-cluster", "stones"}
	master := start(t, append([]string{"master", "-listen", "127.0.0.1:0", "-replication", "1", "-superusers", "ann"}, secure...)...)
	start(t, append([]string{"chunkserver", "-master", master.addr, "-dir", t.TempDir()}, secure...)...)
	ann := &fsTest{t, append([]string{"-master", master.addr}, secure...)}
	ann.do("put", secret, "in")
	ann.do("mkdir", "hers")
	if got := ann.do("cat", "in"); got != "upright\n" {
		t.Errorf("cat: %q", got)
	}
	ben := &fsTest{t, append(slices.Clone(ann.common), "-cert", otherCert, "-key", otherKey)}
	ben.do("ls")
	ben.fails("permission", "put", secret, "hers/x")
	ben.fails("does not match the certificate", "ls", "-user", "ann")
	for _, without := range [][]string{
		secure[:0], secure[:6], secure[6:], secure[4:], // neither, no secret, no TLS, no certificate
	} {
		f := &fsTest{t, append([]string{"-master", master.addr, "-timeout", "500ms"}, without...)}
		if status, stdout, _ := f.try("cat", "in"); status != local.ExitFailed || stdout != "" {
			t.Errorf("with %q: status %d, %q", without, status, stdout)
		}
	}
}

// Flags may stand between arguments, up to --.
func TestMixedFlags(t *testing.T) {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	long := f.Bool("l", false, "")
	name := f.String("name", "", "")
	args, err := mixed(f, []string{"a", "-l", "-", "-name", "n", "b", "--", "-l", "c"})
	if err != nil || !*long || *name != "n" || !slices.Equal(args, []string{"a", "-", "b", "-l", "c"}) {
		t.Errorf("%q, -l %v, -name %q, %v", args, *long, *name, err)
	}
	if _, err := mixed(f, []string{"a", "-x"}); err == nil {
		t.Error("a flag that is not there is taken")
	}
}
