package mapreducetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/mapreduce"
)

// numbers is a job whose values are numbers, which combine and reduce make one of.
func numbers[V, R any](parse func(string) V, combine func(a, b V) V, reduce func(values []V) R) mapreduce.Job[string, V, R] {
	return mapreduce.Job[string, V, R]{
		Name: "numbers",
		Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, V)) error {
			for number := range strings.FieldsSeq(line.Text()) {
				emit(number[:1], parse(number))
			}
			return nil
		},
		Reduce: func(_ *mapreduce.Task, _ string, values iter.Seq[V], emit func(R)) error {
			var all []V
			for v := range values {
				all = append(all, v)
			}
			emit(reduce(all))
			return nil
		},
		Combine: combine,
	}
}

func length(s string) int { return len(s) }

func sum(values []int) int {
	n := 0
	for _, v := range values {
		n += v
	}
	return n
}

func numbersInput() *Memory {
	return NewMemory(map[string]string{"input": strings.Repeat("aaa a bbbb aaaaa aa b bb\nc aaaaaaa bbbbbbb aa\n", 5)})
}

func checkCombiner[V, R any](job mapreduce.Job[string, V, R]) func(context.Context) error {
	return func(ctx context.Context) error { return CheckCombiner(ctx, job, spec, numbersInput()) }
}

func TestCheckCombiner(t *testing.T) {
	add := func(a, b int) int { return a + b }
	largest := func(values []int) (n int) {
		for _, v := range values {
			n = max(n, v)
		}
		return n
	}
	asFloat := func(s string) float64 { return 1 / float64(3*len(s)) }
	asBytes := func(s string) []byte { return []byte{byte(len(s))} }
	grow := func(a, b []byte) []byte { a[0] += b[0]; return a }
	flat := func(values [][]byte) (n int) {
		for _, v := range values {
			n += int(v[0])
		}
		return n % 256
	}
	for name, c := range map[string]struct {
		check func(context.Context) error
		says  string // "" if there is nothing wrong
	}{
		"sum":                     {checkCombiner(numbers(length, add, sum)), ""},
		"maximum":                 {checkCombiner(numbers(length, func(a, b int) int { return max(a, b) }, largest)), ""},
		"changes the first value": {checkCombiner(numbers(asBytes, grow, flat)), ""},
		"changes the second value": {checkCombiner(numbers(asBytes, func(a, b []byte) []byte { b[0] += a[0]; return b }, flat)),
			"changes the latter"},
		"mean of means":       {checkCombiner(numbers(length, func(a, b int) int { return (a + b) / 2 }, sum)), "not associative"},
		"mean of sums":        {checkCombiner(numbers(length, add, func(values []int) int { return sum(values) / len(values) })), "Reduce gives something else"},
		"difference":          {checkCombiner(numbers(length, func(a, b int) int { return a - b }, sum)), "not commutative"},
		"the first":           {checkCombiner(numbers(length, func(a, _ int) int { return a }, sum)), "not commutative"},
		"count after a sum":   {checkCombiner(numbers(length, add, func(values []int) int { return len(values) })), "Reduce gives something else"},
		"sum of floats":       {checkCombiner(numbers(asFloat, func(a, b float64) float64 { return a + b }, func([]float64) int { return 0 })), "not associative"},
		"order of the values": {checkCombiner(numbers(func(s string) string { return fmt.Sprint(len(s)) }, func(a, b string) string { return a + b }, func(v []string) string { return strings.Join(v, "") })), "not commutative"},
		"none":                {checkCombiner(numbers(length, nil, sum)), "no combiner"},
	} {
		err := c.check(t.Context())
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if c.says != "" && name != "none" && !errors.Is(err, ErrCombiner) {
			t.Errorf("%s: %v is not ErrCombiner", name, err)
		}
	}
}

// A law that is broken is not taken for a bad record.
func TestCheckCombinerWithSkipping(t *testing.T) {
	job := numbers(length, func(a, b int) int { return a - b }, sum)
	spec := spec
	spec.SkipBadRecords = 100
	if err := CheckCombiner(t.Context(), job, spec, numbersInput()); !errors.Is(err, ErrCombiner) {
		t.Errorf("got %v", err)
	}
}

// codec is one that functions make.
type codec[T any] struct {
	append func(dst []byte, v T) []byte
	decode func(src []byte) (T, error)
}

func (c codec[T]) Append(dst []byte, v T) []byte { return c.append(dst, v) }
func (c codec[T]) Decode(src []byte) (T, error)  { return c.decode(src) }

