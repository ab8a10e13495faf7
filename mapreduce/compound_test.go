package mapreduce

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type visit struct {
	user string
	at   int64
}

func compareVisits(a, b visit) int {
	return cmp.Or(strings.Compare(a.user, b.user), cmp.Compare(a.at, b.at))
}

// lastVisitFirst orders visits by user, and those of a user from the last to the first.
var lastVisitFirst = Fields(
	Field(func(v *visit) *string { return &v.user }, nil),
	Field(func(v *visit) *int64 { return &v.at }, Descending[int64](nil)),
)

// nested has everything that a default codec can be made of.
type nested struct {
	Flag   bool
	Visits []visit
	_      [0]func()
	Pair   [2]uint16
	Raw    []byte
	Sum    [4]byte
	Float  float32
	Times  []time.Time
	Empty  struct{}
	Words  [][]word
}

func randomBytes(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(5))
	for i := range b {
		b[i] = []byte{0, 1, 2, 'a', 0xfe, 0xff}[r.IntN(6)]
	}
	return b
}

func randomVisit(r *rand.Rand) visit {
	return visit{string(randomBytes(r)), int64(r.Uint64()) >> r.IntN(64)}
}

func randomNested(r *rand.Rand) nested {
	var n nested
	n.Flag = r.IntN(2) == 0
	for range r.IntN(3) {
		n.Visits = append(n.Visits, randomVisit(r))
		n.Times = append(n.Times, time.Unix(r.Int64N(1<<32), r.Int64N(1e9)).UTC())
		n.Words = append(n.Words, []word{word(randomBytes(r)), "x"}, nil)
	}
	n.Pair = [2]uint16{uint16(r.IntN(1000)), uint16(r.IntN(3))}
	n.Raw = randomBytes(r)
	n.Sum[r.IntN(4)] = byte(r.IntN(256))
	n.Float = r.Float32() - 0.5
	return n
}

func compareNested(a, b nested) int {
	flag := 0
	if a.Flag != b.Flag {
		flag = 1
		if b.Flag {
			flag = -1
		}
	}
	return cmp.Or(flag, slices.CompareFunc(a.Visits, b.Visits, compareVisits), slices.Compare(a.Pair[:], b.Pair[:]),
		bytes.Compare(a.Raw, b.Raw), bytes.Compare(a.Sum[:], b.Sum[:]), cmp.Compare(a.Float, b.Float),
		slices.CompareFunc(a.Times, b.Times, time.Time.Compare), slices.CompareFunc(a.Words, b.Words, slices.Compare[[]word]))
}

// checkRandomOrder checks a codec against a function that compares, on random values:
// order, decoding, and where an encoding ends.
func checkRandomOrder[T any](t *testing.T, what string, codec Codec[T], random func(*rand.Rand) T, compare func(a, b T) int) {
	t.Helper()
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 1))
	if codec == nil {
		codec = orDefault(codec)
	}
	if err := checkCodec(codec); err != nil {
		t.Fatal(err)
	}
	enc, dec := newEncoder(codec), newDecoder(codec)
	whole := newPart(codec)
	equal := 0
	for range 5000 {
		a, b := random(r), random(r)
		if r.IntN(8) == 0 {
			b = a
		}
		x, y := bytes.Clone(enc.encode(a)), bytes.Clone(enc.encode(b))
		if got, want := bytes.Compare(x, y), compare(a, b); got != want {
			t.Fatalf("%s: %+v is encoded to %x, %+v to %x: they compare as %d, want %d", what, a, x, b, y, got, want)
		} else if want == 0 {
			equal++
		}
		if plain := codec.Append([]byte("before"), a); string(plain) != "before"+string(x) {
			t.Fatalf("%s: Append makes %x of %+v, an encoder %x", what, plain, a, x)
		}
		got, err := dec.decode(x)
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("%s: %+v is encoded to %x, which is decoded to %+v, %v", what, a, x, got, err)
		}
		if again, err := codec.Decode(x); err != nil || !reflect.DeepEqual(again, a) {
			t.Fatalf("%s: %x is decoded to %+v, %v, want %+v", what, x, again, err, a)
		}
		part := append(whole.append(nil, &a), "\x00\x01\xfftail"...)
		got = *new(T)
		if rest, err := whole.cut(part, &got); err != nil || string(rest) != "\x00\x01\xfftail" || !reflect.DeepEqual(got, a) {
			t.Fatalf("%s: %+v as a part is decoded to %+v, rest %x, %v", what, a, got, rest, err)
		}
	}
	if equal < 100 {
		t.Errorf("%s: only %d of the values were equal", what, equal)
	}
}

func reversed[T any](compare func(a, b T) int) func(a, b T) int {
	return func(a, b T) int { return compare(b, a) }
}

