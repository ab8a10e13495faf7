package vmft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// kindFetched is an entry of a free-running machine like kindCompletion, whose event is not
// in it: each side has got that by itself, the backup by Config.Fetch, before it applies the
// entry. It has a checksum of the event, and its name.
const kindFetched = 11

// appendFetched appends what comes after the count in such an entry.
func appendFetched(dst, event, name []byte, numbers []uint64) []byte {
	dst = appendCompletion(dst, nil, numbers)
	dst = le.AppendUint64(dst, eventSum(event))
	return append(dst, name...)
}

// parseFetched reads the data of such an entry. The name is borrowed.
func parseFetched(data []byte) (numbers []uint64, sum uint64, name []byte, err error) {
	d := wire.NewDecoder(data)
	d.Uvarint() // the count
	for range d.Count(1) {
		numbers = append(numbers, d.Uvarint())
	}
	sum, name = d.Uint64(), d.Rest()
	return numbers, sum, name, d.Err()
}

// eventSum is made of two sums for which processors have instructions: CRC-64 takes ten times
// as long, on each side and for each byte that is read.
func eventSum(event []byte) uint64 {
	return uint64(crc32.Update(uint32(len(event)), castagnoli, event))<<32 | uint64(crc32.ChecksumIEEE(event))
}

// give hands the runner the event of the next entry of that kind.
func (r *runner) give(event []byte) { r.given = append(r.given, event) }

// fetched applies an entry of that kind.
func (r *runner) fetched(data []byte) (numbers []uint64, event []byte, err error) {
	numbers, sum, name, err := parseFetched(data)
	switch {
	case err != nil:
		return nil, nil, err
	case len(r.given) == 0:
		return nil, nil, fmt.Errorf("the event %x was not fetched", name)
	}
	event, r.given = r.given[0], r.given[1:]
	if eventSum(event) != sum {
		return nil, nil, fmt.Errorf("what was fetched as event %x is not what the primary had", name)
	}
	return numbers, event, nil
}

// fetches are the events that a backup has to fetch, and has not yet: what they were made of
// must not change until then.
//
// Invariant: positions rise.
type fetches struct {
	waits []fetchWait
	bugs  bugs
}

type fetchWait struct {
	position uint64
	backup   ID // the incarnation that has it to do
	done     func()
}

// wait has done called when the entry at a position was executed by a backup, or will not be.
func (f *fetches) wait(position uint64, backup ID, done func()) {
	if f.bugs.fetchUnseen {
		done()
		return
	}
	f.waits = append(f.waits, fetchWait{position, backup, done})
}

// see takes note of who the backup is, and how far it is.
func (f *fetches) see(backup ID, applied uint64) {
	f.waits = slices.DeleteFunc(f.waits, func(w fetchWait) bool {
		over := w.backup != backup || w.position <= applied
		if over {
			w.done()
		}
		return over
	})
}

// fetchedEntry makes the data of an entry, after the count, of one that has the event: what
// appendCompletion has made.
func fetchedEntry(completion, name []byte) (data, event []byte) {
	n, size := binary.Uvarint(completion)
	rest := completion[size:]
	numbers := make([]uint64, n)
	for i := range numbers {
		numbers[i], size = binary.Uvarint(rest)
		rest = rest[size:]
	}
	event = bytes.Clone(rest)
	return appendFetched(nil, event, name, numbers), event
}
