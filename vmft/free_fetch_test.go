package vmft

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// §4.2: an event that is not in the log has the same effect as one that is. One that was not
// fetched, or is another, is never executed.
func TestFetchedEntries(t *testing.T) {
	ask := []toy.Instruction{{Op: toy.Set, A: 1, N: 5}, {Op: toy.Ask, A: 1}, {Op: toy.Output, A: 1}, {Op: toy.Jump, A: 1, N: 1}}
	p, logged := newRunner(toy.New(ask)), newRunner(toy.New(ask))
	p.become(true)
	p.p.Run(100)
	p.apply(at(p, kindProgress, nil), nil)
	out := p.take()
	_, question, _, err := toy.ParseOutput(out[0].Data)
	if err != nil || question == 0 {
		t.Fatal(question, err)
	}
	event := toy.AnswerEvent(question, 7)
	completion := appendCompletion(nil, event, []uint64{out[0].Number})
	data, given := fetchedEntry(completion, []byte("name"))
	if !slices.Equal(given, event) {
		t.Fatalf("the event is %x, and was %x", given, event)
	}
	numbers, sum, name, err := parseFetched(at(p, kindFetched, data).data)
	if err != nil || !slices.Equal(numbers, []uint64{out[0].Number}) || sum != eventSum(event) || string(name) != "name" {
		t.Fatal(numbers, sum, name, err)
	}
	entry := at(p, kindFetched, data)
	logged.apply(at(p, kindCompletion, completion), nil)
	p.give(event)
	p.apply(entry, nil)
	backup := newRunner(toy.New(ask))
	backup.give(event)
	backup.apply(entry, nil)
	if err := errors.Join(p.check(), logged.check(), backup.check()); err != nil || p.sum() != logged.sum() || backup.sum() != logged.sum() {
		t.Errorf("%v; the states are %x, %x and, of what was logged, %x", err, p.sum(), backup.sum(), logged.sum())
	}
	for what, give := range map[string][][]byte{"was not fetched": nil, "is not what": {toy.AnswerEvent(question, 8)}} {
		r := newRunner(toy.New(ask))
		for _, e := range give {
			r.give(e)
		}
		if r.apply(entry, nil); r.fault == nil || !strings.Contains(r.fault.Error(), what) {
			t.Errorf("the fault is %v, want one that it %s", r.fault, what)
		}
	}
}

// What a backup is to fetch is let go when it has executed the entry, or is not the backup any
// more, and not before.
func TestFetches(t *testing.T) {
	for _, early := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(1, 1))
		f := fetches{bugs: bugs{fetchUnseen: early}}
		type waiting struct {
			position uint64
			backup   ID
			done     bool
		}
		var all []*waiting
		backup, applied, position, wrong := ID(1), uint64(0), uint64(0), 0
		for range 2000 {
			switch rng.IntN(10) {
			case 0:
				backup, applied = backup+1, position
			case 1, 2, 3, 4:
				position++
				w := &waiting{position: position, backup: backup}
				all = append(all, w)
				f.wait(position, backup, func() { w.done = true })
			default:
				applied += rng.Uint64N(position - applied + 1)
			}
			f.see(backup, applied)
			for _, w := range all {
				if w.done != (w.backup != backup || w.position <= applied) {
					wrong++
				}
			}
		}
		if early != (wrong > 0) {
			t.Errorf("with the bug %v: %d were let go too early, or too late", early, wrong)
		}
	}
}
