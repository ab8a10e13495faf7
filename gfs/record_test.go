package gfs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

// readRecords returns the data of all records.
func readRecords(t testing.TB, r *RecordReader) []string {
	t.Helper()
	var all []string
	for rec, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(rec.Data))
	}
	return all
}

func TestRecordsOfManyWriters(t *testing.T) {
	for _, batch := range []int{1, 1000, 0} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				k := newFake(t, 4, fakeChunkSize)
				want := make([][]string, 5)
				var wg sync.WaitGroup
				for i := range want {
					c := k.dial(ClientConfig{Transport: k.net.Host(fmt.Sprint("writer", i))})
					f, err := c.Append(t.Context(), "log")
					if err != nil {
						t.Fatal(err)
					}
					w := NewRecordWriter(f, RecordWriterConfig{BatchBytes: batch})
					for n := range 200 {
						want[i] = append(want[i], fmt.Sprintf("%d:%d:%s", i, n, bytes.Repeat([]byte{'x'}, n*n/10)))
					}
					wg.Go(func() {
						for _, rec := range want[i] {
							if err := w.Write([]byte(rec)); err != nil {
								t.Error(err)
							}
						}
						if err := w.Sync(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				c := k.dial(ClientConfig{})
				f := openFile(t, c, "log")
				got := make([][]string, len(want))
				r := NewRecordReader(f, RecordReaderConfig{})
				for _, rec := range readRecords(t, r) {
					i := rec[0] - '0'
					got[i] = append(got[i], rec)
				}
				for i := range want {
					if !slices.Equal(got[i], want[i]) {
						t.Errorf("writer %d: %d records of %d, or not in their order", i, len(got[i]), len(want[i]))
					}
				}
				if s := r.Stats(); s.Records != 1000 || s.Skipped == 0 {
					t.Errorf("%+v: there should be padding", s)
				}
				// From anywhere on, only whole records are found.
				for range 20 {
					from := rand.Int64N(k.chunkSize * 2)
					r := NewRecordReader(f, RecordReaderConfig{Offset: from})
					rec, err := r.Next()
					if err != nil || rec.Offset < from || !slices.Contains(want[rec.Data[0]-'0'], string(rec.Data)) {
						t.Errorf("from %d: %+v, %v", from, rec, err)
					}
				}
			})
		})
	}
}

func TestRecordWriterBoundsAndErrors(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		f := createFile(t, c, "log")
		w := NewRecordWriter(f, RecordWriterConfig{})
		wantErr(t, w.Write(make([]byte, w.MaxRecord()+1)), ErrTooLarge)
		for range 5 {
			if err := w.Write(make([]byte, w.MaxRecord())); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := readRecords(t, NewRecordReader(f, RecordReaderConfig{})); len(got) != 5 || len(got[4]) != w.MaxRecord() {
			t.Errorf("%d records", len(got))
		}
		g := createFile(t, c, "other")
		w = NewRecordWriter(g, RecordWriterConfig{})
		k.refuseNext(methodGrant, ErrQuota)
		if err := w.Write([]byte("record")); err != nil {
			t.Fatal(err)
		}
		wantErr(t, w.Flush(t.Context()), ErrQuota)
		wantErr(t, w.Flush(t.Context()), ErrQuota)
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		wantErr(t, w.Write([]byte("record")), ErrClosed)
	})
}

func TestRecordReaderFollowsAFile(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		f := createFile(t, c, "log")
		w := NewRecordWriter(f, RecordWriterConfig{BatchBytes: 1})
		r := NewRecordReader(openFile(t, c, "log"), RecordReaderConfig{})
		for i := range 100 {
			if rec, err := r.Next(); err != io.EOF {
				t.Fatalf("%+v, %v", rec, err)
			}
			want := noise(i * 100)
			if err := w.Write(want); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if rec, err := r.Next(); err != nil || !bytes.Equal(rec.Data, want) {
				t.Fatalf("record %d: %d bytes, %v", i, len(rec.Data), err)
			}
		}
	})
}

// growing is a file that somebody appends to.
type growing struct{ data []byte }

func (g *growing) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(g.data).ReadAt(p, off)
}

