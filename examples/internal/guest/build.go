package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Seed draws a machine's randomness.
func Seed() (s [32]byte, err error) {
	_, err = rand.Read(s[:])
	return s, err
}

// Program reads an executable, or builds one of a Go package. What is named as a file is
// (/a, ./a, ../a) must exist, or be a pattern of the Go tool's.
func Program(ctx context.Context, name string) ([]byte, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && filepath.Ext(name) != ".go" {
		return os.ReadFile(name)
	} else if err != nil && (!filepath.IsLocal(name) || strings.HasPrefix(name, "./")) && !strings.Contains(name, "...") {
		return nil, err
	}
	return compile(ctx, "", name)
}

// compile builds a Go package, seen from a directory.
func compile(ctx context.Context, dir, pkg string) ([]byte, error) {
	temp, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	out := filepath.Join(temp, "guest")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=riscv64", "CGO_ENABLED=0", "GOFLAGS=")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s for riscv64: %v\n%s", pkg, err, bytes.TrimSpace(b))
	}
	elf, err := os.ReadFile(out)
	if err == nil && !bytes.HasPrefix(elf, []byte("\x7fELF")) { // what the Go tool makes of a library
		err = fmt.Errorf("%s is not a main package", pkg)
	}
	return elf, err
}

// Build builds a main package of the files in a directory of what a program embeds.
func Build(ctx context.Context, files embed.FS, dir string) ([]byte, error) {
	temp, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	sources, err := fs.Sub(files, dir)
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(temp, sources); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(temp, "go.mod"), []byte("module guest\n\ngo 1.26\n"), 0o600); err != nil {
		return nil, err
	}
	return compile(ctx, temp, ".")
}
