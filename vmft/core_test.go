package vmft

import (
	"testing"
	"time"
)

var (
	alpha = Member{Addr: "alpha", Incarnation: 1}
	beta  = Member{Addr: "beta", Incarnation: 2}
	gamma = Member{Addr: "gamma", Incarnation: 3}
)

// pair returns the cores of an epoch with a primary and a backup, both at position 10.
func pair(t *testing.T) (*primary, *backup) {
	t.Helper()
	first := Record{Epoch: 1, Primary: alpha}
	p := newPrimary(alpha, first, 10)
	b := newCandidate(beta, alpha, first, 77, 10)
	if !p.attach(beta, 77, 10) || !p.admit(77) {
		t.Fatal("the candidate is not admitted")
	}
	p.claimed(p.step().claim)
	if !b.told(p.record) || !b.joined() {
		t.Fatal("the candidate has not become the backup")
	}
	return p, b
}

// An output leaves when the backup has acknowledged its position, not before (§2.2).
func TestOutputRule(t *testing.T) {
	p, b := pair(t)
	p.append(12)
	if got := p.release(); got != 10 {
		t.Errorf("released %d before it was acknowledged", got)
	}
	b.receive(77, 12, 0)
	position, round, news := b.ack()
	if !news || position != 12 {
		t.Fatalf("acknowledges %d, %v", position, news)
	}
	if p.ack(78, position, round) {
		t.Error("an acknowledgement of another session counts")
	}
	p.ack(77, position, round)
	if got := p.release(); got != 12 {
		t.Errorf("released %d after 12 was acknowledged", got)
	}
}

// With journals a position counts when both have it.
func TestReleaseCountsJournals(t *testing.T) {
	durable := alpha
	durable.Log = 5
	p := newPrimary(durable, Record{Epoch: 1, Primary: durable}, 0)
	p.append(3)
	if got := p.release(); got != 0 {
		t.Errorf("released %d, the journal has nothing", got)
	}
	p.sync(2)
	if got := p.release(); got != 2 {
		t.Errorf("released %d, the journal has 2", got)
	}
	follower := beta
	follower.Log = 6
	b := newCandidate(follower, durable, p.record, 7, 0)
	b.receive(7, 3, 0)
	if position, _, news := b.ack(); news {
		t.Errorf("acknowledges %d before it is in the journal", position)
	}
	b.sync(3)
	if position, _, news := b.ack(); !news || position != 3 {
		t.Errorf("acknowledges %d, %v", position, news)
	}
}

// A read waits for a confirmation that was asked for after it.
func TestConfirmation(t *testing.T) {
	p, b := pair(t)
	sent := p.send()
	round := p.ask()
	if round <= sent {
		t.Fatalf("a read waits for round %d, %d was sent before it came", round, sent)
	}
	if p.ask() != round {
		t.Error("two reads do not share a round")
	}
	b.receive(77, 10, p.send())
	if p.confirmed >= round {
		t.Error("confirmed without an answer")
	}
	position, answered, _ := b.ack()
	p.ack(77, position, answered)
	if p.confirmed < round {
		t.Error("not confirmed by the answer")
	}
}

// A follower whose stream was down goes on with another, whatever was under way.
func TestResume(t *testing.T) {
	p, b := pair(t)
	p.ask()
	b.receive(77, 10, p.send())
	position, round, _ := b.ack() // lost with the stream
	p.append(13)
	if !p.attach(beta, 78, position) || p.attach(beta, 79, 9) {
		t.Fatal("taken up again from another position than the acknowledged one")
	}
	b.detach()
	b.attach(78)
	if !p.ack(78, position, round) || p.confirmed < round {
		t.Error("an answer that was under way does not count")
	}
	b.receive(78, 13, p.send())
	position, round, _ = b.ack()
	if !p.ack(78, position, round) || p.release() != 13 {
		t.Error("it does not go on")
	}
}

// A suspicion gives nothing up while the arbiter is out of reach.
func TestNothingIsSealedWithoutArbiter(t *testing.T) {
	p, b := pair(t)
	p.lose()
	b.lose()
	if !p.step().read || !b.step().read {
		t.Fatal("a suspicion does not lead to a look at the chain")
	}
	p.append(11)
	b.receive(77, 11, 0)
	position, round, _ := b.ack()
	p.ack(77, position, round)
	if p.release() != 11 {
		t.Error("what works does not go on")
	}
	b.saw(b.record)
	if b.step().claim != b.record.alone(beta) {
		t.Error("the backup does not claim when it has seen the chain")
	}
	if _, _, news := b.ack(); news || b.receive(77, 12, 0) {
		t.Error("it acknowledges while it claims")
	}
}

// After a power-off the backup does not go live (§2.4).
func TestPowerOff(t *testing.T) {
	_, b := pair(t)
	b.powerOff()
	b.lose()
	b.saw(b.record)
	if !b.step().none() || b.sealed {
		t.Error("the backup claims after the machine was switched off")
	}
}

