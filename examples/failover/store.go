package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// A store is the machine: values under keys. Its commands and queries are lines of text:
//
//	set KEY VALUE   answers VALUE
//	add KEY NUMBER  answers the sum; a key without a value has 0
//	get KEY         is a query
//
// What cannot be done is answered by a line that begins with "error: ".
type store struct {
	mu     sync.RWMutex // guards values: queries run beside Apply
	values map[string]string
}

var (
	_ vmft.Machine = (*store)(nil)
	_ vmft.Reader  = (*store)(nil)
)

func newStore() *store { return &store{values: make(map[string]string)} }

// Apply implements vmft.Machine.
func (s *store) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	verb, rest, _ := strings.Cut(string(cmd), " ")
	key, value, whole := strings.Cut(rest, " ")
	if !whole || key == "" {
		return fmt.Appendf(dst, "error: %q is no command", cmd)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch verb {
	case "set":
	case "add":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Appendf(dst, "error: %q is no number", value)
		}
		var old int64
		if have, ok := s.values[key]; ok {
			if old, err = strconv.ParseInt(have, 10, 64); err != nil {
				return fmt.Appendf(dst, "error: %s is no counter", key)
			}
		}
		value = strconv.FormatInt(old+n, 10)
	default:
		return fmt.Appendf(dst, "error: there is no %q", verb)
	}
	s.values[key] = value
	return append(dst, value...)
}

// Query implements vmft.Reader.
func (s *store) Query(query, dst []byte) ([]byte, error) {
	key, ok := strings.CutPrefix(string(query), "get ")
	if !ok {
		return nil, fmt.Errorf("%q is no query", query)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append(dst, s.values[key]...), nil
}

// Freeze implements vmft.Machine. A copy of the map shares the strings.
func (s *store) Freeze() (io.WriterTo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return image(maps.Clone(s.values)), nil
}

// An image is a store as it was. Keys are written in their order, for two stores with one
// log to have equal images.
type image map[string]string

// WriteTo implements io.WriterTo.
func (m image) WriteTo(w io.Writer) (int64, error) {
	var written int64
	var b []byte
	for _, key := range slices.Sorted(maps.Keys(m)) {
		b = b[:0]
		for _, s := range []string{key, m[key]} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
		n, err := w.Write(b)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// maxString bounds a key or a value of an image, so that one that is damaged takes no
// more memory than that.
const maxString = vmft.MaxCommand

// Restore implements vmft.Machine.
func (s *store) Restore(r io.Reader) error {
	values := make(map[string]string)
	in := bufio.NewReader(r)
	for {
		key, err := readString(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if values[key], err = readString(in); err != nil {
			return fmt.Errorf("a value of an image: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = values
	return nil
}

// readString reads a string. The error is io.EOF if there is nothing.
func readString(r *bufio.Reader) (string, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return "", err
	}
	if n > maxString {
		return "", fmt.Errorf("a string of %d bytes in an image", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", fmt.Errorf("an image was cut off: %v", err) // not an io.EOF, which is its end
	}
	return string(b), nil
}

// Fingerprint implements vmft.Machine.
func (s *store) Fingerprint() string { return "examples/failover/1" }
