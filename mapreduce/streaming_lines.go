package mapreduce

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// errQuote reports a command line whose quotes do not match.
var errQuote = errors.New("a quote is not closed")

// splitWords divides a command line into words, at spaces. Quotes keep spaces
// together; nothing else has a meaning.
func splitWords(line string) ([]string, error) {
	var (
		words []string
		word  []byte
		open  bool // word has begun
		quote byte // the one we are in, or 0
	)
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if open {
				words = append(words, string(word))
			}
			word, open = word[:0], false
		default:
			word, open = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, errQuote
	}
	if open {
		words = append(words, string(word))
	}
	return words, nil
}

// prefixFields returns the length of the first n fields of a line, without the
// separator that ends them: of the whole line if it has no more.
func prefixFields(line, separator []byte, n int) int {
	end := 0
	for i := range n {
		if i > 0 {
			end += len(separator)
		}
		at := bytes.Index(line[end:], separator)
		if at < 0 {
			return len(line)
		}
		end += at
	}
	return end
}

// report is what a program says to the job on its standard error.
type report struct {
	counter string // its name, or "" for a status
	n       int64
	skip    bool // it counts what the program is done with
	status  string
}

const (
	reporterPrefix = "reporter:"
	reporterCount  = reporterPrefix + "counter:"
	reporterStatus = reporterPrefix + "status:"

	// The counters by which a program tells how far it is.
	processedGroup   = "SkippingTaskCounters"
	processedRecords = "MapProcessedRecords"
	processedGroups  = "ReduceProcessedGroups"
)

// parseReport reads a line of a program's standard error. It reports false if that
// is not for the job, but for people.
func parseReport(line string) (r report, ok bool) {
	if text, ok := strings.CutPrefix(line, reporterStatus); ok {
		return report{status: text}, true
	}
	text, ok := strings.CutPrefix(line, reporterCount)
	if !ok {
		return report{}, false
	}
	group, rest, ok := strings.Cut(text, ",")
	name, count, more := strings.Cut(rest, ",")
	n, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
	if !ok || !more || err != nil {
		return report{}, false
	}
	r = report{counter: group + "/" + name, n: n}
	r.skip = group == processedGroup && (name == processedRecords || name == processedGroups)
	return r, true
}

// tail is the end of a text that may be long.
type tail struct {
	text []byte
	cut  bool // there was more before
}

// tailBytes bounds what is kept.
const tailBytes = 4 << 10

// add appends a line, and drops whole lines from the front where it grows too long.
func (t *tail) add(line []byte) {
	if len(line) > tailBytes/2 {
		line = line[:tailBytes/2]
	}
	t.text = append(append(t.text, line...), '\n')
	if over := len(t.text) - tailBytes; over > 0 {
		over += bytes.IndexByte(t.text[over:], '\n') + 1
		t.text, t.cut = append(t.text[:0], t.text[over:]...), true
	}
}

// String returns what there is, without the last newline.
func (t *tail) String() string {
	text := strings.TrimSuffix(strings.ToValidUTF8(string(t.text), "\uFFFD"), "\n")
	if t.cut {
		text = "…\n" + text
	}
	return text
}

// environmentName makes of the name of an argument one that shells accept.
func environmentName(arg string) string {
	return argPrefix + strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, arg)
}

const argPrefix = "TRILITH_ARG_"

// attempted is which records of a task's input a program has been given, of which it
// may tell how many it is done with.
type attempted struct {
	base uint64   // the number of the first record that was given
	skip []uint64 // records that are not given, increasing
}

// number returns the number in the task of the k-th record that was given, from 0.
func (a attempted) number(k uint64) uint64 {
	n := a.base + k
	for _, s := range a.skip {
		if s < a.base {
			continue
		}
		if s > n {
			break
		}
		n++
	}
	return n
}
