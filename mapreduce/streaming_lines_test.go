package mapreduce

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                               nil,
		" \t\n ":                         nil,
		"cat":                            {"cat"},
		" tr  a-z\tA-Z ":                 {"tr", "a-z", "A-Z"},
		`sh -c 'cut -f 1 | grep "x y"'`:  {"sh", "-c", `cut -f 1 | grep "x y"`},
		`awk "{print \"a\"}" ''`:         {"awk", `{print \a\}`, ""},
		`--flag='with space' "it's"done`: {"--flag=with space", "it'sdone"},
	} {
		if got, err := splitWords(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`'`, `a "b`, `"'`} {
		if got, err := splitWords(line); err == nil {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestPrefixFields(t *testing.T) {
	for _, c := range []struct {
		line, separator string
		n               int
		want            string
	}{
		{"key\tvalue", "\t", 1, "key"}, {"key", "\t", 1, "key"}, {"", "\t", 1, ""}, {"\tvalue", "\t", 1, ""},
		{"a\tb\tc", "\t", 2, "a\tb"}, {"a\tb", "\t", 2, "a\tb"}, {"a\t\tc", "\t", 2, "a\t"}, {"a\tb\t", "\t", 3, "a\tb\t"},
		{"a::b::c", "::", 2, "a::b"}, {"a:b", "::", 1, "a:b"}, {"a::", "::", 1, "a"}, {":::", "::", 1, ""}, {":::", "::", 2, ":::"},
	} {
		if got := c.line[:prefixFields([]byte(c.line), []byte(c.separator), c.n)]; got != c.want {
			t.Errorf("%d fields of %q by %q: %q, want %q", c.n, c.line, c.separator, got, c.want)
		}
	}
}

func TestParseReport(t *testing.T) {
	for line, want := range map[string]report{
		"reporter:status:half way, nearly":                               {status: "half way, nearly"},
		"reporter:counter:group,name,12":                                 {counter: "group/name", n: 12},
		"reporter:counter:a b,c:d, -3 ":                                  {counter: "a b/c:d", n: -3},
		"reporter:counter:SkippingTaskCounters,MapProcessedRecords,1":    {counter: "SkippingTaskCounters/MapProcessedRecords", n: 1, skip: true},
		"reporter:counter:SkippingTaskCounters,ReduceProcessedGroups,22": {counter: "SkippingTaskCounters/ReduceProcessedGroups", n: 22, skip: true},
	} {
		if got, ok := parseReport(line); !ok || got != want {
			t.Errorf("%q: %+v, %t, want %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "reporter", "reporter:counter:", "reporter:counter:a,b", "reporter:counter:a,b,c", "reporter:counter:a,b,1,2", " reporter:status:x", "reporter:other:x"} {
		if got, ok := parseReport(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// The end of what was said is kept, in whole lines as far as they are short.
func TestTail(t *testing.T) {
	var said tail
	if said.String() != "" {
		t.Errorf("nothing is %q", said.String())
	}
	said.add([]byte("first"))
	said.add([]byte{0xff, 'x'})
	if got := said.String(); got != "first\n\uFFFDx" {
		t.Errorf("got %q", got)
	}
	for i := range 10_000 {
		said.add(fmt.Appendf(nil, "line %d", i))
		if len(said.text) > tailBytes {
			t.Fatalf("it has %d bytes", len(said.text))
		}
	}
	if got := said.String(); !strings.HasPrefix(got, "…\nline 9") || !strings.HasSuffix(got, "\nline 9999") {
		t.Errorf("got %q", got)
	}
	said.add([]byte(strings.Repeat("y", 10*tailBytes)))
	if got := said.String(); len(said.text) > tailBytes || !strings.HasSuffix(got, "yyy") || !strings.Contains(got, "line 9999\ny") {
		t.Errorf("got %q", got)
	}
}

func TestAttemptedNumber(t *testing.T) {
	a := attempted{base: 5, skip: []uint64{1, 5, 7, 8, 20}}
	a.base = 6 // 5 was skipped
	var got []uint64
	for k := range uint64(5) {
		got = append(got, a.number(k))
	}
	if want := []uint64{6, 9, 10, 11, 12}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Lines come whole, whatever their length, but for those that are too long, which
// are cut short.
func TestOutputLines(t *testing.T) {
	const limit = pipeBytes + 10
	lines := []string{"", "a", strings.Repeat("b", pipeBytes-1), strings.Repeat("c", pipeBytes), strings.Repeat("d", limit),
		strings.Repeat("e", limit+1), strings.Repeat("f", 3*limit), "g", "", "last"}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "with the error": iotest.DataErrReader,
	} {
		r := newOutputLines(wrap(strings.NewReader(strings.Join(lines, "\n"))), limit)
		for i, want := range lines {
			got, err := r.next()
			if long := len(want) > limit; long {
				want = want[:limit]
				if !errors.Is(err, ErrTooLarge) {
					t.Errorf("%s: line %d: %v", name, i, err)
				}
			} else if err != nil {
				t.Fatalf("%s: line %d: %v", name, i, err)
			}
			if string(got) != want {
				t.Errorf("%s: line %d is %.20q, %d bytes, want %.20q, %d bytes", name, i, got, len(got), want, len(want))
			}
		}
		if got, err := r.next(); err != io.EOF {
			t.Errorf("%s: after the end: %q, %v", name, got, err)
		}
	}
	r := newOutputLines(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("abc"))), limit)
	if got, err := r.next(); err != iotest.ErrTimeout {
		t.Errorf("%q, %v", got, err)
	}
}