// The loser of a claim is over.
func TestFencing(t *testing.T) {
	p, b := pair(t)
	p.append(20)
	p.lose()
	p.saw(p.record)
	b.lose()
	b.saw(b.record)
	won := b.step().claim
	b.claimed(won)
	p.claimed(won)
	if !b.ready() || !p.fenced || p.release() != 10 {
		t.Errorf("ready %v, fenced %v, released %d", b.ready(), p.fenced, p.release())
	}
	if p.attach(gamma, 9, 0) || p.admit(9) || !p.step().none() {
		t.Error("a fenced primary goes on")
	}
}

func TestHandOver(t *testing.T) {
	p, b := pair(t)
	p.append(11)
	if p.handOver(beta) {
		t.Error("handed over to one that has not acknowledged everything")
	}
	b.receive(77, 11, 0)
	b.apply(11)
	position, round, _ := b.ack()
	p.ack(77, position, round)
	if !p.handOver(beta) {
		t.Fatal("not handed over")
	}
	r := p.step().claim
	p.claimed(r)
	b.told(r)
	if !p.fenced || !b.ready() {
		t.Errorf("fenced %v, live %v", p.fenced, b.ready())
	}
}

func TestGate(t *testing.T) {
	var g gate[int]
	for i := 1; i <= 100; i++ {
		if !g.push(uint64(i), i) {
			t.Fatalf("%d is not held", i)
		}
	}
	var out []int
	for at := uint64(0); at <= 60; at += 3 {
		out = g.release(at, out)
	}
	if len(out) != 60 || g.len() != 40 || g.push(60, 0) {
		t.Errorf("%d released, %d held", len(out), g.len())
	}
	out = g.empty(out)
	for i, v := range out {
		if v != i+1 {
			t.Fatalf("number %d is %d", i, v)
		}
	}
}

// Time in which the observer itself stood still is not the peer's silence.
func TestPulse(t *testing.T) {
	p := pulse{timeout: 100 * time.Millisecond, tick: 10 * time.Millisecond}
	now := time.Unix(0, 0)
	p.look(now)
	now = now.Add(time.Hour)
	if p.look(now) {
		t.Error("an hour in which nobody looked counts")
	}
	silent := false
	for n := 0; n < 9 && !silent; n++ {
		now = now.Add(10 * time.Millisecond)
		silent = p.look(now)
	}
	if !silent {
		t.Error("silence is not noticed")
	}
	p.heard()
	if p.look(now) {
		t.Error("a sign of life does not count")
	}
	// Who has been silent for that long, and lived, is given more; a while later no more.
	silence := func() (d time.Duration) {
		for !p.look(now) {
			now = now.Add(10 * time.Millisecond)
			d += 10 * time.Millisecond
		}
		return d
	}
	if d := silence(); d < 250*time.Millisecond || d > 400*time.Millisecond {
		t.Errorf("after a silence of 100 ms that was none it is suspected after %v", d)
	}
	p.heard()
	if d := silence(); d != 400*time.Millisecond {
		t.Errorf("where there is much noise it is suspected after %v", d)
	}
	for range 30_000 { // five minutes
		p.heard()
		now = now.Add(10 * time.Millisecond)
		p.look(now)
	}
	p.heard()
	if d := silence(); d != 100*time.Millisecond {
		t.Errorf("in the quiet it is suspected after %v", d)
	}
	v := vitals{stall: time.Second}
	if !v.well(now, time.Time{}, now.Add(-time.Second)) || v.well(now, now.Add(-2*time.Second)) {
		t.Error("what hangs is not told from what does not")
	}
}

// Beyond the bound the primary is slowed, little by little, and let go again (§2.4).
func TestPace(t *testing.T) {
	p := pace{bound: time.Second}
	now := time.Unix(100, 0)
	for i := range 6000 { // 6 s of positions; the backup is at the first
		p.applied(uint64(i+1), now.Add(time.Duration(i)*time.Millisecond))
	}
	now = now.Add(6 * time.Second)
	if lag := p.lag(0, now); lag < 5900*time.Millisecond || lag > 6*time.Second {
		t.Errorf("a lag of %v", lag)
	}
	if len(p.marks) > maxMarks {
		t.Errorf("%d marks", len(p.marks))
	}
	before := p.look(0)
	for range 3 {
		p.look(6 * time.Second)
	}
	if p.share >= before || p.share < 0.4 {
		t.Errorf("share %v after three looks", p.share)
	}
	if rest := p.rest(time.Millisecond); rest <= 0 {
		t.Error("no rest")
	}
	for range 200 {
		p.look(p.lag(6000, now))
	}
	if p.share != 1 || p.rest(time.Millisecond) != 0 {
		t.Errorf("share %v in the end", p.share)
	}
}
