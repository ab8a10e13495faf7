package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/fstest"
)

// Whatever the splits, each record is read once, whole and in order.
func TestFixedRecords(t *testing.T) {
	var a, b []byte
	for i := range 1000 {
		a = fmt.Appendf(a, "a%06d", i)
	}
	for i := range 10 {
		b = fmt.Appendf(b, "b%06d", i)
	}
	files := ReadOnly(fstest.MapFS{"a": {Data: a}, "b": {Data: b}, "empty": {}})
	input := FixedRecords(7)
	for _, splitBytes := range []int64{0, 1, 7, 10, 100, 999, 1 << 20} {
		splits, err := input.Splits(t.Context(), files, &Spec{Input: []string{"."}, SplitBytes: splitBytes})
		if err != nil {
			t.Fatal(err)
		}
		if splitBytes == 1 && len(splits) != 1010 {
			t.Errorf("%d splits of one record, want 1010", len(splits))
		}
		for _, input := range []Input{input, input.Reuse()} {
			var got []byte
			for _, split := range splits {
				for r, err := range input.Read(t.Context(), files, split) {
					if err != nil {
						t.Fatal(err)
					}
					if at := map[string]int{"a": 0, "b": len(a)}[r.File] + int(r.Offset); at != len(got) {
						t.Fatalf("splits of %d bytes: record %s:%d follows %d bytes", splitBytes, r.File, r.Offset, len(got))
					}
					got = append(got, r.Value...)
				}
			}
			if !bytes.Equal(got, append(bytes.Clone(a), b...)) {
				t.Errorf("%T, splits of %d bytes: read %d bytes, not what was written", input, splitBytes, len(got))
			}
		}
	}
}

// Records that may be kept have memory of their own; those that are read into the same
// memory again take it for all blocks and files.
func TestFixedRecordsReuse(t *testing.T) {
	data := make([]byte, 4*readBytes)
	for i := range data {
		data[i] = byte(i >> 16)
	}
	files := ReadOnly(fstest.MapFS{"a": {Data: data}, "b": {Data: data}})
	split := Split{Pieces: []Piece{{Name: "a", Length: int64(len(data))}, {Name: "b", Length: int64(len(data))}}}
	for input, mostBlocks := range map[Input]int{FixedRecords(1 << 10): 8, FixedRecords(1 << 10).Reuse(): 1} {
		var kept [][]byte
		blocks := make(map[*byte]bool) // by the first byte of their memory
		for r, err := range input.Read(t.Context(), files, split) {
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, r.Value)
			if want := data[r.Offset]; r.Value[0] != want {
				t.Fatalf("%T: record at %d begins with %d, want %d", input, r.Offset, r.Value[0], want)
			}
			if mostBlocks == 1 && r.Offset%reuseBytes == 0 || mostBlocks > 1 && r.Offset%readBytes == 0 {
				blocks[&r.Value[0]] = true
			}
		}
		if len(kept) != 2*len(data)/(1<<10) || len(blocks) != mostBlocks {
			t.Errorf("%T: %d records in %d blocks, want %d blocks", input, len(kept), len(blocks), mostBlocks)
		}
		if mostBlocks > 1 && kept[0][0] != 0 {
			t.Errorf("%T: a record has changed", input)
		}
	}
	for _, err := range FixedRecords(0).Reuse().Read(t.Context(), files, split) {
		if !errors.Is(err, ErrConfig) {
			t.Errorf("records of no bytes: %v", err)
		}
	}
}

func TestFixedRecordsSayWhatIsWrong(t *testing.T) {
	files := ReadOnly(fstest.MapFS{"f": {Data: make([]byte, 15)}})
	spec := &Spec{Input: []string{"f"}}
	if _, err := FixedRecords(7).Splits(t.Context(), files, spec); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a record at the end: %v", err)
	}
	if _, err := FixedRecords(0).Splits(t.Context(), files, spec); !errors.Is(err, ErrConfig) {
		t.Errorf("records of no bytes: %v", err)
	}
	if _, err := FixedRecords(5).Splits(t.Context(), files, spec); err != nil {
		t.Errorf("whole records: %v", err)
	}
	for _, split := range []Split{
		{Pieces: []Piece{{Name: "f", Length: 20}}}, // the file has shrunk
		{Pieces: []Piece{{Name: "gone", Length: 5}}},
		{Pieces: []Piece{{Name: "f", Length: 7}}},
	} {
		var last error
		for _, err := range FixedRecords(5).Read(t.Context(), files, split) {
			last = err
		}
		if last == nil {
			t.Errorf("reading %v does not fail", split)
		}
	}
}
