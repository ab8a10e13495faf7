package gfs

import (
	"fmt"
	"strings"
	"testing"
)

// TestStateParseKey compares the quick way from a path to its key with checkKey and appendKey.
func TestStateParseKey(t *testing.T) {
	name := strings.Repeat("n", MaxName+hiddenTail)
	paths := []string{
		"", ".", "..", "/", "a", "a/b", "/a", "a/", "a//b", "./a", "a/.", "a/..", "../a", "...", ".a", "a.", "..a/b",
		"a\x00b", "\x00", "a/\x00", name, name + "n", "a/" + name + "n/b", "d/file-0001.deleted.20260301T120000.000000000Z",
		strings.Repeat("a/", maxKey/2-1) + "bc", strings.Repeat("a/", maxKey/2) + "b",
	}
	for _, path := range paths {
		key, long, err := parseKey([]byte("x"), path)
		if want := checkKey(path); fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("%.50q: %v, want %v", path, err, want)
			continue
		}
		if err != nil {
			continue
		}
		want := appendKey([]byte("x"), path)
		if string(key) != string(want) || keyHidden(want[1:]) && !long {
			t.Errorf("%.50q: %.50q, %v, want %.50q", path, key, long, want)
		}
	}
}
