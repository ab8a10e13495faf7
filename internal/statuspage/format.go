package statuspage

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Size returns a number of bytes as people read it.
func Size(n int64) string {
	const step = 1000
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= step && unit < len("kMGTPE")-1 {
		value /= step
		unit++
	}
	return fmt.Sprintf("%.3g %cB", min(value, step-1), "kMGTPE"[unit])
}

// Count returns a number with its digits in groups of three.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if left := len(digits) - i; i > 0 && left%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Span returns a number of seconds as people read it.
func Span(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
