package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

func TestRoundTrip(t *testing.T) {
	when := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	var b []byte
	b = binary.AppendUvarint(b, 300)
	b = binary.AppendVarint(b, math.MinInt64)
	b = AppendString(b, "héllo")
	b = AppendBytes(b, nil)
	b = AppendBool(b, true)
	b = AppendTime(b, when)
	b = AppendTime(b, time.Time{})
	b = binary.LittleEndian.AppendUint32(b, 7)
	b = binary.LittleEndian.AppendUint64(b, math.MaxUint64)
	b = append(b, 9, 1, 2)

	d := NewDecoder(b)
	if v := d.Uvarint(); v != 300 {
		t.Errorf("Uvarint = %d", v)
	}
	if v := d.Varint(); v != math.MinInt64 {
		t.Errorf("Varint = %d", v)
	}
	if v := d.String(); v != "héllo" {
		t.Errorf("String = %q", v)
	}
	if v := d.Bytes(); len(v) != 0 {
		t.Errorf("Bytes = %q", v)
	}
	if !d.Bool() {
		t.Error("Bool = false")
	}
	if v := d.Time(); !v.Equal(when) {
		t.Errorf("Time = %v", v)
	}
	if v := d.Time(); !v.IsZero() {
		t.Errorf("zero Time = %v", v)
	}
	if v := d.Uint32(); v != 7 {
		t.Errorf("Uint32 = %d", v)
	}
	if v := d.Uint64(); v != math.MaxUint64 {
		t.Errorf("Uint64 = %d", v)
	}
	if v := d.Byte(); v != 9 {
		t.Errorf("Byte = %d", v)
	}
	if v := d.Rest(); len(v) != 2 {
		t.Errorf("Rest = %v", v)
	}
	if err := d.Finish(); err != nil {
		t.Errorf("Finish: %v", err)
	}
}

func TestDecoderRefuses(t *testing.T) {
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	for name, take := range map[string]func(*Decoder){
		"bytes beyond the end":  func(d *Decoder) { d.Bytes() },
		"count beyond the end":  func(d *Decoder) { d.Count(1) },
		"int beyond its limit":  func(d *Decoder) { d.Int(10) },
		"truth value":           func(d *Decoder) { d.Bool() },
		"fixed beyond the end":  func(d *Decoder) { d.Next(11) },
		"negative":              func(d *Decoder) { d.Next(-1) },
		"trailing bytes":        func(d *Decoder) { d.Byte() },
		"refused by the caller": func(d *Decoder) { d.Fail("no %s", "good") },
	} {
		d := NewDecoder(huge)
		take(&d)
		err := d.Finish()
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error %v, want ErrCorrupt", name, err)
		}
		if d.Uvarint() != 0 || d.Byte() != 0 || d.String() != "" || d.Len() != 0 || d.Rest() != nil {
			t.Errorf("%s: values after an error", name)
		}
		if d.Err() == nil || d.Err().Error() != err.Error() {
			t.Errorf("%s: first error was not kept", name)
		}
	}
	longer := NewDecoder([]byte{0x81, 0x00})
	if v := longer.Uvarint(); v != 1 || longer.Finish() != nil {
		t.Errorf("a longer form of 1 is %d, %v", v, longer.Err())
	}
	overlong := NewDecoder([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	if overlong.Uvarint(); overlong.Err() == nil {
		t.Error("a varint of more than 64 bits was accepted")
	}
}

// FuzzDecoder takes values as the input itself has it: a byte chooses what comes
// next. Nothing may be longer than the input, and an error is for good.
func FuzzDecoder(f *testing.F) {
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	const kinds = 11
	for kind := range byte(kinds) {
		f.Add(append([]byte{kind, 3}, "abcdefgh"...))
		for _, b := range testutil.Lengths(kind) {
			f.Add(append(b, "abcdefgh"...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := NewDecoder(data)
		for d.Err() == nil && d.Len() > 0 {
			before, taken := d.Len(), 0
			switch d.Byte() % kinds {
			case 0:
				d.Uvarint()
			case 1:
				d.Varint()
			case 2:
				taken = len(d.Bytes())
			case 3:
				taken = len(make([]uint64, d.Count(8)))
			case 4:
				d.Bool()
			case 5:
				d.Uint32()
			case 6:
				taken = len(d.String())
			case 7:
				d.Time()
			case 8:
				taken = len(d.Next(d.Int(100)))
			case 9:
				d.Uint64()
			case 10:
				taken = len(d.Rest())
			}
			if d.Len() >= before || taken > before {
				t.Fatalf("%d bytes were left, %d were taken, %d are left", before, taken, d.Len())
			}
		}
		if err := d.Finish(); err != nil && (!errors.Is(err, ErrCorrupt) || d.Byte() != 0 || d.Bytes() != nil || d.Err() != err) {
			t.Errorf("after the error %v there are values or another error", err)
		}
	})
}
