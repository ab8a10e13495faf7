//go:build unix

package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/transport"
)

// The gfs of the shared disk loses its master and its chunkservers, power and disks, while
// one primary after the other is killed: the program is not told of it. Its files are there
// for the next machine.
func TestGFSInTrouble(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	c := gfstest.Start(t, gfstest.Config{
		Chunkservers: 4,
		Transport:    func(string) (transport.Transport, string) { return transport.TCP{}, "127.0.0.1:0" },
		// A dead server is noticed soon, and the lease of a primary is over soon.
		Master: gfs.MasterConfig{Heartbeat: 200 * time.Millisecond, ServerTimeout: time.Second, Lease: time.Second, Retention: -1},
	})
	shared := " -shared gfs:" + c.MasterAddr() + "/disk"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs screen
	ended := make(chan int, 1)
	go func() {
		args := strings.Fields("-memory -forward 127.0.0.1:0 -chaos 500ms -for 10m -reads backup" + shared)
		ended <- run(ctx, args, strings.NewReader(""), &out, &errs)
	}()
	// A new term makes new files: without a master there is no end of a fail-over.
	for i, trouble := range []struct{ begin, end func() }{
		{func() { c.KillChunkserver(0) }, func() { c.StartChunkserver(0) }},
		{func() { c.KillMaster(); c.StartMaster() }, func() {}},
		{func() { c.CrashChunkserver(1); c.WipeChunkserver(1) }, func() { c.StartChunkserver(1); c.Heal() }},
		{func() { c.CrashChunkserver(2); c.CrashMaster(); c.StartMaster() }, func() { c.StartChunkserver(2); c.Heal() }},
	} {
		out.await(t, 0, fmt.Sprintf("fail-over %d: ", i+1))
		trouble.begin()
		out.await(t, 0, fmt.Sprintf("(?s)fail-over %d: .*a client saw a pause", i+1))
		trouble.end()
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Fatalf("status %d: %s\n%s", status, &errs, &out)
	}
	before := counter(t, out.String())
	if check, err := c.Client().Fsck(t.Context(), "."); err != nil || len(check.Faults) > 0 {
		t.Errorf("%v, %v", check, err)
	}
	if n, text := counted(t, "-for 100ms"+shared); n <= before || !strings.Contains(text, "the guest has 1 counters") {
		t.Errorf("the counter is at %d, after %d:\n%s", n, before, text)
	}
}
