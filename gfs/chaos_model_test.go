// What a chaos knows must be there, and how it is held against the cluster.
//
//lint:bubble
package gfs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A chaosModel is what the clients of a chaos know, and what must be there therefore.
type chaosModel struct {
	began time.Time
	power bool // what was not synced may be lost

	mu      sync.Mutex // guards what follows
	era     int        // counts the power failures
	slots   [slots]slotHistory
	records []*chaosRecord
	copies  []*chaosCopy
	nonce   uint64
}

// A slotHistory is what was written to a slot, by its one writer.
type slotHistory struct {
	attempted uint64              // the newest value whose write has begun
	certain   uint64              // the newest that was acknowledged
	era       int                 // in which its write began
	synced    uint64              // the newest that a sync has covered
	unknown   map[uint64]struct{} // of which it is not known whether they were, or will be, written
}

// A chaosRecord is one that was appended.
type chaosRecord struct {
	data   []byte
	off    int64
	era    int // in which its append began
	acked  bool
	synced bool
}

// A chaosCopy is a snapshot of the regions.
type chaosCopy struct {
	name          string
	before, after [slots]slotHistory // when it began, and when it had been made
	made          bool
}

func newChaosModel() *chaosModel { return &chaosModel{began: time.Now()} }

func (m *chaosModel) begin(slot int, n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.slots[slot].attempted = n
}

// lostPower notes that the power of a chunkserver fails. Whatever has not been synced may
// be lost with it, and a sync that comes later does not bring it back.
func (m *chaosModel) lostPower() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.era++
}

// now returns the era.
func (m *chaosModel) now() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.era
}

func (m *chaosModel) wrote(slot int, n uint64, era int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.slots[slot]
	if ok {
		s.certain, s.era = n, era
		return
	}
	s.unknown = maps.Clone(s.unknown) // snapshots share it
	if s.unknown == nil {
		s.unknown = make(map[uint64]struct{})
	}
	s.unknown[n] = struct{}{}
}

// least is the oldest value that a slot may have.
func (m *chaosModel) least(s *slotHistory) uint64 {
	if m.power {
		return s.synced
	}
	return s.certain
}

// allows reports whether a slot may have a value, if it had to have least, and attempted
// is the last that can have come to it.
func (s *slotHistory) allows(n, least, attempted uint64) bool {
	_, unknown := s.unknown[n]
	return n <= attempted && (n >= least || unknown)
}

func (m *chaosModel) checkRead(slot int, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.slots[slot]
	return m.checkValue(slot, b, s, m.least(s), s.attempted)
}

