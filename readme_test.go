package trilith_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	programBlock = regexp.MustCompile("(?s)```go\n(package main\n.*?)```")
	consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")
)

// TestREADME builds the programs in README.md and replays the sessions that README.md
// shows below them.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs, sessions := programBlock.FindAllSubmatch(text, -1), consoleBlock.FindAllSubmatch(text, -1)
	if len(programs) < 2 || len(sessions) != len(programs) {
		t.Fatalf("README.md has %d programs, and %d sessions that show them", len(programs), len(sessions))
	}
	for i := range programs {
		replay(t, programs[i][1], string(sessions[i][1]))
	}
}

func replay(t *testing.T, program []byte, session string) {
	t.Helper()
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program.exe")
	if err := os.WriteFile(source, program, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var want, got strings.Builder
	for line := range strings.Lines(session) {
		want.WriteString(line)
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
			got.WriteString(line)
			got.WriteString(perform(t, dir, binary, command))
		}
	}
	if got.String() != want.String() {
		t.Errorf("README.md shows\n%s\nbut it is\n%s", want.String(), got.String())
	}
}

// named matches what README.md says is in the tree: the targets of links, and Go
// files and commands by their paths.
var named = regexp.MustCompile("\\]\\(([^):]+)\\)|`([a-z0-9/]+/[a-z0-9_]+\\.go)`|(?:go run|go test) (?:\\./)([a-z0-9/]+)")

// TestREADMENamesWhatExists keeps README.md from drifting away from the tree.
func TestREADMENamesWhatExists(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := named.FindAllStringSubmatch(string(text), -1)
	if len(found) < 20 {
		t.Errorf("only %d names found in README.md", len(found))
	}
	for _, m := range found {
		if name := m[1] + m[2] + m[3]; name != "" {
			if _, err := os.Stat(filepath.FromSlash(name)); err != nil {
				t.Errorf("README.md names %s: %v", name, err)
			}
		}
	}
}

// perform does what one of the commands in README.md does, in dir, and returns what
// it prints.
func perform(t *testing.T, dir, binary, command string) string {
	t.Helper()
	words := strings.Fields(command)
	switch {
	case command == "go run .":
		cmd := exec.Command(binary)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("the program: %v\n%s", err, out)
		}
		return string(out)
	case words[0] == "echo":
		content, name, ok := strings.Cut(strings.TrimPrefix(command, "echo "), " > ")
		if !ok {
			t.Fatalf("%q writes to no file", command)
		}
		content = strings.Trim(content, `"`) + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		return ""
	case words[0] == "cat" && len(words) == 2:
		content, err := os.ReadFile(filepath.Join(dir, words[1]))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	t.Fatalf("README.md has a command that this test does not know: %q", command)
	return ""
}
