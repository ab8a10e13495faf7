package limits

import (
	"bufio"
	"errors"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// WordCount counts the words of a text, what is between ASCII white space, and writes
// a line for each, sorted: the word, a tab, its count. Each goroutine counts one half
// of the file in a hash table of its own and sorts what it has; then the two are
// merged.
func WordCount(input, output string) (err error) {
	f, size, err := openInput(input)
	if err != nil {
		return err
	}
	defer f.Close()
	var tables [workers]*wordTable
	var group errgroup.Group
	for i := range workers {
		group.Go(func() error {
			tables[i] = newWordTable()
			defer tables[i].sort()
			return scanPart(f, size, i, tables[i].count)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	out, err := createOutput(output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOutput(out)) }()
	w := bufio.NewWriterSize(out, blockBytes)
	mergeCounts(w, tables[0], tables[1])
	return w.Flush()
}

// mergeCounts writes the counts of two sorted tables. An error stays with w.
func mergeCounts(w *bufio.Writer, s, t *wordTable) {
	var line []byte
	for i, j := 0, 0; i < len(s.words) || j < len(t.words); {
		order := 0
		switch {
		case j == len(t.words):
			order = -1
		case i == len(s.words):
			order = 1
		default:
			order = compareWords(s, t, &s.words[i], &t.words[j])
		}
		var count uint64
		if order <= 0 {
			line = append(line[:0], s.word(&s.words[i])...)
			count += s.words[i].count
			i++
		}
		if order >= 0 {
			line = append(line[:0], t.word(&t.words[j])...)
			count += t.words[j].count
			j++
		}
		line = append(strconv.AppendUint(append(line, '\t'), count, 10), '\n')
		_, _ = w.Write(line)
	}
}
