package vmfttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// TestArbiter holds an arbiter against its contract. open returns an arbiter on the one
// storage that name stands for, as another process would: each call a new one.
func TestArbiter(t *testing.T, open func(t *testing.T, name string) vmft.Arbiter) {
	for _, c := range []struct {
		name string
		run  func(ctx context.Context, open func() vmft.Arbiter) error
	}{
		{"Empty", empty}, {"Once", once}, {"Repeated", repeated}, {"Gap", gap}, {"Race", race}, {"Content", content}, {"Cancelled", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := c.run(ctx, func() vmft.Arbiter { return open(t, c.name) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// record returns a record that differs from others by who claims it.
func record(epoch uint64, who int) vmft.Record {
	return vmft.Record{Epoch: epoch, Primary: vmft.Member{Addr: fmt.Sprintf("host%d:1", who), Incarnation: vmft.ID(who + 1)}}
}

// claim makes a claim that must stand.
func claim(ctx context.Context, a vmft.Arbiter, r vmft.Record) error {
	stands, err := a.Claim(ctx, r)
	switch {
	case err != nil:
		return fmt.Errorf("claiming %v: %w", r, err)
	case stands != r:
		return fmt.Errorf("%v was claimed first, and %v stands", r, stands)
	}
	newest, err := a.Newest(ctx)
	if err == nil && newest.Epoch < r.Epoch {
		err = fmt.Errorf("%v was won, and the newest is %v", r, newest)
	}
	return err
}

func empty(ctx context.Context, open func() vmft.Arbiter) error {
	r, err := open().Newest(ctx)
	if err == nil && r != (vmft.Record{}) {
		err = fmt.Errorf("an empty chain has %v", r)
	}
	return err
}

// once: the first claim of an epoch wins, all others get to see it.
func once(ctx context.Context, open func() vmft.Arbiter) error {
	a, b := open(), open()
	for epoch := uint64(1); epoch <= 20; epoch++ {
		first, second := a, b
		if epoch%2 == 0 {
			first, second = b, a
		}
		if err := claim(ctx, first, record(epoch, 1)); err != nil {
			return err
		}
		stands, err := second.Claim(ctx, record(epoch, 2))
		if err != nil {
			return err
		}
		if stands != record(epoch, 1) {
			return fmt.Errorf("epoch %d was won, then %v stands", epoch, stands)
		}
		newest, err := second.Newest(ctx)
		if err != nil || newest != record(epoch, 1) {
			return fmt.Errorf("the newest is %v, %w", newest, err)
		}
	}
	return nil
}

// repeated: a claim whose reply was lost is made again, at any time, and is still won.
func repeated(ctx context.Context, open func() vmft.Arbiter) error {
	for epoch := uint64(1); epoch <= 3; epoch++ {
		for range 3 {
			if err := claim(ctx, open(), record(epoch, 1)); err != nil {
				return err
			}
		}
	}
	return claim(ctx, open(), record(1, 1))
}

// gap: nobody wins an epoch whose predecessor has not been.
func gap(ctx context.Context, open func() vmft.Arbiter) error {
	a := open()
	for _, epoch := range []uint64{0, 2, 7} {
		if _, err := a.Claim(ctx, record(epoch, 1)); !errors.Is(err, vmft.ErrGap) {
			return fmt.Errorf("claiming epoch %d of an empty chain: %w", epoch, err)
		}
	}
	if err := claim(ctx, a, record(1, 1)); err != nil {
		return err
	}
	if _, err := a.Claim(ctx, record(3, 1)); !errors.Is(err, vmft.ErrGap) {
		return fmt.Errorf("claiming epoch 3 after 1: %w", err)
	}
	return claim(ctx, a, record(2, 1))
}

// race: of many claimants of each epoch one wins, and all know who.
func race(ctx context.Context, open func() vmft.Arbiter) error {
	const claimants, epochs = 8, 20
	stands := make([][]vmft.Record, claimants)
	failed := make([]error, claimants)
	var wg sync.WaitGroup
	for who := range claimants {
		a := open()
		wg.Go(func() {
			for epoch := uint64(1); epoch <= epochs; epoch++ {
				r, err := a.Claim(ctx, record(epoch, who))
				if err != nil {
					failed[who] = err
					return
				}
				stands[who] = append(stands[who], r)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	for epoch := range epochs {
		for who := range claimants {
			if stands[who][epoch] != stands[0][epoch] {
				return fmt.Errorf("epoch %d: one sees %v, another %v", epoch+1, stands[0][epoch], stands[who][epoch])
			}
		}
	}
	return nil
}

// content: records come back as they were written.
func content(ctx context.Context, open func() vmft.Arbiter) error {
	r := vmft.Record{
		Epoch:   1,
		Primary: vmft.Member{Addr: "[fe80::1%eth0]:7101", Incarnation: ^vmft.ID(0), Log: 1},
		Backup:  vmft.Member{Addr: "ein Host\n\"mit\" allem:1", Incarnation: 7, Log: ^vmft.ID(0) - 1},
	}
	if err := claim(ctx, open(), r); err != nil {
		return err
	}
	got, err := open().Newest(ctx)
	if err == nil && got != r {
		err = fmt.Errorf("%+v comes back as %+v", r, got)
	}
	return err
}

// cancelled: a call does not outlast its context.
func cancelled(ctx context.Context, open func() vmft.Arbiter) error {
	a := open()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.Newest(ended); err == nil {
		return errors.New("Newest with a context that has ended succeeds")
	}
	if _, err := a.Claim(ended, record(1, 1)); err == nil {
		return errors.New("Claim with a context that has ended succeeds")
	}
	stands, err := a.Claim(ctx, record(1, 2)) // the first may have been carried out or not
	if err == nil && stands != record(1, 1) && stands != record(1, 2) {
		err = fmt.Errorf("%v stands, which nobody has claimed", stands)
	}
	return err
}
