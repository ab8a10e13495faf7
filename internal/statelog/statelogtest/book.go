package statelogtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
)

var le = binary.LittleEndian

// Book is the machine that the checks of a log run: it keeps every command that it
// has ever applied, with its place. A command begins with an id of 8 bytes; the
// output is the [Entry].
type Book struct {
	fingerprint string
	gate        <-chan struct{} // if not nil, Apply waits for it

	mu      sync.RWMutex // guards entries
	entries []Entry
}

// Entry is a command that was applied.
type Entry struct {
	Position uint64 // how many commands had been applied, with this one
	ID       uint64
	Sum      uint64 // of the command
	Index    uint64
	At       int64 // nanoseconds since 1970
}

const entrySize = 40

var _ statelog.Machine = (*Book)(nil)

// NewBook returns an empty book.
func NewBook() *Book { return &Book{fingerprint: "book/1"} }

// Apply implements [statelog.Machine].
func (b *Book) Apply(index uint64, at time.Time, cmd, dst []byte) []byte {
	if b.gate != nil {
		<-b.gate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := Entry{Position: uint64(len(b.entries) + 1), Sum: sum(cmd), Index: index, At: at.UnixNano()}
	if len(cmd) >= 8 {
		e.ID = le.Uint64(cmd)
	}
	b.entries = append(b.entries, e)
	return e.append(dst)
}

func sum(b []byte) uint64 {
	return uint64(len(b))<<32 | uint64(crc32.ChecksumIEEE(b))
}

func (e Entry) append(b []byte) []byte {
	for _, v := range []uint64{e.Position, e.ID, e.Sum, e.Index, uint64(e.At)} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// DecodeEntry returns the entry that an output of a [Book] holds, or a zero Entry.
func DecodeEntry(out []byte) Entry {
	e, _ := decodeEntry(out)
	return e
}

func decodeEntry(b []byte) (Entry, error) {
	if len(b) != entrySize {
		return Entry{}, fmt.Errorf("an output of %d bytes where the machine gives %d", len(b), entrySize)
	}
	return Entry{
		Position: le.Uint64(b), ID: le.Uint64(b[8:]), Sum: le.Uint64(b[16:]),
		Index: le.Uint64(b[24:]), At: int64(le.Uint64(b[32:])),
	}, nil
}

// Entries returns what has been applied. It may be called while the log runs, like
// any read of a machine.
func (b *Book) Entries() []Entry {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.entries[:len(b.entries):len(b.entries)] // entries are never changed
}

// Freeze implements [statelog.Machine].
func (b *Book) Freeze() (io.WriterTo, error) { return pages(b.Entries()), nil }

// pages is an image of a book.
type pages []Entry

// WriteTo implements io.WriterTo.
func (p pages) WriteTo(w io.Writer) (int64, error) {
	var buf bytes.Buffer
	for _, e := range p {
		buf.Write(e.append(nil))
	}
	return buf.WriteTo(w)
}

// Restore implements [statelog.Machine].
func (b *Book) Restore(r io.Reader) error {
	all, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(all)%entrySize != 0 {
		return errors.New("statelogtest: an image is cut off")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = nil
	for ; len(all) > 0; all = all[entrySize:] {
		e, err := decodeEntry(all[:entrySize])
		if err != nil {
			return err
		}
		b.entries = append(b.entries, e)
	}
	return nil
}

// Fingerprint implements [statelog.Machine].
func (b *Book) Fingerprint() string { return b.fingerprint }
