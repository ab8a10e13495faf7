// What the clients of a chaos do.
//
//lint:bubble
package gfs_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/trilith-go/trilith/gfs"
)

const (
	regionFile = "regions" // in which each client has slots of its own
	recordFile = "records" // to which all append
	slotBytes  = 4 << 10
	slots      = 56 // in not quite two chunks
	valueUnit  = 16 // bytes by which a value can be told
)

// load is the work of one client.
func (k *chaos) load(id int, client *gfs.Client, rng *rand.Rand) {
	regions, err := client.OpenFile(k.ctx, regionFile, gfs.OpenOptions{Write: true})
	if err == nil {
		var records *gfs.File
		records, err = client.OpenFile(k.ctx, recordFile, gfs.OpenOptions{Write: true})
		if err == nil {
			defer records.Close()
			defer regions.Close()
			l := &chaosLoad{chaos: k, id: id, client: client, rng: rng, regions: regions, records: records}
			for step := range chaosSteps {
				l.step(step)
				pauseUpTo(rng, 2*time.Second)
			}
		}
	}
	if err != nil {
		k.Errorf("client %d: %v", id, err)
	}
	k.count.add("write retries", int(client.Stats().WriteRetries))
	k.count.add("bad replicas reported", int(client.Stats().BadReplicas))
}

// A chaosLoad is what one client does.
type chaosLoad struct {
	*chaos
	id               int
	client           *gfs.Client
	rng              *rand.Rand
	regions, records *gfs.File
	n                uint64 // values written
	pending          []*chaosRecord
}

func (l *chaosLoad) step(step int) {
	switch n := l.rng.IntN(16); {
	case n < 5:
		l.writeSlot()
	case n < 8:
		l.appendRecord()
	case n < 9:
		l.sync()
	case n < 11:
		l.readSlot()
	case n < 12:
		l.snapshot(step)
	case n < 13:
		l.temporary(step)
	default:
		l.pathOp()
	}
}

// failed reports an error that nothing explains.
func (l *chaosLoad) failed(what string, err error) {
	l.trace("client %d: %s: %v", l.id, what, err)
	l.count.add("failures", 1)
	if !fails(err) {
		l.Errorf("client %d: %s: %v", l.id, what, err)
	}
}

// valueOf is the n-th value of a slot: its number, repeated.
func valueOf(slot int, n uint64) []byte {
	b := make([]byte, 0, slotBytes)
	for len(b) < slotBytes {
		b = binary.BigEndian.AppendUint64(b, n)
		b = binary.BigEndian.AppendUint64(b, uint64(slot))
	}
	return b
}

// numberOf is the inverse of valueOf: 0 if nothing was written.
func numberOf(slot int, b []byte) (uint64, error) {
	n := binary.BigEndian.Uint64(b)
	if n == 0 {
		for _, x := range b {
			if x != 0 {
				return 0, errors.New("neither zeros nor a value")
			}
		}
		return 0, nil
	}
	for at := 0; at < len(b); at += valueUnit {
		if binary.BigEndian.Uint64(b[at:]) != n || binary.BigEndian.Uint64(b[at+8:]) != uint64(slot) {
			return 0, fmt.Errorf("not the whole of value %d", n)
		}
	}
	return n, nil
}

// ownSlot draws a slot that only this client writes to.
func (l *chaosLoad) ownSlot() int { return l.rng.IntN(slots/chaosClients)*chaosClients + l.id }

func (l *chaosLoad) writeSlot() {
	slot := l.ownSlot()
	l.n++
	l.model.begin(slot, l.n)
	era := l.model.now()
	_, err := l.regions.WriteAt(valueOf(slot, l.n), int64(slot)*slotBytes)
	l.model.wrote(slot, l.n, era, err == nil)
	if err != nil {
		l.failed("write", err)
		return
	}
	l.trace("client %d: slot %d has value %d", l.id, slot, l.n)
	l.count.add("writes", 1)
}

func (l *chaosLoad) appendRecord() {
	r := l.model.newRecord(l.id, 1000+l.rng.IntN(20_000))
	off, err := l.records.Append(r.data)
	if err != nil {
		l.failed("append", err)
		return
	}
	l.model.appended(r, off)
	l.pending = append(l.pending, r)
	l.trace("client %d: a record of %d bytes is at %d", l.id, len(r.data), off)
	l.count.add("appends", 1)
}

func (l *chaosLoad) sync() {
	era, was := l.model.now(), l.model.certainOf(l.id)
	if err := l.regions.Sync(); err != nil {
		l.failed("sync", err)
		return
	}
	l.model.syncedSlots(was, era)
	if err := l.records.Sync(); err != nil {
		l.failed("sync", err)
		return
	}
	l.model.syncedRecords(l.pending)
	l.pending = nil
	l.trace("client %d: synced", l.id)
	l.count.add("syncs", 1)
}

// readSlot reads a slot of its own: it must have what was acknowledged, unless the power
// failed.
func (l *chaosLoad) readSlot() {
	slot := l.ownSlot()
	b := make([]byte, slotBytes)
	n, err := l.regions.ReadAt(b, int64(slot)*slotBytes)
	if err == io.EOF {
		clear(b[n:])
		err = nil
	}
	if err != nil {
		l.failed("read", err)
		return
	}
	if err := l.model.checkRead(slot, b); err != nil {
		l.Errorf("client %d reads slot %d: %v", l.id, slot, err)
	}
	l.count.add("reads", 1)
}

func (l *chaosLoad) snapshot(step int) {
	name := fmt.Sprintf("snap-%d-%d", l.id, step)
	s := l.model.beginSnapshot(name)
	err := l.client.Snapshot(l.ctx, regionFile, name)
	l.model.endSnapshot(s, err == nil)
	if err != nil {
		l.failed("snapshot", err)
		return
	}
	l.trace("client %d: %s", l.id, name)
	l.count.add("snapshots", 1)
}

// temporary makes a file, and removes it, twice perhaps.
func (l *chaosLoad) temporary(step int) {
	name := fmt.Sprintf("tmp/%d-%d", l.id, step)
	if err := l.client.WriteFile(l.ctx, name, make([]byte, 1000+l.rng.IntN(200_000)), 0o600); err != nil {
		l.failed("write a file", err)
	}
	err := l.client.Remove(l.ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.failed("remove", err)
		return
	}
	l.count.add("removals", 1)
}
