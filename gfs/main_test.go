package gfs_test

import (
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

func TestMain(m *testing.M) {
	testutil.RareGC()
	m.Run()
}
