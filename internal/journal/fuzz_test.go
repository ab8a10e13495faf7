package journal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// disasters are what each reader is shown first.
func disasters() [][]byte {
	all := [][]byte{
		recordOf(kindData, 1<<31, 1),
		recordOf(kindData, 1<<31-1, 1),
		recordOf(kindData, MaxRecord, 1),
		recordOf(kindData, 8, 1<<63),
		recordOf(kindMark, 0, 1<<63),
	}
	for _, b := range testutil.Strangers() {
		all = append(all, b)
	}
	return all
}

func crc(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

var fuzzID = identity{1, 2, 3}

// recordOf returns a header with right checksums and a length that is not there.
func recordOf(kind byte, length uint32, sequence uint64) []byte {
	b := make([]byte, recordHeaderSize+8)
	putRecordHeader(b, fuzzID.seed(), kind, sequence)
	le.PutUint32(b[8:], length)
	check := crc(fuzzID.seed(), b[8:recordHeaderSize])
	le.PutUint32(b[4:], check)
	le.PutUint32(b[0:], crc(check, b[recordHeaderSize:]))
	return b
}

// segmentOf returns a segment with some records and marks, the last batch of which has no
// mark behind it, and the offset at which that begins.
func segmentOf(records int) (data []byte, unmarked int) {
	h := fileHeader{magic: segmentMagic, id: fuzzID, sequence: 1}
	data = h.encode()
	for n := range records {
		if n > 0 {
			data = append(data, zeroHeader[:]...)
			putRecordHeader(data[len(data)-recordHeaderSize:], fuzzID.seed(), kindMark, uint64(n))
		}
		unmarked = len(data)
		data = append(data, zeroHeader[:]...)
		data = append(data, payload(n)...)
		putRecordHeader(data[unmarked:], fuzzID.seed(), kindData, uint64(n+1))
	}
	return data, unmarked
}

// FuzzReader gives arbitrary bytes to the reader of segments. It must end, in
// little memory, with records that were written by this journal.
func FuzzReader(f *testing.F) {
	for _, b := range disasters() {
		f.Add(b)
	}
	whole, _ := segmentOf(8)
	f.Add(whole[fileHeaderSize:])
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &scanner{r: bytes.NewReader(data), path: "fuzz", seed: fuzzID.seed(), size: int64(len(data)), next: 1}
		bad, err := s.all(func(sequence uint64, record []byte) error {
			again := append(make([]byte, recordHeaderSize), record...)
			putRecordHeader(again, fuzzID.seed(), kindData, sequence)
			if !bytes.Contains(data, again) {
				t.Errorf("record %d does not stand in the log", sequence)
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("error is %v", err)
		}
		if bad != nil {
			if bad.offset < 0 || bad.offset > int64(len(data)) {
				t.Errorf("bad record at %d of %d", bad.offset, len(data))
			}
			if err := s.judge(bad); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("error is %v", err)
			}
		}
		if cap(s.window) > max(len(data), windowSize) {
			t.Errorf("%d bytes of memory for %d bytes of log", cap(s.window), len(data))
		}
	})
}

// FuzzOpen overwrites a part of a log in which all records but the last are marked
// as synced. It must be refused, or hold those, and nothing that was not written,
// unless the last mark itself is gone.
func FuzzOpen(f *testing.F) {
	whole, unmarked := segmentOf(8)
	for _, b := range disasters() {
		f.Add(uint16(unmarked), b)
		f.Add(uint16(len(whole)), b)
		f.Add(uint16(fileHeaderSize), b)
		f.Add(uint16(0), b)
	}
	all := new(ledger)
	for n := range 8 {
		all.records = append(all.records, payload(n))
	}
	f.Fuzz(func(t *testing.T, at uint16, over []byte) {
		data := bytes.Clone(whole)
		offset := min(int(at), len(data))
		n := copy(data[offset:], over)
		data = append(data, over[n:]...)
		found := new(ledger)
		j, err := Open(Config{Dir: dir, FS: disk{"log-0000000000000001": data}.mount(t)}, found)
		if err != nil {
			if e := refused(t, err); e.Offset > int64(len(data)) {
				t.Errorf("error is %v", err)
			}
			return
		}
		defer j.Close()
		safe := len(all.records) - 1
		switch {
		case len(over) == 0 || offset+len(over) <= unmarked-recordHeaderSize:
			safe++ // what was not marked was not touched either
		case offset < unmarked:
			safe = 0
		}
		if err := found.begins(all, uint64(safe)); err != nil {
			t.Errorf("%d bytes at %d: %v", len(over), offset, err)
		}
	})
}

// FuzzCheckpoint gives arbitrary bytes to the reader of checkpoints.
func FuzzCheckpoint(f *testing.F) {
	for _, b := range disasters() {
		f.Add(b)
	}
	h := fileHeader{magic: checkpointMagic, id: fuzzID, sequence: 7}
	b := append(h.encode(), "image"...)
	b = le.AppendUint64(b, 5)
	f.Add(le.AppendUint32(b, crc(0, b)))
	f.Fuzz(func(t *testing.T, data []byte) {
		fsys := vfs.NewMemory(1)
		if err := vfs.WriteFile(fsys, "checkpoint", data); err != nil {
			t.Fatal(err)
		}
		c := image{sequence: 7, path: "checkpoint"}
		err := c.restore(fsys, func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if err == nil && !bytes.Contains(data, []byte("trichk")) {
			t.Error("accepted")
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("error is %v", err)
		}
	})
}
