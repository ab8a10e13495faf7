package mapreduce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/trilith-go/trilith/internal/testutil"
)

type filePair struct {
	key   string
	value []int
}

// pairFileBytes writes pairs as a file.
func pairFileBytes(t testing.TB, file PairFile[string, []int], pairs []filePair) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := file.Begin(nil, &b)
	for _, p := range pairs {
		err = errors.Join(err, w.Write(p.key, p.value))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// randomFilePairs returns pairs in order, of which some are larger than a block.
func randomFilePairs(r *rand.Rand, n int) []filePair {
	pairs := make([]filePair, n)
	for i := range pairs {
		pairs[i] = filePair{key: fmt.Sprintf("%06d", i/2), value: []int{i}}
		if r.IntN(50) == 0 {
			pairs[i].key += strings.Repeat("x", r.IntN(2*pairFileBlock))
		}
	}
	slices.SortStableFunc(pairs, func(a, b filePair) int { return strings.Compare(a.key, b.key) })
	return pairs
}

// readSplits reads all splits of the files.
func readSplits[K, V any](ctx context.Context, file PairFile[K, V], fsys FileSystem, splitBytes int64) (pairs []filePair, splits []Split, err error) {
	splits, err = file.Splits(ctx, fsys, &Spec{Input: []string{"*"}, SplitBytes: splitBytes})
	if err != nil {
		return nil, nil, err
	}
	take := MapPairs(PairFile[string, []int]{}, func(_ *Task, key string, value []int, _ func(int, int)) error {
		pairs = append(pairs, filePair{key, value})
		return nil
	})
	for _, split := range splits {
		for r, err := range file.Read(ctx, fsys, split) {
			if err == nil {
				err = take(nil, r, nil)
			}
			if err != nil {
				return pairs, splits, err
			}
		}
	}
	return pairs, splits, nil
}

// Wherever files are cut, every pair is read exactly once, and in order.
func TestPairFileReadsEveryPairOnce(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 9))
		files, want := fstest.MapFS{}, []filePair(nil)
		total := 0
		for i := range 1 + r.IntN(3) {
			pairs := randomFilePairs(r, r.IntN(300))
			data := pairFileBytes(t, PairFile[string, []int]{}, pairs)
			files[fmt.Sprint("f", i)] = &fstest.MapFile{Data: data}
			want = append(want, pairs...)
			total += len(data)
		}
		size := 1 + r.Int64N(int64(total))
		if r.IntN(4) == 0 {
			size = 1 + r.Int64N(40)
			for total/int(size) > 20_000 {
				size *= 10
			}
		}
		got, splits, err := readSplits(t.Context(), PairFile[string, []int]{}, ReadOnly(files), size)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %d splits of %d bytes have %d pairs, want %d", seed, len(splits), size, len(got), len(want))
		}
	}
}

// A changed byte, wherever it is, is found, and so is a file that was cut off. The
// error names the file and says where.
func TestPairFileFindsDamage(t *testing.T) {
	var pairs []filePair
	for i := range 40 {
		pairs = append(pairs, filePair{fmt.Sprint("key", i/10), []int{i, -i}})
	}
	file := PairFile[string, []int]{AnyOrder: true}
	good := pairFileBytes(t, file, pairs)
	check := func(what string, data []byte) {
		t.Helper()
		fsys := ReadOnly(fstest.MapFS{"dir/part": {Data: data}})
		got, _, err := readSplits(t.Context(), file, patternFiles{fsys, "dir/part"}, 1<<20)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "dir/part") || !strings.Contains(err.Error(), "byte") && !strings.Contains(err.Error(), "begin") {
			t.Errorf("%s: %v", what, err)
		}
		if len(got) > 0 {
			t.Errorf("%s: %d pairs were read from a block that is not whole", what, len(got))
		}
		err = file.Each(t.Context(), fsys, "dir/part", func(string, []int) error { return nil })
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Each says %v", what, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("byte %d of %d is changed", i, len(good)), bad)
		check(fmt.Sprintf("cut off after %d bytes", i), good[:i])
	}
	check("twice", append(bytes.Clone(good), good...))
	check("more", append(bytes.Clone(good), 0))
}

// patternFiles shows one file, whatever the pattern.
type patternFiles struct {
	FileSystem
	name string
}

func (f patternFiles) Glob(context.Context, string) ([]string, error) { return []string{f.name}, nil }

