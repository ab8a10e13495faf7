package statelogtest_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
)

// tally counts words, in the way that its flaw says.
type tally struct {
	words map[string]uint64
	kept  []byte // flaw "keeps"
	flaw  string
}

func newTally(flaw string) func() statelog.Machine {
	return func() statelog.Machine { return &tally{words: make(map[string]uint64), flaw: flaw} }
}

func (m *tally) Apply(index uint64, at time.Time, cmd, dst []byte) []byte {
	m.words[string(cmd)]++
	switch m.flaw {
	case "keeps":
		if m.kept == nil {
			m.kept = cmd
		}
	case "changes":
		cmd[0]++
	case "replaces":
		dst = nil
	case "clock":
		return binary.LittleEndian.AppendUint64(dst, uint64(time.Now().UnixNano()))
	case "counts itself":
		counted++
		m.words["x"] = counted
	}
	return binary.LittleEndian.AppendUint64(dst, m.words[string(cmd)])
}

var counted uint64 // not a machine's own

func (m *tally) Freeze() (io.WriterTo, error) {
	if m.flaw == "live" {
		return lazy{m}, nil
	}
	var b bytes.Buffer
	_, err := lazy{m}.WriteTo(&b)
	return &b, err
}

func (m *tally) Fingerprint() string {
	if m.flaw == "fingerprint" {
		return fmt.Sprint(len(m.words))
	}
	return "tally/1"
}

// lazy is an image that is made when it is written.
type lazy struct{ m *tally }

func (l lazy) WriteTo(w io.Writer) (int64, error) {
	words := slices.Sorted(maps.Keys(l.m.words))
	if l.m.flaw == "order" {
		words = slices.Collect(maps.Keys(l.m.words))
	}
	total := 0
	for _, word := range words {
		n, err := fmt.Fprintf(w, "%s %d\n", word, l.m.words[word])
		if total += n; err != nil {
			return int64(total), err
		}
	}
	n, err := w.Write(l.m.kept)
	return int64(total + n), err
}

func (m *tally) Restore(r io.Reader) error {
	all, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if m.flaw != "merges" {
		clear(m.words)
	}
	for line := range strings.Lines(string(all)) {
		var word string
		var n uint64
		if _, err := fmt.Sscanf(line, "%s %d\n", &word, &n); err != nil {
			return err
		}
		if m.flaw == "forgets" && n == 1 {
			continue
		}
		m.words[word] = n
	}
	return nil
}

func words() [][]byte {
	var commands [][]byte
	for n := range 100 {
		commands = append(commands, fmt.Appendf(nil, "word%d", n*n%37))
	}
	return commands
}

func TestASoundMachinePasses(t *testing.T) {
	statelogtest.TestMachine(t, newTally(""), words())
	statelogtest.TestMachine(t, func() statelog.Machine { return statelogtest.NewBook() }, words())
}

func TestFlawedMachinesAreCaught(t *testing.T) {
	for _, flaw := range []string{
		"keeps", "changes", "replaces", "clock", "counts itself", "live", "fingerprint", "order", "merges", "forgets",
	} {
		if err := statelogtest.CheckMachine(newTally(flaw), words()); err == nil {
			t.Errorf("%s: not caught", flaw)
		} else {
			t.Logf("%s: %v", flaw, err)
		}
	}
}

func ExampleCheckMachine() {
	flawed := newTally("live")
	fmt.Println(statelogtest.CheckMachine(flawed, words()))
	// Output:
	// the image frozen after 0 commands was changed by later ones
}