// checkValue checks that b is a value that a slot may have. If the power failed it may be
// torn: each part of it must be of a value that the slot may have.
func (m *chaosModel) checkValue(slot int, b []byte, s *slotHistory, least, attempted uint64) error {
	parts := slices.Values([][]byte{b})
	if m.power {
		parts = slices.Chunk(b, valueUnit)
	}
	for part := range parts {
		n, err := numberOf(slot, part)
		if err == nil && !s.allows(n, least, attempted) {
			err = fmt.Errorf("value %d: %d to %d are allowed, and of %v it is not known whether they were written", n, least, attempted, slices.Sorted(maps.Keys(s.unknown)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// certainOf returns what a client knows to be there, and that has not seen the power fail:
// after a sync it is durable.
func (m *chaosModel) certainOf(client int) map[int]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[int]uint64)
	for slot := client; slot < slots; slot += chaosClients {
		if s := &m.slots[slot]; s.era == m.era {
			all[slot] = s.certain
		}
	}
	return all
}

// syncedSlots notes that a sync which began in an era has succeeded.
func (m *chaosModel) syncedSlots(all map[int]uint64, era int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if era != m.era {
		return
	}
	for slot, n := range all {
		m.slots[slot].synced = n
	}
}

func (m *chaosModel) newRecord(client, n int) *chaosRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nonce++
	data := binary.BigEndian.AppendUint64(make([]byte, 0, n), m.nonce)
	rng := rand.New(rand.NewPCG(uint64(client), m.nonce))
	for len(data) < n {
		data = append(data, byte(rng.Uint32())|1) // no zeros: those are padding
	}
	r := &chaosRecord{data: data, era: m.era}
	m.records = append(m.records, r)
	return r
}

func (m *chaosModel) appended(r *chaosRecord, off int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.off, r.acked = off, true
}

func (m *chaosModel) syncedRecords(all []*chaosRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range all {
		r.synced = r.era == m.era
	}
}

func (m *chaosModel) beginSnapshot(name string) *chaosCopy {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &chaosCopy{name: name, before: m.slots}
	m.copies = append(m.copies, s)
	return s
}

func (m *chaosModel) endSnapshot(s *chaosCopy, made bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.after, s.made = m.slots, made
}

// check waits until the cluster is at rest, and holds it against the model:
//
//   - every slot has, on all replicas, one whole value: the last that was acknowledged, or
//     one that came later; if the power failed, the last that was synced, or later ones,
//     which may be torn;
//   - every record is at the offset that was returned, on all replicas;
//   - what was acknowledged is the same on all replicas, even if the power has taken it;
//   - snapshots have what was there when they were made;
//   - the namespace is linearizable;
//   - every chunk has its replicas, nothing else is on any disk, and disks have not taken
//     more than that.
func (k *chaos) check() {
	k.rest()
	for slot := range slots {
		s := &k.model.slots[slot]
		k.eachSlot(regionFile, slot, s.certain > 0 && k.model.least(s) > 0, func(b []byte) error { return k.model.checkRead(slot, b) })
		if len(s.unknown) == 0 {
			k.checkSame(regionFile, int64(slot)*slotBytes, slotBytes)
		}
	}
	for _, r := range k.model.records {
		if r.acked && (r.synced || !k.model.power) {
			k.checkRecord(r)
		}
		if r.acked {
			k.checkSame(recordFile, r.off, len(r.data))
		}
	}
	for _, s := range k.model.copies {
		if s.made {
			k.checkCopy(s)
		}
	}
	k.paths.check(k)
	k.checkLeaks()
	if err := k.c.Master().CheckInvariants(); err != nil {
		k.Error(err)
	}
}

// rest waits until everything is repaired and what was removed is gone.
func (k *chaos) rest() {
	k.Helper()
	time.Sleep(chaosKept + 2*chaosLease)
	for end := time.Now().Add(40 * time.Minute); ; time.Sleep(time.Second) {
		err := k.unrest()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			k.Fatalf("the cluster does not come to rest: %v", err)
		}
	}
}

// unrest says what is not at rest.
func (k *chaos) unrest() error {
	report, err := k.client.Fsck(k.ctx, ".")
	if err != nil || len(report.Faults) > 0 || report.Garbage > 0 {
		var all []string
		for _, f := range report.Faults {
			for _, i := range k.holders(f.Handle) {
				r, _ := k.c.Chunkserver(i).Replica(f.Handle)
				all = append(all, fmt.Sprintf("%s: %+v", hostName(i), r))
			}
		}
		return fmt.Errorf("fsck: %+v, %v, %v", report, all, err)
	}
	have := make(map[uint64]int)
	for i := range chaosServers {
		for _, h := range k.c.Chunkserver(i).Replicas() {
			have[h]++
			if r, _ := k.c.Chunkserver(i).Replica(h); r.Health != "sound" {
				return fmt.Errorf("chunk %x on %s is %s", h, hostName(i), r.Health)
			}
		}
	}
	for _, h := range k.c.Master().Handles() {
		if have[h] != 3 {
			return fmt.Errorf("chunk %x is on %d disks", h, have[h])
		}
		delete(have, h)
	}
	if len(have) > 0 {
		return fmt.Errorf("disks have %d chunks that there are not: %x", len(have), slices.Collect(maps.Keys(have)))
	}
	return nil
}

// eachReplica calls f with every replica of a chunk that holds an offset of a file.
func (k *chaos) eachReplica(name string, off int64, must bool, f func(b []byte) error) {
	k.Helper()
	v, err := k.c.Master().ChunkOf(name, uint64(off/chaosChunk))
	switch {
	case err != nil:
		k.Errorf("%s: %v", name, err)
	case v.Handle == 0 && must:
		k.Errorf("%s has no chunk at %d", name, off)
	case v.Handle == 0:
	case len(v.Where) != 3:
		k.Errorf("%s at %d is on %v", name, off, v.Where)
	}
	for _, addr := range v.Where {
		b, err := k.content(addr, v.Handle)
		if err == nil {
			err = f(b)
		}
		if err != nil {
			k.Errorf("%s at %d, chunk %x on %s: %v", name, off, v.Handle, addr, err)
		}
	}
}

// content returns what a replica contains, as it was when that was first asked for.
func (k *chaos) content(addr string, h uint64) ([]byte, error) {
	name := fmt.Sprint(addr, h)
	if b, ok := k.contents[name]; ok {
		return b, nil
	}
	b, err := k.c.Chunkserver(k.server(addr)).Content(h)
	if err == nil {
		k.contents[name] = b
	}
	return b, err
}

// eachSlot calls f with a slot as each replica has it.
func (k *chaos) eachSlot(name string, slot int, must bool, f func(b []byte) error) {
	k.Helper()
	off := int64(slot) * slotBytes
	k.eachReplica(name, off, must, func(b []byte) error {
		at := make([]byte, slotBytes)
		if from := int(off % chaosChunk); from < len(b) {
			copy(at, b[from:])
		}
		if err := f(at); err != nil {
			return fmt.Errorf("slot %d: %w", slot, err)
		}
		return nil
	})
}

// checkSame checks that n bytes are the same on all replicas: no mutation of them has failed.
func (k *chaos) checkSame(name string, off int64, n int) {
	k.Helper()
	var first []byte
	k.eachReplica(name, off, false, func(b []byte) error {
		at := make([]byte, n)
		if from := int(off % chaosChunk); from < len(b) {
			copy(at, b[from:])
		}
		if first == nil {
			first = at
		}
		if !bytes.Equal(at, first) {
			return fmt.Errorf("%d bytes are not those that another replica has", n)
		}
		return nil
	})
}

func (k *chaos) checkRecord(r *chaosRecord) {
	k.Helper()
	k.eachReplica(recordFile, r.off, true, func(b []byte) error {
		if from := int(r.off % chaosChunk); len(b) < from+len(r.data) || !bytes.Equal(b[from:from+len(r.data)], r.data) {
			return fmt.Errorf("a record of %d bytes is not there", len(r.data))
		}
		return nil
	})
}

func (k *chaos) checkCopy(s *chaosCopy) {
	k.Helper()
	for slot := range slots {
		least := k.model.least(&s.before[slot])
		k.eachSlot(s.name, slot, least > 0, func(b []byte) error {
			return k.model.checkValue(slot, b, &s.after[slot], least, s.after[slot].attempted)
		})
	}
}

// checkLeaks holds what disks have taken against what is on them.
func (k *chaos) checkLeaks() {
	k.Helper()
	const each, base = 12 << 10, 64 << 10 // metadata, rounded to sectors
	for i := range chaosServers {
		s := k.c.Chunkserver(i)
		var want int64
		for _, h := range s.Replicas() {
			r, _ := s.Replica(h)
			want += r.Length + each
		}
		if got := k.c.Stored(i); got > want+base {
			k.Errorf("the disk of %s has taken %d bytes, its replicas %d at most", hostName(i), got, want)
		}
	}
}
