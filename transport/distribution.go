package transport

import (
	"fmt"
	"math"
	"time"
)

// A Distribution says how long something takes. The zero value is no time at all.
type Distribution struct {
	shape distributionShape
	a, b  time.Duration
}

type distributionShape uint8

const (
	constant    distributionShape = iota // always a
	uniform                              // from a to b
	exponential                          // a on average
)

// Constant is always d.
func Constant(d time.Duration) Distribution { return Distribution{constant, d, 0} }

// Uniform is anything from min to max, all equally likely.
func Uniform(min, max time.Duration) Distribution { return Distribution{uniform, min, max} }

// Exponential is mean on average, mostly less, with a long tail that ends at
// about 37 times mean.
func Exponential(mean time.Duration) Distribution { return Distribution{exponential, mean, 0} }

// IsZero reports whether d always takes no time.
func (d Distribution) IsZero() bool { return d.a == 0 && d.b == 0 }

// String describes d.
func (d Distribution) String() string {
	switch d.shape {
	case uniform:
		return fmt.Sprintf("%v to %v", d.a, d.b)
	case exponential:
		return fmt.Sprintf("%v on average", d.a)
	}
	return d.a.String()
}

// maxDelay bounds every configured time, so that sums of them can't overflow.
const maxDelay = 365 * 24 * time.Hour

func (d Distribution) validate(field string) error {
	switch {
	case d.a < 0 || d.b < 0:
		return badConfig(field, "%v is negative", d)
	case d.shape == uniform && d.b < d.a:
		return badConfig(field, "the end of %v lies before its start", d)
	case d.a > maxDelay || d.b > maxDelay:
		return badConfig(field, "%v is longer than %v", d, maxDelay)
	}
	return nil
}

// at returns the value that belongs to the draw, 64 evenly distributed bits.
func (d Distribution) at(draw uint64) time.Duration {
	switch d.shape {
	case uniform:
		return d.a + time.Duration(unit(draw)*float64(d.b-d.a))
	case exponential:
		return time.Duration(-math.Log1p(-unit(draw)) * float64(d.a))
	}
	return d.a
}

// unit maps a draw to [0, 1).
func unit(draw uint64) float64 { return float64(draw>>11) / (1 << 53) }
