package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
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

// This file runs real processes over TCP: this test binary, as the program.

// process is one that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr testutil.Text
	stdout *bufio.Reader
	addr   string // that it has printed
}

// start starts a process of a role that serves, and waits until it says where.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), roleEnv+"=1")
	p.cmd.Stderr = &p.stderr
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	p.stdout = bufio.NewReader(stdout)
	line, err := p.stdout.ReadString('\n')
	role, addr, ok := strings.Cut(strings.TrimSpace(line), " at ")
	if err != nil || !ok || role != args[0] {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		t.Fatalf("trilith %s printed %q, %v, %s", args, line, err, p.stderr.String())
	}
	p.addr = addr
	return p
}

// signal sends a signal and waits for the end. It returns the exit status, which is
// negative if the signal was the end.
func (p *process) signal(s os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait() // the status tells
	return p.cmd.ProcessState.ExitCode()
}

// writeInput writes files for a job that takes a while, and returns what the output
// must be.
func writeInput(t *testing.T, root string) (want string) {
	t.Helper()
	text := strings.Repeat(strings.Repeat("so much depends upon a red wheel barrow\n", 100_000)+"glazed\n", 2)
	if err := os.Mkdir(filepath.Join(root, "in"), 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(root, "in", fmt.Sprint(i)), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	spec := mapreduce.Spec{Input: []string{"in"}, Output: "oracle"}
	if _, err := mapreduce.Run(t.Context(), jobs.WordCount, spec, mapreduce.RunConfig{FileSystem: mapreduce.Dir(root)}); err != nil {
		t.Fatal(err)
	}
	return readFile(t, root, "oracle/part-00000")
}

func readFile(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Programs are run where that is allowed, as the command line says; records are
// sorted by ranges that a sample gives.
func TestSubmitsProgramsAndSorts(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "in"), []byte("two-b one-a two-a bad x\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	var records []byte
	for i := range 3000 {
		records = fmt.Appendf(records, "%010d%090d", i*1777%3000, i)
	}
	if err := os.WriteFile(filepath.Join(root, "records"), records, 0o666); err != nil {
		t.Fatal(err)
	}
	coordinator := start(t, "coordinator", "-listen", "127.0.0.1:0", "-root", root, "-programs")
	at := []string{"-coordinator", coordinator.addr}
	start(t, append([]string{"worker", "-root", root, "-programs"}, at...)...)
	submit := func(job string, args ...string) (int, string) {
		t.Helper()
		status, stdout, stderr := invoke(t, slices.Concat([]string{"submit", job}, at, args)...)
		if status != 0 && stderr == "" {
			t.Errorf("submit %s: status %d: %s", job, status, stdout)
		}
		return status, stderr
	}
	if status, stderr := submit("streaming", "-output", "out", "-mapper", `tr -s " " "\n"`, "-reducer", `sh -c "cat; exit 1"`, "-combiner", "uniq",
		"-separator", "-", "-key-fields", "2", "-partition-fields", "1", "-per-file", "-any-status", "in"); status != 0 {
		t.Fatal(stderr)
	}
	if got := readFile(t, root, "out", "part-00000"); got != "bad\none-a\ntwo-a\ntwo-b\nx\n" {
		t.Errorf("the output is %q", got)
	}
	if status, stderr := submit("streaming", "-output", "none", "-mapper", "no-such-program", "-reducer", "NONE", "in"); status != local.ExitFailed || !strings.Contains(stderr, "no-such-program") {
		t.Errorf("a program that is not there: status %d, %s", status, stderr)
	}
	if status, stderr := submit("streaming", "-output", "none", "-attempts", "1", "-mapper", `sh -c "echo alas >&2; exit 3"`, "-reducer", "NONE", "in"); status != local.ExitFailed || !strings.Contains(stderr, "alas") {
		t.Errorf("a program that fails: status %d, %s", status, stderr)
	}
	if status, stderr := submit("terasort", "-output", "sorted", "-root", root, "-reduce", "3", "records"); status != 0 {
		t.Fatal(stderr)
	}
	last := ""
	for part := range 3 {
		content := readFile(t, root, "sorted", fmt.Sprintf("part-%05d", part))
		if len(content) < 50_000 {
			t.Errorf("part %d has %d bytes", part, len(content))
		}
		for record := range slices.Chunk([]byte(content), jobs.RecordBytes) {
			if key := string(record[:jobs.KeyBytes]); key <= last {
				t.Fatalf("%s comes after %s", key, last)
			} else {
				last = key
			}
		}
	}

	careful := start(t, "coordinator", "-listen", "127.0.0.1:0", "-root", root)
	at = []string{"-coordinator", careful.addr}
	if status, stderr := submit("streaming", "-output", "none", "-mapper", "cat", "-reducer", "NONE", "in"); status != local.ExitFailed || !strings.Contains(stderr, `"streaming"`) || !strings.Contains(stderr, "with -programs") {
		t.Errorf("programs are not allowed: status %d, %s", status, stderr)
	}
}

// What README.md shows: a coordinator and workers, a job, and a worker that is
// killed. Then the coordinator is killed too, and goes on from its journal; the
// last worker is asked to end, and does so in good order.
func TestProcesses(t *testing.T) {
	root := t.TempDir()
	want := writeInput(t, root)
	journal := filepath.Join(t.TempDir(), "journal")
	coordinate := func(listen string) *process {
		return start(t, "coordinator", "-listen", listen, "-root", root, "-journal", journal, "-worker-timeout", "1s", "-status", "127.0.0.1:0")
	}
	coordinator := coordinate(testutil.FreeAddrs(t, 1)[0])
	at := []string{"-coordinator", coordinator.addr}
	work := func() *process {
		return start(t, append([]string{"worker", "-root", root, "-slots", "1", "-scratch", t.TempDir()}, at...)...)
	}
	killed, kept := work(), work()

	status, stdout, stderr := invoke(t, append(append([]string{"submit"}, at...), "-output", "out", "-split", "1", "-detach", "wordcount", "in")...)
	if status != 0 || stdout != "job 1\n" {
		t.Fatalf("submit: status %d, %q, %s", status, stdout, stderr)
	}
	ask := func() string {
		t.Helper()
		status, stdout, stderr := invoke(t, append(append([]string{"status"}, at...), "1")...)
		if status != 0 {
			t.Fatalf("status: %d, %s", status, stderr)
		}
		return stdout
	}
	testutil.Eventually(t, time.Minute, func() bool { return !strings.Contains(ask(), "maps 0/") }, "a map has completed")
	if code := killed.signal(os.Kill); code >= 0 {
		t.Errorf("a killed worker exited with %d", code)
	}
	if code := coordinator.signal(os.Kill); code >= 0 {
		t.Errorf("a killed coordinator exited with %d", code)
	}
	coordinator = coordinate(coordinator.addr)
	testutil.Eventually(t, time.Minute, func() bool { return strings.Contains(ask(), "succeeded") }, "the job has succeeded")
	if got := readFile(t, root, "out/part-00000"); got != want {
		t.Errorf("the output is %q, want %q", got, want)
	}
	if got := ask(); !strings.Contains(got, "  map.records.in\n") || !strings.Contains(got, "  reduce.keys.in\n") {
		t.Errorf("the status has no counters: %q", got)
	}

	line, err := coordinator.stdout.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	page, err := http.Get(strings.TrimSpace(line[strings.Index(line, "http"):]))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(page.Body)
	if err := errors.Join(err, page.Body.Close()); err != nil || !strings.Contains(string(text), "wordcount") {
		t.Errorf("the status page: %v, %.1000s", err, text)
	}

	status, _, stderr = invoke(t, append(append([]string{"submit"}, at...), "-output", "out", "wordcount", "in")...)
	if status != local.ExitFailed || !strings.Contains(stderr, "not empty") {
		t.Errorf("submit with an output that is there: status %d, %s", status, stderr)
	}
	status, stdout, stderr = invoke(t, append(append([]string{"submit"}, at...), "-output", "lines", "-arg", "pattern=^glazed$", "grep", "in/1")...)
	if status != 0 || !strings.Contains(stdout, "succeeded") || !strings.Contains(readFile(t, root, "lines/part-00000"), "in/1:4000000\tglazed\n") {
		t.Errorf("submit grep: status %d, %s%s", status, stdout, stderr)
	}
	if status, _, stderr := invoke(t, append(append([]string{"cancel"}, at...), "77")...); status != local.ExitFailed || !strings.Contains(stderr, "unknown job") {
		t.Errorf("cancel of no job: status %d, %s", status, stderr)
	}
	if code := kept.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("a worker that nobody needs exited with %d after SIGTERM: %s", code, kept.stderr.String())
	}
	if code := coordinator.signal(os.Interrupt); code != 0 {
		t.Errorf("the coordinator exited with %d after SIGINT: %s", code, coordinator.stderr.String())
	}
}

// A cluster with TLS on both sides and a secret: who lacks one of them is refused.
func TestTLSAndSecret(t *testing.T) {
	root, keys := t.TempDir(), t.TempDir()
	cert, key := writeCertificate(t, keys, "")
	secret := filepath.Join(keys, "secret")
	if err := os.WriteFile(secret, []byte("upright\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "in"), []byte("a rose is a rose\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	secure := []string{"-cert", cert, "-key", key, "-ca", cert, "-secret-file", secret, "-cluster", "stones"}
	coordinator := start(t, append([]string{"coordinator", "-listen", "127.0.0.1:0", "-root", root}, secure...)...)
	at := []string{"-coordinator", coordinator.addr}
	start(t, append(append([]string{"worker", "-root", root}, at...), secure...)...)
	status, stdout, stderr := invoke(t, append(append(append([]string{"submit"}, at...), secure...), "-output", "out", "index", "in")...)
	if status != 0 || readFile(t, root, "out/part-00000") != "a\tin\nis\tin\nrose\tin\n" {
		t.Errorf("submit: status %d, %s%s", status, stdout, stderr)
	}
	for _, without := range [][]string{
		secure[:0], secure[:6], secure[6:], secure[4:], // neither, no secret, no TLS, no certificate
	} {
		args := append(append([]string{"status", "-timeout", "500ms"}, at...), without...)
		if status, stdout, _ := invoke(t, args...); status != local.ExitFailed || stdout != "" {
			t.Errorf("trilith %q: status %d, %q", args, status, stdout)
		}
	}
}

// writeCertificate writes a certificate of somebody that signs itself, and its key.
func writeCertificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}
