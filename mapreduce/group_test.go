package mapreduce

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// journeys writes a line for each user: the times of the visits, in order.
var journeys = Job[visit, int, string]{
	Name:  "journeys",
	Group: func(dst []byte, v visit) []byte { return append(dst, v.user...) },
	Map: func(_ *Task, line Record, emit func(visit, int)) error {
		var v visit
		_, err := fmt.Sscanf(line.Text(), "%s %d", &v.user, &v.at)
		emit(v, 1)
		return err
	},
	ReduceGroup: func(_ *Task, first visit, pairs iter.Seq2[visit, int], emit func(string)) error {
		var times strings.Builder
		fmt.Fprintf(&times, "first %d:", first.at)
		for v, n := range pairs {
			if v.user != first.user {
				return fmt.Errorf("a visit of %s is among those of %s", v.user, first.user)
			}
			for range n {
				fmt.Fprintf(&times, " %d", v.at)
			}
		}
		emit(times.String())
		return nil
	},
	Format: func(dst []byte, v visit, times string) []byte { return fmt.Appendf(dst, "%s %s\n", v.user, times) },
}

// expectedJourneys returns what journeys is to write if its keys are in this order, the
// lines in the order of users.
func expectedJourneys(all []visit, compare func(a, b visit) int) string {
	all = slices.SortedFunc(slices.Values(all), compare)
	var want strings.Builder
	for i, v := range all {
		if i == 0 || all[i-1].user != v.user {
			if i > 0 {
				want.WriteByte('\n')
			}
			fmt.Fprintf(&want, "%s first %d:", v.user, v.at)
		}
		fmt.Fprintf(&want, " %d", v.at)
	}
	return want.String() + "\n"
}

// A group is one call of Reduce, wherever its pairs come from, and gets them in the
// order of their keys.
func TestSecondarySort(t *testing.T) {
	text, all := randomVisits(5, 3000)
	want := expectedJourneys(all, compareVisits)
	combined := journeys
	combined.Combine = func(a, b int) int { return a + b }
	late := journeys
	late.Keys = lastVisitFirst
	lateWant := expectedJourneys(all, func(a, b visit) int { return cmp.Or(strings.Compare(a.user, b.user), cmp.Compare(b.at, a.at)) })
	for name, c := range map[string]struct { // order-free: each is a run of its own
		job  Job[visit, int, string]
		want string
	}{"plain": {journeys, want}, "combined": {combined, want}, "descending": {late, lateWant}} {
		spec := Spec{Reduces: 3, SplitBytes: 4000}
		hashed := outputOf(t, c.job, spec, text)
		lines := slices.Sorted(strings.Lines(strings.Join(hashed, "")))
		if got := strings.Join(lines, ""); got != sortedLines(c.want) {
			t.Errorf("%s: got %.200q, want %.200q", name, got, sortedLines(c.want))
		}
		bounded := outputOf(t, c.job, boundedBy(t, c.job, spec, text), text)
		if got := strings.Join(bounded, ""); got != c.want {
			t.Errorf("%s, with bounds: got %.200q, want %.200q", name, got, c.want)
		}
		for p := range 3 {
			if hashed[p] == "" || bounded[p] == "" {
				t.Errorf("%s: partition %d is empty", name, p)
			}
		}
	}
}

