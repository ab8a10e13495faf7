package local

import (
	"strings"
	"testing"
	"time"
)

func TestCopying(t *testing.T) {
	c := NewProgress(&strings.Builder{}).Copy("put", 3, 4_000_000) // no terminal: it shows nothing
	_, _ = c.Write(make([]byte, 1_000_000))
	c.File()
	if got, want := c.line(2*time.Second), "put [######                  ]  25 %  files 1/3  1 of 4 MB  0 MB/s  2.0 s"; got != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
	if got := c.End(); !strings.HasPrefix(got, "put: 1 files, 1.0 MB in ") {
		t.Errorf("at the end: %q", got)
	}
}
