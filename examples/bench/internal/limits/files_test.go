package limits

import (
	"os"
	"path/filepath"
	"testing"
)

// What is read is as long as the file, and what is written is in three files alike.
func TestFiles(t *testing.T) {
	for _, size := range []int64{0, 1, pipeBytes - 1, 3*pipeBytes + 5} {
		dir := t.TempDir()
		name := filepath.Join(dir, "file")
		if err := WriteDisk(name, size); err != nil {
			t.Fatal(err)
		}
		if n, err := ReadFile(name); n != size || err != nil {
			t.Errorf("%d bytes of %d were read: %v", n, size, err)
		}
		if err := WriteFile(dir, size); err != nil {
			t.Fatal(err)
		}
		for _, hop := range []string{"hop0", "hop1", "hop2"} {
			got, err := os.ReadFile(filepath.Join(dir, hop))
			if err != nil || int64(len(got)) != size {
				t.Errorf("%s has %d bytes of %d: %v", hop, len(got), size, err)
			}
			for i := range got {
				if j := i % pipeBytes; got[i] != byte(j*j>>3) {
					t.Errorf("%s: byte %d is %d", hop, i, got[i])
					break
				}
			}
		}
	}
	if _, err := ReadFile(os.Args[0] + "/nowhere"); err == nil {
		t.Error("no error where there is no file")
	}
}