// A pair that is out of order fails the attempt, unless any order will do.
func TestPairFileOrder(t *testing.T) {
	var b bytes.Buffer
	w, err := PairFile[int, string]{}.Begin(nil, &b)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []int{-5, 3, 3, 1000} {
		if err := w.Write(key, "value"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(999, "value"); !errors.Is(err, ErrUnordered) {
		t.Errorf("a key that is less than the one before: %v", err)
	}
	job := visits
	job.Keys, job.Format = lastVisitFirst, nil
	job.Output = PairFile[visit, struct{}]{}
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte("a 1\na 2\n")}})
	spec := Spec{Input: []string{"f"}, Output: "out", MaxAttempts: 1}
	if _, err := Run(t.Context(), job, spec, RunConfig{FileSystem: newMemoryFiles(), Input: input, Workers: 1, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "PairFile.Keys") {
		t.Errorf("a file whose order is not that of the job: %v", err)
	}
	job.Output = PairFile[visit, struct{}]{Keys: lastVisitFirst}
	if _, err := Run(t.Context(), job, spec, RunConfig{FileSystem: newMemoryFiles(), Input: input, Workers: 1, Dir: t.TempDir()}); err != nil {
		t.Error(err)
	}
}

func TestPairFileWithoutCodec(t *testing.T) {
	job := MapOnly[string, chan int]{Name: "a", Map: func(*Task, Record, func(string, chan int)) error { return nil }, Output: PairFile[string, chan int]{}}
	if _, err := NewRegistry(job); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "Output") {
		t.Errorf("an output without a codec: %v", err)
	}
	job.Output, job.Input = nil, PairFile[func(), int]{}
	if _, err := NewRegistry(job); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "Input") {
		t.Errorf("an input without a codec: %v", err)
	}
}

// countFile hands words and their counts on.
var countFile PairFile[string, int]

// Jobs in a chain hand typed data on; all parts are the same as in a sequential chain,
// byte for byte.
func TestPairFileBetweenJobs(t *testing.T) {
	first := wordCount
	first.Output = countFile
	second := Job[int, string, []string]{
		Name:  "by-count",
		Input: countFile,
		Map: MapPairs(countFile, func(_ *Task, word string, n int, emit func(int, string)) error {
			emit(n, word)
			return nil
		}),
		Keys: Descending[int](nil),
		Reduce: func(_ *Task, _ int, words iter.Seq[string], emit func([]string)) error {
			emit(slices.Sorted(words))
			return nil
		},
	}
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte(strings.Repeat("a b b c c c\nd d\n", 10))}})
	type runner func(context.Context, Definition, Spec, RunConfig) (*Result, error)
	chain := func(run runner) string {
		files := newMemoryFiles()
		a, err := run(t.Context(), first, Spec{Input: []string{"f"}, Output: "first", Reduces: 3, SplitBytes: 20}, RunConfig{FileSystem: files, Input: input, Workers: 2, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		b, err := run(t.Context(), second, Spec{Input: a.Files, Output: "second", SplitBytes: 10}, RunConfig{FileSystem: files, Workers: 2, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, name := range slices.Concat(a.Files, b.Files) {
			content, err := read(t, files, name)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(content)
		}
		return all.String()
	}
	got, want := chain(Run), chain(RunSequential)
	if got != want {
		t.Errorf("the chain wrote %q, want %q", got, want)
	}
	if end := "30\t[c]\n20\t[b d]\n10\t[a]\n"; !strings.HasSuffix(got, end) {
		t.Errorf("the chain wrote %q in the end, want %q", got, end)
	}
}

// Whatever a file holds, reading it ends in pairs or an error, and takes no more memory
// than the file has bytes.
func FuzzPairFile(f *testing.F) {
	good := pairFileBytes(f, PairFile[string, []int]{}, []filePair{{"a", nil}, {"a", []int{1, 2}}, {"b", []int{-1}}})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(pairMagic + pairMagic))
	f.Add(pairFileBytes(f, PairFile[string, []int]{}, nil))
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	for _, b := range testutil.Lengths([]byte(pairMagic)...) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// What is checked by sums is given the right ones, so that what is behind them
		// is tried too.
		for _, data := range [][]byte{data, mendPairFile(data)} {
			fsys := ReadOnly(fstest.MapFS{"f": {Data: data}})
			offset := int64(-1)
			_, err := readPairs(t.Context(), fsys, Piece{Name: "f", Length: int64(len(data))}, func(r Record, _ error) bool {
				if r.Offset <= offset || r.Offset >= int64(len(data)) {
					t.Errorf("a pair at byte %d after one at %d, of %d", r.Offset, offset, len(data))
				}
				offset = r.Offset
				return true
			})
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("reading fails with %v", err)
			}
		}
	})
}

// mendPairFile makes a file of blocks with these contents, each as long as its first
// byte says.
func mendPairFile(contents []byte) []byte {
	var b bytes.Buffer
	w, _ := newPairWriter(&b, true) // a buffer takes everything
	for len(contents) > 1 {
		n := min(1+int(contents[0]), len(contents)-1)
		w.block = append(append(w.block[:0], make([]byte, pairBlockHeader)...), contents[1:1+n]...)
		_ = w.closeBlock()
		contents = contents[1+n:]
	}
	_ = w.Close()
	return b.Bytes()
}
