package mapreducetest

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/mapreduce"
)

// long is a named output.
var long = mapreduce.NamedOutput[string, int]{Name: "long"}

// filing is a job that writes all kinds of files besides its output.
var filing = mapreduce.Job[string, string, string]{
	Name: "filing",
	Map: func(t *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		if _, err := fmt.Fprintf(t.Output("seen"), "%s:%d\n", line.File, line.Offset); err != nil {
			return err
		}
		for word := range strings.FieldsSeq(line.Text()) {
			if len(word) > 4 {
				if err := long.Emit(t, word, len(word)); err != nil {
					return err
				}
			}
		}
		return words.Map(t, line, emit)
	},
	Reduce: func(t *mapreduce.Task, word string, lines iter.Seq[string], emit func(string)) error {
		f, err := t.Create("words/" + word)
		if err != nil {
			return err
		}
		n := 0
		for line := range lines {
			if n++; n <= 3 {
				if _, err := io.WriteString(f, line+"\n"); err != nil {
					return err
				}
			}
		}
		emit(fmt.Sprint(n))
		return f.Close()
	},
}

// Jobs without reduces, named outputs and side files stand up to all faults.
func TestJobsThatWriteFiles(t *testing.T) {
	for name, job := range map[string]mapreduce.Definition{
		"with reduces":    filing,
		"without reduces": mapreduce.MapOnly[string, string]{Name: "mapping", Map: filing.Map},
	} {
		t.Run(name, func(t *testing.T) {
			t.Logf("%+v", Test(t, job, spec, Config{Input: text(40), Runs: 20, Seed: 200}))
		})
	}
}

// A side file that depends on the attempt is found.
func TestFindsSideFilesOfAttempts(t *testing.T) {
	job := mapreduce.MapOnly[string, string]{Name: "attempts", Map: func(t *mapreduce.Task, line mapreduce.Record, _ func(string, string)) error {
		_, err := fmt.Fprintln(t.Output("attempts"), t.Attempt(), line.Text())
		return err
	}}
	for seed := range uint64(20) {
		var err error
		testutil.Bubble(t, func(t *testing.T) {
			_, err = Run(t.Context(), job, spec, Config{Input: text(20), Seed: seed})
		})
		if errors.Is(err, ErrDiffers) {
			t.Log(err)
			return
		}
	}
	t.Error("not found")
}
