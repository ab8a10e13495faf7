package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// wordTotal is a word and how often it occurs.
type wordTotal struct {
	word  string
	count int
}

// totals is what the output files say.
type totals struct {
	words    int // different ones
	count    int // of all
	frequent []wordTotal
}

// readTotals reads output files and finds the n most frequent words; of equally
// frequent ones the first in order.
func readTotals(names []string, n int) (*totals, error) {
	t := &totals{}
	for _, name := range names {
		if err := t.readFile(name, n); err != nil {
			return nil, err
		}
	}
	t.keep(n)
	return t, nil
}

func (t *totals) readFile(name string, n int) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 256<<10)
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF && line == "" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		word, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		count, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		t.words++
		t.count += count
		t.frequent = append(t.frequent, wordTotal{word, count})
		if len(t.frequent) > 2*n+1024 {
			t.keep(n)
		}
	}
}

// keep drops all but the n most frequent words.
func (t *totals) keep(n int) {
	slices.SortFunc(t.frequent, func(a, b wordTotal) int {
		return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.word, b.word))
	})
	t.frequent = t.frequent[:min(n, len(t.frequent))]
}

func (t *totals) print(w io.Writer) {
	for _, f := range t.frequent {
		fmt.Fprintf(w, "%10d  %s\n", f.count, f.word)
	}
}
