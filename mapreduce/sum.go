package mapreduce

import "iter"

// Number is any integer or floating-point type.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr | ~float32 | ~float64
}

// Sum is a [Job].Reduce: its result is the sum of a key's values. With integers, [Add]
// is the Combine that goes with it.
func Sum[K any, V Number](_ *Task, _ K, values iter.Seq[V], emit func(V)) error {
	var sum V
	for v := range values {
		sum += v
	}
	emit(sum)
	return nil
}

// Add is a [Job].Combine, for sums of integers: sums of floats depend on the order in
// which they are added.
func Add[V Number](a, b V) V { return a + b }
