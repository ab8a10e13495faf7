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
			t.Errorf("splits of %d bytes: read %d bytes, not what was written", splitBytes, len(got))
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
