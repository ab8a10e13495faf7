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
