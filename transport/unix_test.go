package transport_test

import (
	"path/filepath"
	"testing"
)

// TestUnix runs the suite of ExampleTransport case by case, where there are unix
// sockets.
func TestUnix(t *testing.T) {
	if l, err := (Unix{}).Listen(t.Context(), filepath.Join(t.TempDir(), "s")); err != nil {
		t.Skipf("no unix sockets here: %v", err)
	} else {
		l.Close()
	}
	testUnix(t)
}
