package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/gfs"
)

// This file is what the clients of TestGFSSurvivesKills know: what must be there whatever
// was killed, since it was acknowledged.

const (
	regionFile = "regions" // in which each client has slots of its own, which it overwrites
	appendFile = "appends" // to which all append
	recordFile = "records" // in which all write records
	slotBytes  = 8 << 10
	slotCount  = 128 // in four chunks
)

// A killModel is what is known of all files.
type killModel struct {
	mu      sync.Mutex // guards what follows
	slots   [slotCount]slotHistory
	pieces  []piece
	records map[string]bool
	copies  []regionCopy
	files   map[string]content
	n       map[string]int // how much has happened
}

// A slotHistory is what was written to a slot, by its one writer.
type slotHistory struct {
	certain, attempted uint64          // the last values that were acknowledged, and tried
	unknown            map[uint64]bool // of which it is not known whether they were written
}

// allows reports whether a slot may have value n, which was read after before was known,
// and before more than the attempted value can have been written.
func (s *slotHistory) allows(n, attempted uint64) bool {
	return n <= attempted && (n >= s.certain || s.unknown[n])
}

// A piece is what was appended, and where.
type piece struct {
	off int64
	content
}

// A content is the bytes that a seed gives.
type content struct {
	seed uint64
	size int
}

func (c content) bytes() []byte {
	b := make([]byte, (c.size+7)/8*8)
	rng := rand.New(rand.NewPCG(c.seed, 1))
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b[:c.size]
}

// A regionCopy is a snapshot of the regions: what was known when it began and ended.
type regionCopy struct {
	name          string
	before, after [slotCount]slotHistory
}

func newKillModel() *killModel {
	return &killModel{records: make(map[string]bool), files: make(map[string]content), n: make(map[string]int)}
}

func (m *killModel) count(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n[what]++
}

// begin returns the next value of a slot.
func (m *killModel) begin(slot int) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.slots[slot].attempted++
	return m.slots[slot].attempted
}

func (m *killModel) wrote(slot int, n uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.slots[slot]
	if ok {
		s.certain = n
		return
	}
	if s.unknown = maps.Clone(s.unknown); s.unknown == nil { // copies share it
		s.unknown = make(map[uint64]bool)
	}
	s.unknown[n] = true
}

// known returns the slots as they are now.
func (m *killModel) known() [slotCount]slotHistory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.slots
}

// slotValue is the n-th value of a slot.
func slotValue(slot int, n uint64) []byte {
	b := make([]byte, 0, slotBytes)
	for len(b) < slotBytes {
		b = binary.BigEndian.AppendUint64(b, n)
		b = binary.BigEndian.AppendUint64(b, uint64(slot))
	}
	return b
}

// readSlot returns the value that a slot has.
func readSlot(f *gfs.File, slot int) (uint64, error) {
	b := make([]byte, slotBytes)
	n, err := f.ReadAt(b, int64(slot)*slotBytes)
	if err != nil && err != io.EOF {
		return 0, err
	}
	clear(b[n:])
	value := binary.BigEndian.Uint64(b)
	want := make([]byte, slotBytes) // nothing was written
	if value > 0 {
		want = slotValue(slot, value)
	}
	if !bytes.Equal(b, want) {
		return 0, fmt.Errorf("slot %d is not the whole of a value", slot)
	}
	return value, nil
}

// fails reports whether an error is one that kills and disks explain: nothing was
// promised.
func fails(err error) bool {
	return errors.Is(err, gfs.ErrUnavailable) || errors.Is(err, gfs.ErrNoSpace) || errors.Is(err, gfs.ErrStale)
}

// check reads everything that was acknowledged. Nobody writes meanwhile.
func (m *killModel) check(t *testing.T, client *gfs.Client) {
	t.Helper()
	m.checkRegions(t, client, regionFile, &m.slots, &m.slots)
	for i := range m.copies {
		m.checkRegions(t, client, m.copies[i].name, &m.copies[i].before, &m.copies[i].after)
	}
	for name, want := range m.files {
		if got, err := client.ReadFile(t.Context(), name); err != nil || !bytes.Equal(got, want.bytes()) {
			t.Errorf("%s has %d bytes, want %d: %v", name, len(got), want.size, err)
		}
	}
	m.checkPieces(t, client)
	m.checkRecords(t, client)
}

func (m *killModel) checkRegions(t *testing.T, client *gfs.Client, name string, before, after *[slotCount]slotHistory) {
	t.Helper()
	f, err := client.Open(t.Context(), name)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for slot := range slotCount {
		n, err := readSlot(f, slot)
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case !before[slot].allows(n, after[slot].attempted) && !after[slot].unknown[n]:
			t.Errorf("%s: slot %d has value %d; %d was acknowledged, and %d the last that was tried", name, slot, n, before[slot].certain, after[slot].attempted)
		}
	}
}

func (m *killModel) checkPieces(t *testing.T, client *gfs.Client) {
	t.Helper()
	f, err := client.Open(t.Context(), appendFile)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for _, p := range m.pieces {
		b := make([]byte, p.size)
		if n, err := f.ReadAt(b, p.off); n < len(b) || !bytes.Equal(b, p.bytes()) {
			t.Errorf("the %d bytes that were appended at %d are not there: %v", p.size, p.off, err)
		}
	}
}

// checkRecords checks that every record that was acknowledged is there, and none twice.
func (m *killModel) checkRecords(t *testing.T, client *gfs.Client) {
	t.Helper()
	f, err := client.Open(t.Context(), recordFile)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	seen := make(map[string]bool)
	for record, err := range gfs.NewRecordReader(f, gfs.RecordReaderConfig{}).All() {
		if err != nil {
			t.Errorf("records: %v", err)
			return
		}
		if seen[string(record.Data)] {
			t.Errorf("record %q is read twice", record.Data)
		}
		seen[string(record.Data)] = true
	}
	for _, record := range slices.Sorted(maps.Keys(m.records)) {
		if !seen[record] {
			t.Errorf("record %q is lost", record)
		}
	}
}
