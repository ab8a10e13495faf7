package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
)

// This file is the load of TestGFSSurvivesKills.

// A killLoad is one client.
type killLoad struct {
	t       *testing.T
	id      int
	ctx     context.Context
	model   *killModel
	client  *gfs.Client
	rng     *rand.Rand
	regions *gfs.File
	appends *gfs.File
	records *gfs.RecordWriter
	recs    *gfs.File

	// Only this client does anything in its directory: it knows what is there.
	files   map[string]content
	removed map[string]content
	made    int
	written []string // records that are not flushed yet
}

// pace is how long a client waits between two operations, on average.
const pace = 20 * time.Millisecond

// run works until stop is closed.
func (l *killLoad) run(stop <-chan struct{}) {
	defer l.client.Close()
	if err := l.open(); err != nil {
		l.t.Errorf("client %d: %v", l.id, err)
		return
	}
	for {
		select {
		case <-stop:
			l.close()
			return
		case <-time.After(time.Duration(l.rng.Int64N(int64(2 * pace)))):
		}
		l.step()
	}
}

func (l *killLoad) open() (err error) {
	write := gfs.OpenOptions{Write: true}
	if l.regions, err = l.client.OpenFile(l.ctx, regionFile, write); err != nil {
		return err
	}
	if l.appends, err = l.client.OpenFile(l.ctx, appendFile, write); err != nil {
		return err
	}
	return l.openRecords()
}

func (l *killLoad) openRecords() (err error) {
	if l.recs, err = l.client.OpenFile(l.ctx, recordFile, gfs.OpenOptions{Write: true}); err == nil {
		l.records = gfs.NewRecordWriter(l.recs, gfs.RecordWriterConfig{})
	}
	return err
}

// close tells the model what is there.
func (l *killLoad) close() {
	l.flush()
	for _, f := range []*gfs.File{l.regions, l.appends, l.recs} {
		if err := f.Close(); err != nil {
			l.failed("close", err)
		}
	}
	l.model.mu.Lock()
	defer l.model.mu.Unlock()
	maps.Copy(l.model.files, l.files)
	st := l.client.Stats()
	l.model.n["write retries"] += int(st.WriteRetries)
	l.model.n["bad replicas reported"] += int(st.BadReplicas)
}

func (l *killLoad) step() {
	switch n := l.rng.IntN(80); {
	case n < 20:
		l.overwrite()
	case n < 28:
		l.readSlot()
	case n < 38:
		l.append()
	case n < 46:
		l.record()
	case n < 52:
		l.create()
	case n < 62:
		l.readFile()
	case n < 66:
		l.rename()
	case n < 70:
		l.snapshot()
	case n < 74:
		l.remove()
	case n < 79:
		l.undelete()
	default:
		l.copyRegions()
	}
}

// failed reports an error that nothing explains.
func (l *killLoad) failed(what string, err error) {
	l.model.count("failures")
	if !fails(err) {
		l.t.Errorf("client %d: %s: %v", l.id, what, err)
	}
}

// ownSlot draws a slot that only this client writes to.
func (l *killLoad) ownSlot() int { return l.rng.IntN(slotCount/killClients)*killClients + l.id }

func (l *killLoad) overwrite() {
	slot := l.ownSlot()
	n := l.model.begin(slot)
	_, err := l.regions.WriteAt(slotValue(slot, n), int64(slot)*slotBytes)
	if err == nil && l.rng.IntN(8) == 0 {
		err = l.regions.Sync()
	}
	l.model.wrote(slot, n, err == nil)
	if err != nil {
		l.failed("overwrite", err)
		return
	}
	l.model.count("overwrites")
}

func (l *killLoad) readSlot() {
	slot := l.ownSlot()
	n, err := readSlot(l.regions, slot)
	if err != nil {
		l.failed("read", err)
		return
	}
	if s := l.model.known()[slot]; !s.allows(n, s.attempted) {
		l.t.Errorf("client %d: slot %d has value %d; %d was acknowledged, and %d the last that was tried", l.id, slot, n, s.certain, s.attempted)
	}
	l.model.count("reads")
}

func (l *killLoad) append() {
	c := content{l.rng.Uint64(), 1 + l.rng.IntN(12_000)}
	off, err := l.appends.Append(c.bytes())
	if err != nil {
		l.failed("append", err)
		return
	}
	l.model.mu.Lock()
	defer l.model.mu.Unlock()
	l.model.pieces = append(l.model.pieces, piece{off, c})
	l.model.n["appends"]++
}

