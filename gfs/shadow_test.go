package gfs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs/gfstest"
)

// A shadow knows that it is level while the master is never idle (§5.1.3).
//
//lint:bubble
func TestShadowIsLevelUnderLoad(t *testing.T) {
	paper(t, gfstest.Config{Shadows: 1}, func(r *rig) {
		for i := range 200 {
			r.must(r.client.Mkdir(r.ctx, fmt.Sprintf("d%d", i), 0o755))
			time.Sleep(20 * time.Millisecond)
		}
		if lag := r.c.Shadow(0).Lag(); lag > time.Second {
			r.Errorf("it is %v behind", lag)
		}
	})
}
