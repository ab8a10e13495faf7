package shareddisk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// simulateOrder pushes requests at an order, does what it lets begin, in any order, and
// compares with doing one after the other: what reads see, and, for those that the backup
// does too, what they would see at any time until it has.
func simulateOrder(seed uint64, bugs orderBugs) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	const size = 12
	type request struct {
		item
		n    int
		want []int // of a read: the writes that it sees
	}
	o := order{limit: 4, bugs: bugs}
	var all []*request
	model, disk := make([]int, size), make([]int, size)
	var running, shadows []*request
	var group []*request
	find := func(i *item) *request {
		return all[slices.IndexFunc(all, func(r *request) bool { return &r.item == i })]
	}
	sees := func(r *request) error {
		if got := disk[r.from:r.to]; !slices.Equal(got, r.want) {
			return fmt.Errorf("seed %d: request %d reads %v, not %v", seed, r.n, got, r.want)
		}
		return nil
	}
	for step := 0; step < 80 || len(o.items) > 0; step++ {
		if step < 80 && rng.IntN(2) == 0 {
			from := rng.Int64N(size)
			r := &request{n: len(all) + 1}
			r.item = item{kind: itemKind(rng.IntN(3)), object: 1, from: from, to: from + 1 + rng.Int64N(size-from)}
			switch r.kind {
			case itemReads:
				r.want = slices.Clone(model[r.from:r.to])
			case itemWrites:
				for i := r.from; i < r.to; i++ {
					model[i] = r.n
				}
			case itemBarrier:
				r.from, r.to = 0, 0
			}
			all = append(all, r)
			o.push(&r.item)
		}
		transfers, barriers := o.next()
		if err := o.check(); err != nil && bugs == (orderBugs{}) {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		for _, i := range transfers {
			running = append(running, find(i))
		}
		for _, i := range barriers {
			group = append(group, find(i))
		}
		for _, r := range group {
			for _, before := range all[:r.n-1] {
				if before.kind != itemBarrier && slices.Contains(o.items, &before.item) && before.state != itemShadow {
					return fmt.Errorf("seed %d: barrier %d runs before %d is done", seed, r.n, before.n)
				}
			}
		}
		switch {
		case len(running) > 0 && rng.IntN(2) == 0:
			n := rng.IntN(len(running))
			r := running[n]
			running = slices.Delete(running, n, n+1)
			if r.kind == itemWrites {
				for i := r.from; i < r.to; i++ {
					disk[i] = r.n
				}
			} else if err := sees(r); err != nil {
				return err
			}
			if r.kind == itemReads && rng.IntN(2) == 0 {
				o.shadow(&r.item)
				shadows = append(shadows, r)
			} else {
				o.done(&r.item)
			}
		case len(shadows) > 0 && rng.IntN(3) == 0:
			n := rng.IntN(len(shadows))
			r := shadows[n]
			shadows = slices.Delete(shadows, n, n+1)
			if err := sees(r); err != nil {
				return fmt.Errorf("the backup: %w", err)
			}
			o.done(&r.item)
		case len(group) > 0 && rng.IntN(3) == 0:
			for _, r := range group {
				o.done(&r.item)
			}
			group = nil
		}
		if step > 10_000 {
			return fmt.Errorf("seed %d: there is no end", seed)
		}
	}
	return nil
}

func TestOrder(t *testing.T) {
	for seed := range uint64(2000) {
		if err := simulateOrder(seed, orderBugs{}); err != nil {
			t.Fatal(err)
		}
	}
}

// The simulation finds it when a write does not wait for the backup's read, and when nothing
// waits for anything.
func TestPlantedDisorder(t *testing.T) {
	for _, bugs := range []orderBugs{{noShadows: true}, {noOrder: true}} {
		found := false
		for seed := uint64(0); seed < 200 && !found; seed++ {
			if err := simulateOrder(seed, bugs); err != nil {
				found = true
				t.Log(err)
			}
		}
		if !found {
			t.Errorf("%+v: nothing is found", bugs)
		}
	}
}
