package mapreduce

import (
	"slices"
	"sync"
)

// A worker's memory, WorkerConfig.Memory, is divided like this:
//
//   - for each slot, slotBuffers: the blocks in which a map reads its input (2 MiB), the
//     buffers through which a map and a reduce write to files, the readers of a map's
//     runs, compression;
//   - for each slot, a share of a sixteenth, which its map task has for certain: tables of
//     the combiner, pairs and the arrays that sort them, and of these two sets, as one is
//     spilled while the other is filled. The task gets more, up to a half of the memory
//     of its slot, while the pool has it, and keeps it for the tasks after it until
//     somebody else needs it;
//   - for each slot, a share of a sixteenth, which its reduce task has for certain: a
//     half for what it fetches, a half for reading what is on disk. It gets more from
//     the pool to fetch into;
//   - the pool: all the rest. Map output is kept in it, and goes to disk when it is used
//     up.
//
// So whatever is used in place of it, nothing waits for memory. Not counted are pairs
// that are larger than all this alone, what the job's functions use, and what Go's
// collector has not collected yet, which is bounded by debug.SetMemoryLimit: a library
// must not set that, a program may.
const (
	slotBuffers = 6 << 20
	minShare    = 3 << 20
	shareOf     = 16 // of the memory of a slot

	// minSlotMemory is enough for the buffers, both shares and a pool.
	minSlotMemory = 16 << 20
)

// budget is the memory of a worker.
type budget struct {
	share int64 // of a map or a reduce task
	most  int64 // that a map task may get

	mu   sync.Mutex // guards what follows
	pool int64
	idle []*sortMemory // of map tasks that have ended, which still has its part of the pool
}

func newBudget(memory int64, slots int) *budget {
	slot := memory / int64(slots)
	share := max(slot/shareOf, minShare)
	return &budget{share: share, most: max(slot/2, share), pool: int64(slots) * max(slot-slotBuffers-2*share, 0)}
}

// reserve takes n bytes of the pool, or refuses, or gives them back if n is negative.
func (b *budget) reserve(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reserveLocked(n)
}

func (b *budget) reserveLocked(n int64) bool {
	if n > b.pool {
		return false
	}
	b.pool -= n
	return true
}

// reserveFirst is like reserve, but takes the memory that idle map tasks have left, if
// it must.
func (b *budget) reserveFirst(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	have := b.pool
	for _, m := range b.idle {
		have += m.claimed
	}
	if n > have {
		return false
	}
	for n > b.pool {
		b.pool += b.idle[0].claimed
		b.idle = slices.Delete(b.idle, 0, 1) // which forgets it
	}
	return b.reserveLocked(n)
}

// sortMemory returns memory for a map task, of which it has its share.
func (b *budget) sortMemory() *sortMemory {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.idle); n > 0 {
		m := b.idle[n-1]
		b.idle = b.idle[:n-1]
		return m
	}
	return newSortMemory(b.share, b.most, b.reserve)
}

// keep leaves the memory of a map task to the next.
func (b *budget) keep(m *sortMemory) {
	m.rest()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = append(b.idle, m)
}
