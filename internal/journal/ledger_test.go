package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

const dir = "/data/journal"

// ledger is the owner of a journal in these tests: it keeps all its records.
type ledger struct {
	records  [][]byte // record n is records[n-1]
	restored uint64   // the sequence number of the image it began with
}

var _ Recovery = (*ledger)(nil)

func (l *ledger) Restore(sequence uint64, image io.Reader) error {
	all, err := io.ReadAll(image)
	if err != nil {
		return err
	}
	for len(all) > 0 {
		n := 2 + int(le.Uint16(all))
		l.records = append(l.records, all[2:n])
		all = all[n:]
	}
	if len(l.records) != int(sequence) {
		return fmt.Errorf("an image of %d records at %d", len(l.records), sequence)
	}
	l.restored = sequence
	return nil
}

func (l *ledger) Replay(sequence uint64, record []byte) error {
	if int(sequence) != len(l.records)+1 {
		return fmt.Errorf("record %d after %d", sequence, len(l.records))
	}
	l.records = append(l.records, bytes.Clone(record))
	return nil
}

// image returns an image of the first n records.
func (l *ledger) image(n uint64) io.WriterTo {
	var b []byte
	for _, r := range l.records[:n] {
		b = append(le.AppendUint16(b, uint16(len(r))), r...)
	}
	return bytes.NewReader(b)
}

// begins reports how the ledger differs from the beginning of another that has at
// least the given number of records in common with it.
func (l *ledger) begins(whole *ledger, atLeast uint64) error {
	if len(l.records) < int(atLeast) {
		return fmt.Errorf("records %d to %d, which were safe, are lost", len(l.records)+1, atLeast)
	}
	if len(l.records) > len(whole.records) {
		return fmt.Errorf("there are %d records, and only %d were appended", len(l.records), len(whole.records))
	}
	for i, r := range l.records {
		if !bytes.Equal(r, whole.records[i]) {
			return fmt.Errorf("record %d is not what was appended", i+1)
		}
	}
	return nil
}

// payload returns a record that differs from all others, in its bytes and in how
// many sectors it needs.
func payload(n int) []byte {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	b := make([]byte, []int{0, 1, 40, 300, 700, 1500}[n%6])
	for i := range b {
		b[i] = byte(1 + rng.IntN(255))
	}
	return b
}

// small is a configuration whose segments are short.
func small(fsys vfs.FS) Config {
	return Config{Dir: dir, FS: fsys, SegmentBytes: 1200}
}

// mustOpen opens a journal that is as it should be.
func mustOpen(t *testing.T, cfg Config) (*Journal, *ledger) {
	t.Helper()
	l := new(ledger)
	j, err := Open(cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, l
}

// mustAppend appends records after those of the ledger, and to it, without syncing.
func mustAppend(t *testing.T, j *Journal, l *ledger, n int) {
	t.Helper()
	for range n {
		if err := appendNext(j, l); err != nil {
			t.Fatal(err)
		}
	}
}

func appendNext(j *Journal, l *ledger) error {
	p := payload(len(l.records))
	half := len(p) / 2
	sequence, err := j.Append(p[:half], p[half:])
	if err != nil {
		return err
	}
	l.records = append(l.records, p)
	if int(sequence) != len(l.records) {
		return fmt.Errorf("record %d has sequence number %d", len(l.records), sequence)
	}
	return nil
}

func mustSync(t *testing.T, j *Journal) uint64 {
	t.Helper()
	safe, err := j.Sync()
	if err != nil {
		t.Fatal(err)
	}
	return safe
}

func mustClose(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// refused returns the error with which a damaged journal is refused.
func refused(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrCorrupt) || e.Path == "" {
		t.Fatalf("error is %v, want an *Error that matches ErrCorrupt and names a file", err)
	}
	return e
}