func (l *killLoad) record() {
	record := fmt.Sprintf("%d of client %d %0*d", l.rng.Uint64(), l.id, l.rng.IntN(2000), 0)
	if err := l.records.WriteContext(l.ctx, []byte(record)); err != nil {
		l.lostRecords(err)
		return
	}
	if l.written = append(l.written, record); len(l.written) >= 10 {
		l.flush()
	}
}

// flush has the records acknowledged.
func (l *killLoad) flush() {
	if err := l.records.Flush(l.ctx); err != nil {
		l.lostRecords(err)
		return
	}
	l.model.mu.Lock()
	defer l.model.mu.Unlock()
	for _, record := range l.written {
		l.model.records[record] = true
		l.model.n["records"]++
	}
	l.written = nil
}

// lostRecords goes on after an error with another writer.
func (l *killLoad) lostRecords(err error) {
	l.failed("record", err)
	l.written = nil
	_ = l.recs.Close() // the writer has said it
	if err := l.openRecords(); err != nil {
		l.failed("open", err)
	}
}

// fresh returns a path where nothing ever was.
func (l *killLoad) fresh() string {
	l.made++
	return path.Join(fmt.Sprint("client", l.id), fmt.Sprint(l.made%7), fmt.Sprint(l.made))
}

// draw returns one of the paths, in no order that maps decide.
func (l *killLoad) draw(files map[string]content) (string, bool) {
	names := slices.Sorted(maps.Keys(files))
	if len(names) == 0 {
		return "", false
	}
	return names[l.rng.IntN(len(names))], true
}

func (l *killLoad) create() {
	const most = 60
	if len(l.files) >= most {
		l.remove()
		return
	}
	name, c := l.fresh(), content{l.rng.Uint64(), l.rng.IntN(150_000)}
	if err := l.client.WriteFile(l.ctx, name, c.bytes(), 0o644); err != nil {
		l.failed("write a file", err)
		return
	}
	l.files[name] = c
	l.model.count("files written")
}

func (l *killLoad) readFile() {
	name, ok := l.draw(l.files)
	if !ok {
		return
	}
	got, err := l.client.ReadFile(l.ctx, name)
	if err != nil {
		l.failed("read a file", err)
		return
	}
	if !bytes.Equal(got, l.files[name].bytes()) {
		l.t.Errorf("client %d: %s has %d bytes, which are not the %d that were written", l.id, name, len(got), l.files[name].size)
	}
	l.model.count("files read")
}

func (l *killLoad) rename() {
	name, ok := l.draw(l.files)
	if !ok {
		return
	}
	to, c := l.fresh(), l.files[name]
	err := l.client.MkdirAll(l.ctx, path.Dir(to), 0o755)
	if err == nil {
		delete(l.files, name) // wherever it is if this fails
		err = l.client.Rename(l.ctx, name, to)
	}
	if err != nil {
		l.failed("rename", err)
		return
	}
	l.files[to] = c
	l.model.count("renames")
}

func (l *killLoad) snapshot() {
	name, ok := l.draw(l.files)
	if !ok {
		return
	}
	to := l.fresh()
	err := l.client.MkdirAll(l.ctx, path.Dir(to), 0o755)
	if err == nil {
		err = l.client.Snapshot(l.ctx, name, to)
	}
	if err != nil {
		l.failed("snapshot", err)
		return
	}
	l.files[to] = l.files[name]
	l.model.count("snapshots")
}

func (l *killLoad) remove() {
	name, ok := l.draw(l.files)
	if !ok {
		return
	}
	c := l.files[name]
	delete(l.files, name)
	if err := l.client.Remove(l.ctx, name); err != nil {
		l.failed("remove", err)
		return
	}
	l.removed[name] = c
	l.model.count("removals")
}

func (l *killLoad) undelete() {
	name, ok := l.draw(l.removed)
	if !ok {
		return
	}
	c := l.removed[name]
	delete(l.removed, name)
	at, err := l.client.Undelete(l.ctx, name, "")
	if err == nil && at != name {
		err = errors.New("it came back as " + at)
	}
	if err != nil {
		l.failed("undelete", err)
		return
	}
	l.files[name] = c
	l.model.count("undeletions")
}

// copyRegions makes a snapshot of what all clients are overwriting.
func (l *killLoad) copyRegions() {
	c := regionCopy{name: l.fresh(), before: l.model.known()}
	err := l.client.MkdirAll(l.ctx, path.Dir(c.name), 0o755)
	if err == nil {
		err = l.client.Snapshot(l.ctx, regionFile, c.name)
	}
	if err != nil {
		l.failed("snapshot of regions", err)
		return
	}
	c.after = l.model.known()
	l.model.mu.Lock()
	defer l.model.mu.Unlock()
	l.model.copies = append(l.model.copies, c)
	l.model.n["snapshots of regions"]++
}
