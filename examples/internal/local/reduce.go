package local

import (
	"errors"
	"flag"
	"strconv"
)

// A ReduceFlag is the flag -reduce, the number of reduce tasks, which has an older name.
type ReduceFlag struct{ now, older number }

// The names of the flag.
const (
	reduceName = "reduce"
	olderName  = "reduces"
)

// Define defines the flag under both names. n is the default.
func (r *ReduceFlag) Define(f *flag.FlagSet, n int, usage string) {
	r.now.n = n
	f.Var(&r.now, reduceName, usage)
	f.Var(&r.older, olderName, "an older name of -reduce, for the same `number`")
}

// given returns the number, and the name under which it was given.
func (r *ReduceFlag) given() (n int, name string) {
	if r.older.set && !r.now.set {
		return r.older.n, olderName
	}
	return r.now.n, reduceName
}

// N returns the number.
func (r *ReduceFlag) N() int {
	n, _ := r.given()
	return n
}

// Check finds what is wrong with the flag.
func (r *ReduceFlag) Check() error {
	const most = 1 << 16
	switch n, name := r.given(); {
	case r.now.set && r.older.set && r.now.n != r.older.n:
		return BadUsage("-reduce is %d and -reduces, its older name, %d: give one of them", r.now.n, r.older.n)
	case n < 1 || n > most:
		return BadUsage("-%s is %d, not 1 to %d", name, n, most)
	}
	return nil
}

// A number is the value of a flag that knows whether it was given.
type number struct {
	n   int
	set bool
}

// String implements flag.Value.
func (v *number) String() string { return strconv.Itoa(v.n) }

// Set implements flag.Value.
func (v *number) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return errors.New("it is not a number")
	}
	v.n, v.set = n, true
	return nil
}