func TestRecordReaderWaitsForTheRest(t *testing.T) {
	whole := appendRecord(nil, recordID{1, 1}, noise(5000))
	for _, cut := range []int{1, 10, recordHead, recordHead + 1, len(whole) - 1} {
		g := &growing{slices.Clone(whole[:cut])}
		r := NewRecordReader(g, RecordReaderConfig{})
		for range 2 {
			if rec, err := r.Next(); err != io.EOF {
				t.Fatalf("cut at %d: %+v, %v", cut, rec, err)
			}
		}
		g.data = whole
		if rec, err := r.Next(); err != nil || len(rec.Data) != 5000 {
			t.Errorf("cut at %d: the record that is whole now: %v", cut, err)
		}
	}
}

// TestRecordReaderFindsAllThatIsWhole damages files of records in every way that a
// failed append can, and more.
func TestRecordReaderFindsAllThatIsWhole(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var file []byte
		var want []string
		last, again := 0, false // where the last whole record begins, and whether it is there twice
		for n := uint64(1); n < 60; n++ {
			data := noise(rnd.IntN(3000))
			rec := appendRecord(nil, recordID{7, n}, data)
			kind := rnd.IntN(8)
			switch kind {
			case 0: // padding
				file = append(file, make([]byte, rnd.IntN(5000))...)
			case 1: // a piece of the record, before the record
				file = append(file, rec[:rnd.IntN(len(rec))]...)
			case 2: // a piece, then zeros where the rest should be
				k := rnd.IntN(len(rec))
				file = append(append(file, rec[:k]...), make([]byte, len(rec)-k)...)
			case 3: // a duplicate
				file = append(file, rec...)
			case 4: // bytes of no sense, with beginnings of records in them
				junk := noise(rnd.IntN(200))
				file = append(append(file, junk...), recordMagic[:rnd.IntN(5)]...)
			case 5: // the record is hit itself
				rec[rnd.IntN(len(rec))] ^= 1 << rnd.IntN(8)
				file = append(file, rec...)
				continue
			}
			last, again = len(file), kind == 3
			file = append(file, rec...)
			want = append(want, string(data))
		}
		if rnd.IntN(2) == 0 { // the last one is cut off
			file = file[:last+rnd.IntN(recordHead+len(want[len(want)-1]))]
			if !again {
				want = want[:len(want)-1]
			}
		}
		r := NewRecordReader(bytes.NewReader(file), RecordReaderConfig{MaxRecord: 4000})
		if got := readRecords(t, r); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d records of %d", seed, len(got), len(want))
		}
	}
}

func TestRecordWindow(t *testing.T) {
	w := recordWindow{most: 3}
	for i, c := range []struct {
		n   uint64
		new bool
	}{{1, true}, {2, true}, {1, false}, {3, true}, {4, true}, {1, true}, {3, false}, {4, false}, {2, true}} {
		if got := w.add(recordID{9, c.n}); got != c.new {
			t.Errorf("step %d: %d is new: %v", i, c.n, got)
		}
	}
	if len(w.seen) != 3 || len(w.ring) != 3 {
		t.Errorf("%d and %d ids in a window of 3", len(w.seen), len(w.ring))
	}
}

func FuzzRecordReader(f *testing.F) {
	whole := appendRecord(nil, recordID{1, 1}, []byte("record"))
	f.Add(whole)
	f.Add(append(whole, whole...))
	f.Add(whole[:len(whole)-1])
	f.Add([]byte(recordMagic + recordMagic))
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	for _, b := range testutil.Lengths([]byte(recordMagic)...) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewRecordReader(bytes.NewReader(data), RecordReaderConfig{MaxRecord: 1 << 16})
		at := int64(0)
		for rec, err := range r.All() {
			if err != nil {
				t.Fatal(err)
			}
			if rec.Offset < at || rec.Offset+recordHead+int64(len(rec.Data)) > int64(len(data)) {
				t.Fatalf("a record at %d of %d bytes", rec.Offset, len(data))
			}
			at = rec.Offset + recordHead
		}
		// What follows is found, whatever went before.
		tail := appendRecord(nil, recordID{2, 1}, []byte("tail"))
		r = NewRecordReader(bytes.NewReader(append(bytes.Clone(data), tail...)), RecordReaderConfig{MaxRecord: 1 << 16})
		found := false
		for rec := range r.All() {
			found = found || rec.Writer == 2 && string(rec.Data) == "tail"
		}
		if h, ok := parseRecord(data[min(len(data), int(at)):], 1<<16); !found && !ok && h.length == 0 {
			t.Fatal("the last record is hidden")
		}
	})
}
