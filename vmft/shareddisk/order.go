package shareddisk

import "fmt"

// An order decides which requests may be done at the same time. It takes them in the order
// in which they have left the machine; what is done is as if one were done after the other.
//
// Transfers wait for earlier ones that touch the same bytes, unless both read. Barriers wait
// for all transfers before them; those that come together share one sync. A read that the
// backup is to do too keeps its bytes from being changed until that has been: it is a
// shadow until then.
//
// Invariant, checked by check: no two that run touch the same bytes, unless both read;
// no barrier runs before a transfer that came before it is done.
type order struct {
	items   []*item // that are not done, the oldest first
	running int     // transfers
	barrier bool    // barriers are at it
	limit   int     // of transfers that run at a time
	bugs    orderBugs
}

// orderBugs can be planted, so that tests prove that they would be found.
type orderBugs struct {
	noShadows bool // a write does not wait for the backup to have read
	noOrder   bool // nor for anything else
}

// An item is a request in an order.
type item struct {
	kind     itemKind
	object   uint64
	from, to int64 // the bytes that it touches
	state    itemState
	job      *job // whose it is
}

type itemKind uint8

const (
	itemReads itemKind = iota
	itemWrites
	itemBarrier
	itemAlone // meets everything
)

type itemState uint8

const (
	itemWaits itemState = iota
	itemRuns
	itemShadow
)

// meets reports whether the order of two requests makes a difference.
func (i *item) meets(j *item) bool {
	if i.kind == itemAlone || j.kind == itemAlone {
		return true
	}
	return i.object == j.object && i.from < j.to && j.from < i.to && (i.kind != itemReads || j.kind != itemReads)
}

// push takes a request.
func (o *order) push(i *item) { o.items = append(o.items, i) }

// next returns the transfers that begin now, and the barriers: these take their effect one
// after the other. All are running from here on.
func (o *order) next() (transfers, barriers []*item) {
	transferring := false // a transfer before is not done
	for n, i := range o.items {
		switch {
		case i.state == itemShadow:
			continue
		case i.kind == itemBarrier:
			if i.state == itemWaits && !transferring && (!o.barrier || len(barriers) > 0) && o.free(n) {
				o.barrier = true
				i.state = itemRuns
				barriers = append(barriers, i)
			}
			continue
		}
		if i.state == itemWaits && o.running < o.limit && o.free(n) {
			i.state = itemRuns
			o.running++
			transfers = append(transfers, i)
		}
		transferring = true
	}
	return transfers, barriers
}

// free reports whether nothing before the nth item is in its way.
func (o *order) free(n int) bool {
	for _, j := range o.items[:n] {
		switch {
		case j.state == itemShadow && o.bugs.noShadows, o.bugs.noOrder:
		case j.kind == itemBarrier && o.items[n].kind == itemBarrier:
			if j.state != itemRuns { // barriers keep their order
				return false
			}
		case j.meets(o.items[n]):
			return false
		}
	}
	return true
}

// shadow says that a read is answered, and that the backup has it still to do.
func (o *order) shadow(i *item) {
	i.state = itemShadow
	o.running--
}

// done says that requests are: one transfer, or all barriers that next has returned.
func (o *order) done(items ...*item) {
	for _, i := range items {
		o.remove(i)
	}
}

func (o *order) remove(i *item) {
	switch {
	case i.kind == itemBarrier:
		o.barrier = false
	case i.state == itemRuns:
		o.running--
	}
	for n, j := range o.items {
		if j == i {
			o.items = append(o.items[:n:n], o.items[n+1:]...)
			return
		}
	}
}

// check returns what is wrong with the state.
func (o *order) check() error {
	running := 0
	for n, i := range o.items {
		if i.state != itemRuns {
			continue
		}
		if i.kind != itemBarrier {
			running++
		}
		for _, j := range o.items[:n] {
			switch {
			case j.state != itemShadow && j.kind != itemBarrier && i.kind == itemBarrier:
				return fmt.Errorf("a barrier runs before %+v is done", *j)
			case j.kind != itemBarrier && j.meets(i):
				return fmt.Errorf("%+v runs beside or before %+v", *i, *j)
			case j.state == itemWaits && j.meets(i):
				return fmt.Errorf("%+v has overtaken %+v", *i, *j)
			}
		}
	}
	if running != o.running || running > o.limit {
		return fmt.Errorf("%d requests run, not %d", running, o.running)
	}
	return nil
}
