package vmft

import (
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// What nobody waits for is kept back for a while, but never for much of the lag that is all
// right; what has an output goes at once.
func TestSentTogether(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		cfg := Config{MaxLag: 50 * time.Millisecond, MaxLagInstructions: 1000}
		f := &flight{l: &leader{n: &Node{cfg: cfg}}, r: &runner{}}
		position := uint64(0)
		enter := func(instructions uint64, outputs ...Output) (now bool) {
			position++
			f.r.told += instructions
			f.r.fresh = outputs
			f.unsent = true
			return f.hold(position)
		}
		f.published()
		if enter(1) || enter(1) {
			t.Error("an entry that nobody waits for goes at once")
		}
		if !enter(1, Output{Number: 1}) {
			t.Error("an output's entry is kept back")
		}
		f.published()
		time.Sleep(cfg.MaxLag/lagSends - 1)
		if enter(1) {
			t.Error("an entry goes early")
		}
		time.Sleep(1)
		if !enter(1) {
			t.Error("an entry is kept back for longer than a part of MaxLag")
		}
		f.published()
		if enter(99) || !enter(1) {
			t.Error("entries are kept back for other than a part of MaxLagInstructions")
		}
		f.published()
		f.l.n.cfg.MaxLag = time.Hour
		time.Sleep(sendEvery - 1)
		if enter(1) {
			t.Error("an entry goes early")
		}
		time.Sleep(1)
		if !enter(1) {
			t.Error("an entry is kept back for too long")
		}
	})
}
