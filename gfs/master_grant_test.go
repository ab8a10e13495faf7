package gfs_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
)

// A snapshot of what is not there is refused for good, and at once.
func TestSnapshotOfNothing(t *testing.T) {
	paper(t, gfstest.Config{}, func(r *rig) {
		start := time.Now()
		if err := r.client.Snapshot(r.ctx, "nothing", "copy"); !errors.Is(err, fs.ErrNotExist) {
			r.Errorf("the error is %v", err)
		}
		if took := time.Since(start); took > time.Second {
			r.Errorf("it was tried for %v", took)
		}
	})
}

// The first replica goes to the machine of whoever writes.
func TestFirstReplicaIsNear(t *testing.T) {
	paper(t, gfstest.Config{Chunkservers: 4, Master: gfs.MasterConfig{Replication: 1}}, func(r *rig) {
		for _, host := range []string{"chunk2", "chunk3"} {
			c, err := gfs.Dial(r.ctx, gfs.ClientConfig{Transport: r.c.Network().Host(host), Masters: []string{r.c.MasterAddr()}})
			r.must(err)
			r.must(c.WriteFile(r.ctx, "of-"+host, random(1, 100), 0o644))
			where, err := c.Locate(r.ctx, "of-"+host, 0, 100)
			r.must(err)
			if len(where) != 1 || where[0] != host {
				r.Errorf("a file written on %s is on %v", host, where)
			}
			r.must(c.Close())
		}
	})
}
