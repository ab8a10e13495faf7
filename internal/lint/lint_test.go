package lint

import (
	"os"
	"testing"
)

// TestTree holds this module to its rules.
func TestTree(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Files) < 10 {
		t.Fatalf("only %d Go files found; is the lint looking at the right tree?", len(tree.Files))
	}
	for _, check := range Checks {
		t.Run(check.Name, func(t *testing.T) {
			for _, f := range sorted(check.Run(tree, &Trilith)) {
				t.Error(f)
			}
		})
	}
}
