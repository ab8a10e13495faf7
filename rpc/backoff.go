package rpc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Backoff spaces the attempts of a call that is retried: the n-th pause is
// drawn evenly between zero and Min·2ⁿ, at most Max, so that callers who failed
// together do not come back together.
type Backoff struct {
	Min time.Duration // bound of the first pause; default 5 ms
	Max time.Duration // bound of every pause; default 1 s
}

func (b Backoff) withDefaults() Backoff {
	if b.Min == 0 {
		b.Min = 5 * time.Millisecond
	}
	if b.Max == 0 {
		b.Max = max(time.Second, b.Min)
	}
	return b
}

func (b Backoff) validate() error {
	b = b.withDefaults()
	if b.Min < 0 || b.Max < b.Min {
		return fmt.Errorf("rpc: Backoff: Min %v and Max %v must satisfy 0 < Min ≤ Max", b.Min, b.Max)
	}
	return nil
}

// pause waits before attempt n+1, n from 1, or until ctx ends.
func (b Backoff) pause(ctx context.Context, n int) error {
	bound := b.Max
	if b.Min <= b.Max>>(n-1) {
		bound = b.Min << (n - 1)
	}
	t := time.NewTimer(rand.N(bound) + 1)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}
