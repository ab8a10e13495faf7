//lint:bubble
package gfs

import (
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// For as long as a lease of an earlier master may be in force, which this one does not
// know of, how long a file is is asked of its replicas.
func TestStatAfterATakeOver(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		core, err := newCoreProbe()
		if err != nil {
			t.Fatal(err)
		}
		p := core.(*coreProbe)
		p.fleet.begin(time.Now(), 1, nil)
		for _, name := range []string{"f", "lost"} {
			if err := p.Create(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.AddChunk("f"); err != nil { // its version is of no epoch
			t.Fatal(err)
		}
		if err := p.Report(2); err != nil {
			t.Fatal(err)
		}
		if err := p.AddChunk("lost"); err != nil {
			t.Fatal(err)
		}
		m := &Master{cfg: MasterConfig{ChunkSize: DefaultChunkSize}, state: p.state, fleet: p.fleet, log: standbyLog{}}
		stat := func(name string) attributes {
			a, err := m.state.stat(probeHeader.who, name)
			if err != nil {
				t.Fatal(err)
			}
			m.measure(&a)
			return a
		}
		if a := stat("f"); !a.open || len(a.last.where) != 2 || a.last.version != 1 {
			t.Errorf("in the first lease: open %v, last chunk %+v", a.open, a.last)
		}
		if !p.fleet.settled() {
			t.Error("the fleet is not complete")
		}
		if a := stat("lost"); a.open {
			t.Error("a file whose chunk nobody has is taken to grow")
		}
		time.Sleep(2 * DefaultLease)
		if a := stat("f"); a.open || a.size != 1 {
			t.Errorf("later: open %v, %d bytes", a.open, a.size)
		}
	})
}