func sortedLines(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

// A Reduce that does not take all values, or takes some later, has the group's keys
// beside them; and the next group is whole.
func TestSecondarySortInSteps(t *testing.T) {
	job := journeys
	job.ReduceGroup = func(_ *Task, first visit, pairs iter.Seq2[visit, int], emit func(string)) error {
		var taken []string
		for range 2 {
			n := 0
			for v := range pairs {
				taken = append(taken, fmt.Sprint(v.at))
				if n++; n == 2 {
					break
				}
			}
			taken = append(taken, "|")
		}
		emit(strings.Join(taken, " "))
		return nil
	}
	got := outputOf(t, job, Spec{SplitBytes: 8}, "a 3\na 1\nb 9\na 2\nb 9\na 7\na 5\nc 1\n")
	if want := "a 1 2 | 3 5 |\nb 9 9 | |\nc 1 | |\n"; got[0] != want {
		t.Errorf("got %q, want %q", got[0], want)
	}
}

// Reduce gets the first key of the group; byte slices are those of the group until it
// returns; and a group may be of any bytes.
func TestGroupsOfBytes(t *testing.T) {
	job := Job[[]byte, []byte, string]{
		Name:  "initials",
		Group: func(dst []byte, key []byte) []byte { return append(dst, key[:min(len(key), 1)]...) },
		Map: func(_ *Task, line Record, emit func(k, v []byte)) error {
			key := bytes.ReplaceAll(line.Value, []byte("0"), []byte{0})
			emit(key, key)
			return nil
		},
		Reduce: func(_ *Task, first []byte, values iter.Seq[[]byte], emit func(string)) error {
			before := bytes.Clone(first)
			var all []string
			for v := range values {
				all = append(all, string(v))
			}
			if !bytes.Equal(before, first) {
				return errors.New("the key has changed while values were taken")
			}
			emit(fmt.Sprintf("%q", all))
			return nil
		},
		Format: func(dst []byte, first []byte, values string) []byte {
			return fmt.Appendf(dst, "%q %s\n", first, values)
		},
	}
	got := outputOf(t, job, Spec{SplitBytes: 4}, "ab\n0\n\n00\na\nb\na0\n0a\nb\n")
	want := `"" [""]
"\x00" ["\x00" "\x00\x00" "\x00a"]
"a" ["a" "a\x00" "ab"]
"b" ["b" "b"]
`
	if got[0] != want {
		t.Errorf("got\n%s, want\n%s", got[0], want)
	}
}

// A group on which Reduce fails is skipped as a whole.
func TestBadGroupIsSkipped(t *testing.T) {
	job := journeys
	plain := job.ReduceGroup
	job.ReduceGroup = func(task *Task, first visit, pairs iter.Seq2[visit, int], emit func(string)) error {
		for v := range pairs {
			if v.at == 13 {
				panic("unlucky")
			}
			break
		}
		return plain(task, first, pairs, emit)
	}
	spec := Spec{Input: []string{"f"}, Output: "out", SkipBadRecords: 1, SplitBytes: 4}
	input := ReadOnly(fstest.MapFS{"f": {Data: []byte("a 1\nb 13\nb 14\nc 1\nb 15\n")}})
	files := newMemoryFiles()
	result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files, Input: input, Workers: 2, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Skipped) != 1 || result.Skipped[0].Record != 1 {
		t.Errorf("skipped are %+v, want the group of index 1", result.Skipped)
	}
	checkSameOutput(t, "a bad group", files, result, sequentialOutput(t, job, spec, input))
	if got := result.Counters[CounterReduceKeysIn]; got != 2 {
		t.Errorf("%d groups were reduced, want 2", got)
	}
}

// A job has one of Reduce and ReduceGroup.
func TestReduceAndReduceGroup(t *testing.T) {
	job := journeys
	job.Reduce = func(*Task, visit, iter.Seq[int], func(string)) error { return nil }
	if _, err := NewRegistry(job); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "ReduceGroup") {
		t.Errorf("both: %v", err)
	}
}

// Bounds do not divide a group, whether pairs are combined or not and whatever the
// job's own Partition is.
func TestBoundsAndPartitionOfAGroup(t *testing.T) {
	for name, combine := range map[string]func(a, b int) int{"plain": nil, "combined": Add[int]} {
		job := journeys
		job.Partition = func(v visit, n int) int { return len(v.user) % n }
		job.Combine = combine
		text, _ := randomVisits(4, 2000)
		input := fstest.MapFS{"input": {Data: []byte(text)}}
		spec := testSpec(input, 3, 4)
		var err error
		if spec.Bounds, err = SampleBounds(t.Context(), job, spec, ReadOnly(input)); err != nil {
			t.Fatal(err)
		}
		// In the middle of a group, as bounds of one's own may be.
		keys := newOrdered(orDefault(job.Keys), job.Group)
		for i := range spec.Bounds {
			spec.Bounds[i] = keys.Append(nil, visit{fmt.Sprint("user", i), 0})
		}
		slices.SortFunc(spec.Bounds, bytes.Compare)
		want := sequentialOutput(t, job, spec, ReadOnly(input))
		files := newMemoryFiles()
		result, err := Run(t.Context(), job, spec, RunConfig{FileSystem: files, Input: ReadOnly(input), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		checkSameOutput(t, name, files, result, want)
	}
}
