package mapreduce

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Wherever a file is cut, every line is read exactly once, whole, and in order.
func TestTextReadsEveryLineOnce(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		files := fstest.MapFS{}
		var want []string
		for i := range 1 + r.IntN(4) {
			name := fmt.Sprintf("f%d", i)
			var content bytes.Buffer
			for range r.IntN(20) {
				line := strings.Repeat("x", r.IntN(1<<r.IntN(8))) + fmt.Sprint(r.IntN(10))
				want = append(want, fmt.Sprintf("%s@%d=%s", name, content.Len(), line))
				content.WriteString(line + "\n")
			}
			if r.IntN(2) == 0 {
				want = append(want, fmt.Sprintf("%s@%d=end", name, content.Len()))
				content.WriteString("end")
			}
			files[name] = &fstest.MapFile{Data: content.Bytes()}
		}
		spec := Spec{Input: []string{"*"}, SplitBytes: 1 + int64(r.IntN(300))}
		splits, err := Text{}.Splits(t.Context(), ReadOnly(files), &spec)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, split := range splits {
			if n := split.bytes(); n > spec.SplitBytes {
				t.Errorf("seed %d: split of %d bytes, want at most %d", seed, n, spec.SplitBytes)
			}
			for rec, err := range (Text{Reuse: seed%2 == 1, Blocks: seed%4 >= 2}).Read(t.Context(), ReadOnly(files), split) {
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for line := range strings.SplitSeq(rec.Text(), "\n") { // one, unless there are blocks
					got = append(got, fmt.Sprintf("%s@%d=%s", rec.File, rec.Offset, line))
					rec.Offset += int64(len(line)) + 1
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, splits of %d bytes:\ngot  %q\nwant %q", seed, spec.SplitBytes, got, want)
		}
	}
}

// Lines that are longer than what is read at a time.
func TestTextReadsLongLines(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 3*readBytes/16)
	files := ReadOnly(fstest.MapFS{"f": {Data: []byte("a\n" + long + "\nb\n" + long)}})
	spec := Spec{Input: []string{"f"}, SplitBytes: readBytes}
	splits, err := Text{}.Splits(t.Context(), files, &spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range []Text{{}, {Reuse: true}, {Blocks: true}, {Reuse: true, Blocks: true}} {
		var got []string
		for _, split := range splits {
			for rec, err := range input.Read(t.Context(), files, split) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, strings.Clone(rec.Text()))
			}
		}
		if !slices.Equal(got, []string{"a", long, "b", long}) {
			t.Errorf("%+v: read %d lines, not the four that were written", input, len(got))
		}
	}
}

// Lines of which many fit into what is read at a time are few records, if blocks are.
func TestTextBlocks(t *testing.T) {
	const size = 3 * readBytes
	text := strings.Repeat("a line\n\n", size/8)
	files := ReadOnly(fstest.MapFS{"f": {Data: []byte(text)}})
	spec := Spec{Input: []string{"f"}, SplitBytes: size/2 + 3}
	splits, err := Text{}.Splits(t.Context(), files, &spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range []Text{{Blocks: true}, {Reuse: true, Blocks: true}} {
		var got strings.Builder
		records := 0
		for _, split := range splits {
			for rec, err := range input.Read(t.Context(), files, split) {
				if err != nil {
					t.Fatal(err)
				}
				if rec.Offset != int64(got.Len()) {
					t.Fatalf("%+v: a block at %d, want it at %d", input, rec.Offset, got.Len())
				}
				got.WriteString(rec.Text() + "\n")
				records++
			}
		}
		if most := size/reuseBytes + 2*len(splits); got.String() != text || records > most {
			t.Errorf("%+v: %d bytes in %d records, want %d in at most %d", input, got.Len(), records, len(text), most)
		}
	}
}

func TestTextPacksSmallFiles(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 1000 {
		files[fmt.Sprintf("dir%d/file%03d", i%10, i)] = &fstest.MapFile{Data: bytes.Repeat([]byte("x"), 1000)}
	}
	spec := Spec{Input: []string{"."}, SplitBytes: 100_000}
	splits, err := Text{}.Splits(t.Context(), ReadOnly(files), &spec)
	if err != nil || len(splits) != 10 {
		t.Fatalf("%d splits, %v; want 10", len(splits), err)
	}
	if first, last := splits[0].Pieces[0].Name, splits[9].Pieces[99].Name; first != "dir0/file000" || last != "dir9/file999" {
		t.Errorf("the first file is %s and the last %s", first, last)
	}
}

func TestTextErrors(t *testing.T) {
	files := fstest.MapFS{"f": {Data: []byte("a\nb\n")}, "g/h": {Data: []byte("c\n")}}
	split := func(patterns ...string) error {
		_, err := Text{}.Splits(t.Context(), ReadOnly(files), &Spec{Input: patterns})
		return err
	}
	if err := split("f", "nothing*"); !errors.Is(err, ErrNoInput) || !strings.Contains(err.Error(), "nothing*") {
		t.Errorf("a pattern without a match: %v", err)
	}
	for _, bad := range []string{"../f", "/f", "[", "a//b"} {
		if err := split(bad); !errors.Is(err, ErrConfig) {
			t.Errorf("pattern %q: %v", bad, err)
		}
	}
	// A file that has shrunk since it was split must not pass as a short one.
	for _, err := range (Text{}).Read(t.Context(), ReadOnly(files), Split{Pieces: []Piece{{Name: "f", Length: 10}}}) {
		if err == nil || !strings.Contains(err.Error(), "when the job began") {
			t.Errorf("a file that has shrunk: %v", err)
		}
	}
	for _, err := range (Text{}).Read(t.Context(), ReadOnly(files), Split{Pieces: []Piece{{Name: "gone", Length: 10}}}) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file that is gone: %v", err)
		}
	}
}

