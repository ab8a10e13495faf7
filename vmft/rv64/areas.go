package rv64

import "slices"

// Permissions of an area. An area that may be written may be read too.
const (
	permRead = 1 << iota
	permWrite
	permExec
)

// An area is a mapped range of addresses whose pages have the same permissions.
// Ranges are of whole pages, half open.
type area struct {
	start, end uint64
	perm       uint8
	shared     bool // mapped MAP_SHARED: there is one process, so only /proc tells
	inode      int  // the file that it was mapped from, 0 if none: only /proc tells
	offset     uint64
}

// areas are disjoint, sorted by address, and adjacent ones that could be one are.
type areas []area

// find returns the index of the area that contains addr or, if there is none, of
// the first above it.
func (as areas) find(addr uint64) (int, bool) {
	i, _ := slices.BinarySearchFunc(as, addr, func(a area, addr uint64) int {
		if a.end <= addr {
			return -1
		}
		return 1
	})
	return i, i < len(as) && as[i].start <= addr
}

// split makes sure that no area extends across addr.
func (as *areas) split(addr uint64) {
	i, ok := as.find(addr)
	if !ok || (*as)[i].start == addr {
		return
	}
	low, high := (*as)[i], (*as)[i]
	low.end, high.start = addr, addr
	high.offset += addr - low.start
	(*as)[i] = low
	*as = slices.Insert(*as, i+1, high)
}

// remove unmaps [start, end).
func (as *areas) remove(start, end uint64) {
	as.split(start)
	as.split(end)
	i, _ := as.find(start)
	j, _ := as.find(end)
	*as = slices.Delete(*as, i, j)
}

// insert maps a, in place of what was there.
func (as *areas) insert(a area) {
	as.remove(a.start, a.end)
	i, _ := as.find(a.start)
	*as = slices.Insert(*as, i, a)
	as.merge(i)
}

// merge makes area i one with its neighbours where it can.
func (as *areas) merge(i int) {
	for _, j := range [...]int{i + 1, i} { // the upper pair first: it moves no index below
		if j < 1 || j >= len(*as) {
			continue
		}
		low, high := (*as)[j-1], (*as)[j]
		if low.end == high.start && low.perm == high.perm && low.shared == high.shared &&
			low.inode == high.inode && (low.inode == 0 || low.offset+low.end-low.start == high.offset) {
			(*as)[j-1].end = high.end
			*as = slices.Delete(*as, j, j+1)
		}
	}
}

// covers reports whether all of [start, end) is mapped.
func (as areas) covers(start, end uint64) bool {
	for start < end {
		i, ok := as.find(start)
		if !ok {
			return false
		}
		start = as[i].end
	}
	return true
}

// overlaps reports whether any of [start, end) is mapped.
func (as areas) overlaps(start, end uint64) bool {
	i, ok := as.find(start)
	return ok || i < len(as) && as[i].start < end
}

// protect gives [start, end), all of which is mapped, other permissions.
func (as *areas) protect(start, end uint64, perm uint8) {
	as.split(start)
	as.split(end)
	i, _ := as.find(start)
	j, _ := as.find(end)
	for k := i; k < j; k++ {
		(*as)[k].perm = perm
	}
	for k := min(j, len(*as)-1); k >= i; k-- {
		as.merge(k)
	}
}

// gap finds n free bytes: the highest ones that end at or below top and start at
// or above bottom.
func (as areas) gap(bottom, top, n uint64) (uint64, bool) {
	end := top
	i, _ := as.find(top)
	if i < len(as) && as[i].start < top {
		end = as[i].start
	}
	for i--; ; i-- {
		low := bottom
		if i >= 0 {
			low = max(bottom, as[i].end)
		}
		if end >= low && end-low >= n {
			return end - n, true
		}
		if i < 0 || as[i].start < bottom {
			return 0, false
		}
		end = as[i].start
	}
}

// bytes returns how much is mapped in all.
func (as areas) bytes() (n uint64) {
	for _, a := range as {
		n += a.end - a.start
	}
	return n
}
