package nodes

import (
	"io"
	"os"
	"sync"
)

// Shared returns a writer to w for several goroutines. A file is one already, and stays what
// it is: processes write to it themselves.
func Shared(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		return f
	}
	return &shared{w: w}
}

type shared struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
