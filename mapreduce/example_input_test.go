package mapreduce_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"

	"github.com/trilith-go/trilith/mapreduce"
)

// numberRange is input that is no file: all numbers below the argument "below".
type numberRange struct{}

var _ mapreduce.Input = numberRange{}

// numbersAtOnce are in a split.
const numbersAtOnce = 1000

// Splits implements mapreduce.Input. What a split is of is in its Data.
func (numberRange) Splits(_ context.Context, _ mapreduce.FileSystem, spec *mapreduce.Spec) ([]mapreduce.Split, error) {
	below, err := strconv.ParseUint(spec.Args["below"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the argument below: %w", err)
	}
	var splits []mapreduce.Split
	for from := uint64(0); from < below; from += numbersAtOnce {
		var data []byte
		data = binary.BigEndian.AppendUint64(data, from)
		data = binary.BigEndian.AppendUint64(data, min(from+numbersAtOnce, below))
		splits = append(splits, mapreduce.Split{Data: data})
	}
	return splits, nil
}

// Read implements mapreduce.Input.
func (numberRange) Read(_ context.Context, _ mapreduce.FileSystem, split mapreduce.Split) iter.Seq2[mapreduce.Record, error] {
	return func(yield func(mapreduce.Record, error) bool) {
		from, to := binary.BigEndian.Uint64(split.Data), binary.BigEndian.Uint64(split.Data[8:])
		for n := from; n < to; n++ {
			if !yield(mapreduce.Record{Offset: int64(n), Value: binary.BigEndian.AppendUint64(nil, n)}, nil) {
				return
			}
		}
	}
}

// How many primes below 10,000 end in each digit: an Input of one's own, which need not
// be files.
func ExampleInput() {
	primes := mapreduce.Job[uint64, int, int]{
		Name:  "primes",
		Input: numberRange{},
		Map: func(_ *mapreduce.Task, r mapreduce.Record, emit func(uint64, int)) error {
			n := binary.BigEndian.Uint64(r.Value)
			for d := uint64(2); d*d <= n; d++ {
				if n%d == 0 {
					return nil
				}
			}
			if n >= 2 {
				emit(n%10, 1)
			}
			return nil
		},
		Reduce: func(_ *mapreduce.Task, _ uint64, counts iter.Seq[int], emit func(int)) error {
			sum := 0
			for n := range counts {
				sum += n
			}
			emit(sum)
			return nil
		},
		Combine: func(a, b int) int { return a + b },
	}
	dir, remove := output()
	defer remove()
	files := mapreduce.Dir(dir)
	result, err := mapreduce.Run(context.Background(), primes,
		mapreduce.Spec{Output: "primes", Args: map[string]string{"below": "10000"}}, mapreduce.RunConfig{FileSystem: files})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(files, result.Files)
	fmt.Println(result.Maps, "splits")
	// Output:
	// 1	306
	// 2	1
	// 3	310
	// 5	1
	// 7	308
	// 9	303
	// 10 splits
}