func TestGlob(t *testing.T) {
	files := fstest.MapFS{}
	for _, name := range []string{"a", "b.go", "d/a", "d/b.go", "d/e/a", "d/e/b.go", "x/y/z/b.go", "q[1]/a*b"} {
		files[name] = &fstest.MapFile{}
	}
	for pattern, want := range map[string]string{
		"a":           "a",
		"*":           "a b.go",
		"**":          "a b.go d/a d/b.go d/e/a d/e/b.go q[1]/a*b x/y/z/b.go",
		"**/b.go":     "b.go d/b.go d/e/b.go x/y/z/b.go",
		"d/**":        "d/a d/b.go d/e/a d/e/b.go",
		"d/*":         "d/a d/b.go",
		"*/*":         "d/a d/b.go q[1]/a*b",
		"**/e/**":     "d/e/a d/e/b.go",
		"**/**/*.go":  "b.go d/b.go d/e/b.go x/y/z/b.go",
		"x/**/b.go":   "x/y/z/b.go",
		"nothing/**":  "",
		"d":           "",
		".":           "",
		"d/[^b]*":     "d/a",
		"x/y/z/w/*/*": "",
		"q[1]/*":      "",
		`q\[1]/*`:     "q[1]/a*b",
		`q*/a\*b`:     "q[1]/a*b",
	} {
		got, err := ReadOnly(files).Glob(t.Context(), pattern)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("Glob(%q) = %q, %v, want %q", pattern, got, err, want)
		}
	}
}

func TestQuotePattern(t *testing.T) {
	for _, name := range []string{"plain", "a*b?c[d]e", `back\slash`, `\*`} {
		quoted := QuotePattern(name)
		if ok, err := path.Match(quoted, name); !ok || err != nil {
			t.Errorf("%q is quoted as %q, which does not match it: %v", name, quoted, err)
		}
		if got, ok := isLiteral(quoted); !ok || got != name {
			t.Errorf("%q is quoted as %q, which is read as %q, %v", name, quoted, got, ok)
		}
	}
}

// A line is too long or not, wherever blocks happen to end.
func TestTextBoundsLines(t *testing.T) {
	if testing.Short() {
		t.Skip("reads lines of 64 MB")
	}
	text := bytes.Repeat([]byte("x"), 96<<20)
	text[len(text)-1] = '\n'
	files := ReadOnly(fstest.MapFS{"f": {Data: text}})
	for rec, err := range (Text{}).Read(t.Context(), files, Split{Pieces: []Piece{{Name: "f", Length: int64(len(text))}}}) {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("a line of %d bytes: %v", len(rec.Value), err)
		}
	}
}