func TestCheckCodec(t *testing.T) {
	little := codec[uint32]{
		func(dst []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(dst, v) },
		func(src []byte) (uint32, error) { return binary.LittleEndian.Uint32(src), nil },
	}
	big := codec[uint32]{
		func(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) },
		func(src []byte) (uint32, error) { return binary.BigEndian.Uint32(src), nil },
	}
	short := big
	short.append = func(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v&0xffff) }
	fresh := big
	fresh.append = func(_ []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	spoiling := big
	spoiling.decode = func(src []byte) (uint32, error) {
		v := binary.BigEndian.Uint32(src)
		clear(src)
		return v, nil
	}
	failing := big
	failing.decode = func([]byte) (uint32, error) { return 0, errors.New("no") }
	values := []uint32{0, 1, 255, 256, 65536, math.MaxUint32}
	check := func(c codec[uint32]) error { return CheckCodec(c, cmp.Compare[uint32], values...) }
	type words struct{ s [][]byte }
	borrowing := codec[words]{
		func(dst []byte, v words) []byte { return append(dst, bytes.Join(v.s, []byte{' '})...) },
		func(src []byte) (words, error) { return words{bytes.Split(src, []byte{' '})}, nil },
	}
	same := codec[string]{
		func(dst []byte, v string) []byte { return append(dst, strings.ToLower(v)...) },
		func(src []byte) (string, error) { return string(src), nil },
	}
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"big endian":       {check(big), ""},
		"little endian":    {check(little), "compare as"},
		"without an order": {CheckCodec(little, nil, values...), ""},
		"loses bits":       {check(short), "is decoded to"},
		"forgets dst":      {check(fresh), "appended to"},
		"changes src":      {check(spoiling), "decoding changes"},
		"cannot decode":    {check(failing), "cannot be decoded"},
		"borrows":          {CheckCodec(borrowing, nil, words{[][]byte{{'a'}, {'b'}}}), "refers to the memory"},
		"one for two":      {CheckCodec(same, strings.Compare, "a", "b"), ""},
		"two are one":      {CheckCodec(same, nil, "A"), "is decoded to"},
	} {
		if c.says == "" && c.err != nil || c.says != "" && (!errors.Is(c.err, ErrCodec) || !strings.Contains(c.err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, c.err, c.says)
		}
	}
	own, err := mapreduce.DefaultCodec[float64]()
	if err == nil {
		err = CheckCodec(own, cmp.Compare[float64], -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, 1e-300, 1, math.Inf(1))
	}
	if err != nil {
		t.Error(err)
	}
}

func TestCheckPartition(t *testing.T) {
	calls := 0
	for name, c := range map[string]struct {
		partition func(key string, n int) int
		says      string
	}{
		"by length": {func(key string, n int) int { return len(key) % n }, ""},
		"too many":  {func(key string, n int) int { return len(key) % (n + 1) }, "belongs to"},
		"negative":  {func(key string, n int) int { return -len(key) % n }, "belongs to -"},
		"by turns":  {func(string, int) int { calls++; return calls % 2 }, "of 1 partitions"},
		"none":      {nil, "no partition function"},
	} {
		job := count
		job.Partition = c.partition
		err := CheckPartition(job, "a", "bb", "ccc", "ddddddd")
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// spoiled is lines of text, read wrongly.
type spoiled struct {
	mapreduce.Text
	read func(ctx context.Context, fsys mapreduce.FileSystem, split mapreduce.Split, good iter.Seq2[mapreduce.Record, error]) iter.Seq2[mapreduce.Record, error]
}

func (s spoiled) Read(ctx context.Context, fsys mapreduce.FileSystem, split mapreduce.Split) iter.Seq2[mapreduce.Record, error] {
	return s.read(ctx, fsys, split, s.Text.Read(ctx, fsys, split))
}

func TestCheckInput(t *testing.T) {
	type records = iter.Seq2[mapreduce.Record, error]
	input := NewMemory(map[string]string{"a": "one\ntwo\n\nthree and four\n", "b": "no newline at the end", "c": "", "d": "\n\n\nx\n"})
	reads := 0
	for name, c := range map[string]struct {
		in   mapreduce.Input
		says string
	}{
		"text": {mapreduce.Text{}, ""},
		"bytes of the split": {spoiled{read: func(ctx context.Context, fsys mapreduce.FileSystem, split mapreduce.Split, _ records) records {
			return func(yield func(mapreduce.Record, error) bool) { // cuts lines in two
				for _, p := range split.Pieces {
					content, err := readFile(ctx, fsys, p.Name)
					at := p.Offset
					for line := range bytes.Lines(content[p.Offset : p.Offset+p.Length]) {
						if !yield(mapreduce.Record{File: p.Name, Offset: at, Value: bytes.TrimSuffix(line, []byte{'\n'})}, err) {
							return
						}
						at += int64(len(line))
					}
				}
			}
		}}, "record "},
		"memory used again": {spoiled{read: func(_ context.Context, _ mapreduce.FileSystem, _ mapreduce.Split, good records) records {
			return func(yield func(mapreduce.Record, error) bool) {
				buf := make([]byte, 100)
				for r, err := range good {
					r.Value = buf[:copy(buf, r.Value)]
					if !yield(r, err) {
						return
					}
				}
			}
		}}, "was changed"},
		"goes on": {spoiled{read: func(_ context.Context, _ mapreduce.FileSystem, _ mapreduce.Split, good records) records {
			return func(yield func(mapreduce.Record, error) bool) {
				for r, err := range good {
					yield(r, err)
				}
			}
		}}, "stops early"},
		"other records each time": {spoiled{read: func(_ context.Context, _ mapreduce.FileSystem, _ mapreduce.Split, good records) records {
			return func(yield func(mapreduce.Record, error) bool) {
				reads++
				for r, err := range good {
					r.Offset += int64(reads)
					if !yield(r, err) {
						return
					}
				}
			}
		}}, "read again"},
	} {
		err := CheckInput(t.Context(), c.in, input, "**")
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrInput) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if err := CheckInput(t.Context(), mapreduce.FixedRecords(3), NewMemory(map[string]string{"a": strings.Repeat("abc", 100), "b": "xyz"}), "*"); err != nil {
		t.Error(err)
	}
}
