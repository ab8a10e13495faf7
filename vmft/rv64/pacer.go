package rv64

import "time"

// A pacer chooses how the engine of blocks finds what is to be done for an operation: by one
// jump through a table, or by comparisons. Hosts differ in which they predict better, and
// programs do, by as much as a half of the speed. So now and then both take turns and are
// measured. It has no effect on what is executed.
type pacer struct {
	byTree bool          // what has won
	wait   uint64        // instructions until the next trial
	gap    uint64        // and from that to the one after it
	turns  int           // of the trial, so far
	won    int           // pairs of turns, by the tree
	count  uint64        // of the turn
	spent  time.Duration // in it
	pace   float64       // of the last turn, per instruction
}

const (
	turnLength = 200_000 // instructions
	trialPairs = 15
	trialGap   = 16 << 20 // instructions from the first trial to the second; it grows
	trialMost  = 1 << 30
)

// run has an engine execute up to a limit, or less.
func (p *pacer) run(e engine, c *cpu, limit uint64) trap {
	b, ok := e.(*blocks)
	if !ok {
		return e.run(c, limit)
	}
	from := c.count
	if p.wait > 0 {
		b.byTree = p.byTree
		t := b.run(c, limit)
		p.wait -= min(p.wait, c.count-from)
		return t
	}
	b.byTree = p.turns%2 == 1
	began := time.Now()
	t := b.run(c, limit)
	p.spent += time.Since(began)
	if p.count += c.count - from; p.count >= turnLength {
		p.turn()
	}
	return t
}

// turn ends a turn.
func (p *pacer) turn() {
	pace := float64(p.spent) / float64(p.count)
	if p.turns%2 == 1 && pace < p.pace {
		p.won++
	}
	p.pace, p.spent, p.count = pace, 0, 0
	if p.turns++; p.turns < 2*trialPairs {
		return
	}
	p.byTree = p.won > trialPairs/2
	p.gap = min(max(2*p.gap, trialGap), trialMost)
	p.turns, p.won, p.wait = 0, 0, p.gap
}
