package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed guest/main.go
var guestSource []byte

// seed draws the guest's randomness.
func seed() (s [32]byte, err error) {
	_, err = rand.Read(s[:])
	return s, err
}

// program reads an executable, or builds one of a Go package.
func program(ctx context.Context, name string) ([]byte, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && filepath.Ext(name) != ".go" {
		return os.ReadFile(name)
	} else if err != nil && filepath.IsAbs(name) {
		return nil, err
	}
	return compile(ctx, "", name)
}

// compile builds a Go package, seen from a directory, for the machine.
func compile(ctx context.Context, dir, pkg string) ([]byte, error) {
	temp, err := os.MkdirTemp("", "rv64")
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

// compileGuest builds the guest that is shipped with the example.
func compileGuest(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "rv64")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), guestSource, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module guest\n\ngo 1.26\n"), 0o600); err != nil {
		return nil, err
	}
	return compile(ctx, dir, ".")
}
