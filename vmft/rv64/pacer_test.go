package rv64

import (
	"encoding/binary"
	"testing"
	"time"
)

// What was faster in most pairs of turns is used until the next trial; trials become rare.
func TestPacer(t *testing.T) {
	var p pacer
	trial := func(table, tree time.Duration) {
		t.Helper()
		for i := range 2 * trialPairs {
			if p.wait != 0 {
				t.Fatalf("the trial is over after %d turns", i)
			}
			p.count, p.spent = turnLength, table
			if p.turns%2 == 1 {
				p.spent = tree
			}
			if i < 4 { // and a busy host now and then
				p.spent *= 100
			}
			p.turn()
		}
	}
	last := uint64(0)
	for i := range 20 {
		table, tree := 3*time.Millisecond, 2*time.Millisecond
		if i%3 == 1 {
			table, tree = tree, table
		}
		trial(table, tree)
		if p.byTree != (tree < table) {
			t.Errorf("trial %d: by tree: %v", i, p.byTree)
		}
		if p.wait < last || p.wait < trialGap || p.wait > trialMost {
			t.Errorf("trial %d: %d instructions to the next, after %d", i, p.wait, last)
		}
		last, p.wait = p.wait, 0
	}
	if last != trialMost {
		t.Errorf("%d instructions between two trials", last)
	}
}

// Machines that run for long have had their trial, and go on by what has won.
func TestPacerOfMachine(t *testing.T) {
	loop := binary.LittleEndian.AppendUint32(nil, encI(0x13, 0, 5, 5, 1))
	m := bare(t, binary.LittleEndian.AppendUint32(loop, encJ(0, -4)), nil, false)
	m.Run(2*trialPairs*turnLength + 1_000_000)
	if p := &m.pacer; p.gap != trialGap || p.wait == 0 || p.wait >= trialGap || p.turns != 0 {
		t.Errorf("after %d instructions: %+v", m.Position(), *p)
	}
}
