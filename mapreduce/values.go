package mapreduce

import "iter"

// Values is a [Job].Reduce whose results are a key's values, each as it is: for jobs of
// which the order of the keys is the result, such as sorting. It is what a loop that
// emits each value does, without the memory that such a loop takes for each key.
func Values[K, V any](t *Task, _ K, values iter.Seq[V], emit func(V)) error {
	p, ok := t.passing.(*passing[V])
	if !ok {
		p = new(passing[V])
		p.yield = func(v V) bool {
			p.emit(v)
			return true
		}
		t.passing = p
	}
	p.emit = emit
	values(p.yield)
	return nil
}

// passing is what Values keeps from one key to the next.
type passing[V any] struct {
	emit  func(V)
	yield func(V) bool // hands a value to emit
}