func TestCompoundCodecsPreserveOrder(t *testing.T) {
	text := func(r *rand.Rand) string { return string(randomBytes(r)) }
	number := func(r *rand.Rand) int { return int(r.Uint64()) >> r.IntN(64) }
	checkRandomOrder(t, "struct", nil, randomVisit, compareVisits)
	checkRandomOrder(t, "nested", nil, randomNested, compareNested)
	checkRandomOrder(t, "array", nil, func(r *rand.Rand) [2]string { return [2]string{text(r), text(r)} },
		func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	checkRandomOrder(t, "descending string", Descending[string](nil), text, reversed(strings.Compare))
	checkRandomOrder(t, "descending int", Descending[int](nil), number, reversed(cmp.Compare[int]))
	checkRandomOrder(t, "descending word", Descending[word](nil), func(r *rand.Rand) word { return word(text(r)) }, reversed(cmp.Compare[word]))
	checkRandomOrder(t, "descending nested", Descending[nested](nil), randomNested, reversed(compareNested))
	checkRandomOrder(t, "descending twice", Descending(Descending[string](nil)), text, strings.Compare)
	last := func(a, b visit) int { return cmp.Or(strings.Compare(a.user, b.user), cmp.Compare(b.at, a.at)) }
	checkRandomOrder(t, "fields", lastVisitFirst, randomVisit, last)
	checkRandomOrder(t, "descending fields", Descending(lastVisitFirst), randomVisit, reversed(last))
	length := OrderBy(nil, func(dst []byte, s string) []byte { return append(dst, byte(len(s))) })
	longer := func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }
	checkRandomOrder(t, "order by", length, text, longer)
	checkRandomOrder(t, "descending order by", Descending(length), text, reversed(longer))
	byTime := OrderBy(lastVisitFirst, func(dst []byte, v visit) []byte { return signedCodec[int64]{}.Append(dst, v.at) })
	checkRandomOrder(t, "order of fields", byTime, randomVisit, func(a, b visit) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.user, b.user))
	})
}

// What a codec lacks is found when the job is defined, and named.
func TestCodecsThatLackSomething(t *testing.T) {
	type tree struct{ children []tree }
	for name, c := range map[string]struct { // order-free: each stands for itself
		codec any
		want  string
	}{
		"descending": {Descending[map[string]int](nil), "map[string]int"},
		"order":      {OrderBy[chan int](nil, nil), "OrderBy"},
		"inner":      {OrderBy(nil, func(dst []byte, _ func()) []byte { return dst }), "func()"},
		"field":      {Fields(Field(func(v *struct{ p *int }) **int { return &v.p }, nil)), "field 0"},
		"pointer":    {orDefault[struct{ Next *visit }](nil), "field Next"},
		"recursive":  {orDefault[tree](nil), "contains itself"},
		"accessor":   {Fields(Field[visit, string](nil, nil)), "field 0"},
		"no field":   {Fields[visit](nil), "field 0"},
	} {
		if err := checkCodec(c.codec); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to name %q", name, err, c.want)
		}
	}
	job := wordCount
	job.Keys = Fields(Field[string, string](nil, nil))
	var e *Error
	if _, err := NewRegistry(job); !errors.Is(err, ErrConfig) || !errors.As(err, &e) || e.On != "Keys" {
		t.Errorf("a job without a codec of its keys: %v", err)
	}
}

// Compounds cost no allocation when they are encoded, and no more than what they refer
// to when they are decoded.
func TestCompoundAllocations(t *testing.T) {
	type point struct{ X, Y int }
	check := func(what string, want float64, f func()) {
		f() // what is made once
		if got := testing.AllocsPerRun(100, f); got > want {
			t.Errorf("%s: %v allocations, want %v", what, got, want)
		}
	}
	visits := newEncoder(Codec[visit](lastVisitFirst))
	check("encode fields", 0, func() { visits.encode(visit{"user", 5}) })
	points, back := newEncoder(orDefault[point](nil)), newDecoder(orDefault[point](nil))
	src := bytes.Clone(points.encode(point{1, 2}))
	check("encode a struct", 0, func() { points.encode(point{1, 2}) })
	check("decode a struct", 0, func() { _, _ = back.decode(src) })
	users := newDecoder(orDefault[visit](nil))
	src = orDefault[visit](nil).Append(nil, visit{"user", 5})
	check("decode a string", 1, func() { _, _ = users.decode(src) })
}

// visits emits the user and the time of each line, and writes them in the order in
// which they come.
var visits = Job[visit, struct{}, struct{}]{
	Name: "visits",
	Map: func(_ *Task, line Record, emit func(visit, struct{})) error {
		var v visit
		_, err := fmt.Sscanf(line.Text(), "%s %d", &v.user, &v.at)
		emit(v, struct{}{})
		return err
	},
	Reduce: func(_ *Task, _ visit, times iter.Seq[struct{}], emit func(struct{})) error {
		for one := range times {
			emit(one)
		}
		return nil
	},
	Format: func(dst []byte, v visit, _ struct{}) []byte { return fmt.Appendf(dst, "%s %d\n", v.user, v.at) },
}

// randomVisits returns so many lines, and the visits.
func randomVisits(seed uint64, n int) (text string, all []visit) {
	r := rand.New(rand.NewPCG(seed, 2))
	var b strings.Builder
	for range n {
		v := visit{fmt.Sprintf("user%d", r.IntN(20)), r.Int64N(2000) - 1000}
		fmt.Fprintln(&b, v.user, v.at)
		all = append(all, v)
	}
	return b.String(), all
}

// The order of the output is that of the codec of the keys, also as a whole where
// sampled bounds divide them, and whatever a run spills, merges or combines.
func TestOrderOfAJob(t *testing.T) {
	text, all := randomVisits(3, 3000)
	slices.SortStableFunc(all, func(a, b visit) int { return cmp.Or(strings.Compare(a.user, b.user), cmp.Compare(b.at, a.at)) })
	var want strings.Builder
	for _, v := range all {
		fmt.Fprintln(&want, v.user, v.at)
	}
	job := visits
	job.Keys = lastVisitFirst
	spec := Spec{Reduces: 3, SplitBytes: 4000}
	parts := outputOf(t, job, boundedBy(t, job, spec, text), text)
	if got := strings.Join(parts, ""); got != want.String() {
		t.Errorf("the output of %d visits is not in order: %.100q…, want %.100q…", len(all), got, want.String())
	}
	for p, part := range parts {
		if len(part) == 0 {
			t.Errorf("partition %d is empty", p)
		}
	}
}
