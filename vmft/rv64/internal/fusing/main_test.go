package main

import (
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is in the repository is what go generate makes.
func TestGeneratedIsCurrent(t *testing.T) {
	t.Chdir("../..")
	text, err := os.ReadFile("fused.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, err := readSequences(string(text))
	if err != nil {
		t.Fatal(err)
	}
	ops, err := operations()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files(all, ops) {
		b, err := format.Source([]byte(want))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != string(b) {
			t.Errorf("%s is not what go generate makes: %v", name, err)
		}
	}
}

// The tree leads to every leaf, and to heavy ones early.
func TestTree(t *testing.T) {
	var leaves []leaf
	for i := range 40 {
		weight := 1.0
		if i == 17 {
			weight = 1000
		}
		leaves = append(leaves, leaf{fmt.Sprint(i), weight, func(w *writer) { w.line("leaf %d", i) }, false})
	}
	var w writer
	w.tree(leaves)
	lines := strings.Split(strings.TrimSpace(w.String()), "\n")[1:] // after that which declares o
	for want := range leaves {
		depth, at := 0, 0
		for !strings.HasPrefix(lines[at], "leaf") {
			var bound int
			if _, err := fmt.Sscanf(lines[at], "if o < uint(%d) {", &bound); err != nil {
				t.Fatal(err, lines[at])
			}
			depth++
			at++
			if want < bound {
				continue
			}
			for open := 0; lines[at] != "} else {" || open > 0; at++ {
				switch {
				case strings.HasPrefix(lines[at], "if"):
					open++
				case lines[at] == "}":
					open--
				}
			}
			at++
		}
		if lines[at] != fmt.Sprint("leaf ", want) || want == 17 && depth > 2 {
			t.Errorf("%d leads to %s, by %d comparisons", want, lines[at], depth)
		}
	}
}

// Those are chosen that save the most, as far as those before leave something to save.
func TestChoose(t *testing.T) {
	dir := t.TempDir()
	profile, name := filepath.Join(dir, "profile"), filepath.Join(dir, "fused.txt")
	for file, text := range map[string]string{
		profile: "program p 2\nld=100 addi:a1=100 bne:a1=100 sd=10\ngather=0 ld=50 addi=50 div=40 div:b1=40\nprogram q 1\nadd=7 ret:a1=7\n",
		name:    "# about\n# it\n\n1 addi addi\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := choose(name, profile, 3, 6); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	all, err := readSequences(string(got))
	if err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, s := range fused(all) {
		titles = append(titles, title(s.parts))
	}
	if !strings.HasPrefix(string(got), "# about\n# it\n\n") || strings.Join(titles, ", ") != "add ret:a1, ld addi:a1 bne:a1, ld sum div div:b1" {
		t.Errorf("%s\n%q", got, titles)
	}
}
