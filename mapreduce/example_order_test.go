package mapreduce_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing/fstest"

	"github.com/trilith-go/trilith/mapreduce"
)

// sorted runs a job that writes the words of its input in the order of a codec.
func sorted(order mapreduce.Codec[string], text string) {
	job := mapreduce.Job[string, struct{}, struct{}]{
		Name: "sort",
		Keys: order,
		Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, struct{})) error {
			for word := range strings.FieldsSeq(line.Text()) {
				emit(word, struct{}{})
			}
			return nil
		},
		Reduce: func(_ *mapreduce.Task, _ string, _ iter.Seq[struct{}], emit func(struct{})) error {
			emit(struct{}{})
			return nil
		},
		Format: func(dst []byte, word string, _ struct{}) []byte { return append(append(dst, word...), ' ') },
	}
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), job, mapreduce.Spec{Input: []string{"text"}, Output: "sorted"},
		mapreduce.RunConfig{FileSystem: files, Input: mapreduce.ReadOnly(fstest.MapFS{"text": {Data: []byte(text)}})})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
}

func ExampleDescending() {
	sorted(mapreduce.Descending[string](nil), "a rose is a rose")
	// Output: rose is a
}

// An order that takes no notice of case, but tells the words apart.
func ExampleOrderBy() {
	sorted(mapreduce.OrderBy(nil, func(dst []byte, word string) []byte {
		return append(dst, strings.ToLower(word)...)
	}), "beta Gamma alpha Beta gamma")
	// Output: alpha Beta beta Gamma gamma
}

// Visits by user, those of each from the last to the first.
func ExampleFields() {
	type visit struct {
		User string
		Day  int
	}
	codec := mapreduce.Fields(
		mapreduce.Field(func(v *visit) *string { return &v.User }, nil),
		mapreduce.Field(func(v *visit) *int { return &v.Day }, mapreduce.Descending[int](nil)),
	)
	less := func(a, b visit) bool { return string(codec.Append(nil, a)) < string(codec.Append(nil, b)) }
	fmt.Println(less(visit{"ada", 2}, visit{"ada", 1}), less(visit{"ada", 1}, visit{"bob", 2}))
	// Output: true true
}

// The pages that each user has visited, in the order of time: keys are sorted by user
// and time, and grouped by user.
func Example_secondarySort() {
	type visit struct {
		User string
		Time int
	}
	journeys := mapreduce.Job[visit, string, string]{
		Name:  "journeys",
		Group: func(dst []byte, v visit) []byte { return append(dst, v.User...) },
		Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(visit, string)) error {
			var v visit
			var page string
			if _, err := fmt.Sscan(line.Text(), &v.Time, &v.User, &page); err != nil {
				return err
			}
			emit(v, page)
			return nil
		},
		ReduceGroup: func(_ *mapreduce.Task, first visit, pages iter.Seq2[visit, string], emit func(string)) error {
			var journey strings.Builder
			for at, page := range pages {
				fmt.Fprintf(&journey, " +%d %s", at.Time-first.Time, page)
			}
			emit(journey.String())
			return nil
		},
		Format: func(dst []byte, v visit, journey string) []byte { return fmt.Appendf(dst, "%s:%s\n", v.User, journey) },
	}
	log := mapreduce.ReadOnly(fstest.MapFS{"log": {Data: []byte("30 ada /shop\n17 bob /\n9 ada /\n12 ada /help\n18 bob /faq\n")}})
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), journeys, mapreduce.Spec{Input: []string{"log"}, Output: "journeys"},
		mapreduce.RunConfig{FileSystem: files, Input: log})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	// Output:
	// ada: +0 / +3 /help +21 /shop
	// bob: +0 / +1 /faq
}
