package corpus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
)

const (
	// RecordBytes is the size of a record. The last byte is a newline and there is no
	// other, so that a program that sorts lines sorts records too.
	RecordBytes = 100
	// KeyBytes is how many bytes of a record, the first ones, are its key.
	KeyBytes = 10

	// Needle is a word that one in some millions of words of a text is.
	Needle     = "trilith"
	needleRank = 100_000

	vocabulary = 500_000
	// The frequency of the word of rank r, from 0 on, is proportional to
	// 1/(r+zipfShift), as Zipf's law has it in Mandelbrot's form.
	zipfShift = 2.7
	// A line has so many words.
	minLineWords = 6
	maxLineWords = 18

	writeBytes = 1 << 20
)

// Text writes a file of about size bytes: lines of words whose frequencies follow
// Zipf's law.
func Text(name string, size int64, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	words, pick := newVocabulary(r), newSampler(vocabulary, func(rank int) float64 { return 1 / (float64(rank) + zipfShift) })
	return create(name, func(w *bufio.Writer) error {
		var line []byte
		for written := int64(0); written < size; written += int64(len(line)) {
			line = line[:0]
			for range minLineWords + r.IntN(maxLineWords-minLineWords+1) {
				line = append(append(line, words[pick.next(r)]...), ' ')
			}
			line[len(line)-1] = '\n'
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// newVocabulary makes words, the most frequent first, which are the shortest.
func newVocabulary(r *rand.Rand) []string {
	words := make([]string, vocabulary)
	for rank := range words {
		word := make([]byte, 2+bits.Len(uint(rank))/3+r.IntN(4))
		for i := range word {
			word[i] = byte('a' + r.IntN(26))
		}
		words[rank] = string(word)
	}
	words[needleRank] = Needle
	return words
}

// sampler draws numbers from a distribution by Walker's alias method: a column for
// each number, of the same height, filled up with a part of one other number's share.
type sampler struct {
	alias []uint32
	keep  []uint32 // of the column's height, the share that is its own, in 2^-32
}

func newSampler(n int, weight func(int) float64) *sampler {
	sum := 0.0
	for i := range n {
		sum += weight(i)
	}
	s := &sampler{make([]uint32, n), make([]uint32, n)}
	height := make([]float64, n)
	var low, high []int
	for i := range n {
		height[i] = weight(i) / sum * float64(n)
		s.alias[i], s.keep[i] = uint32(i), math.MaxUint32
		if height[i] < 1 {
			low = append(low, i)
		} else {
			high = append(high, i)
		}
	}
	for len(low) > 0 && len(high) > 0 {
		l, h := low[len(low)-1], high[len(high)-1]
		low = low[:len(low)-1]
		s.alias[l], s.keep[l] = uint32(h), uint32(height[l]*math.MaxUint32)
		if height[h] -= 1 - height[l]; height[h] < 1 {
			high = high[:len(high)-1]
			low = append(low, h)
		}
	}
	return s
}

func (s *sampler) next(r *rand.Rand) int {
	column := r.IntN(len(s.keep))
	if r.Uint32() <= s.keep[column] {
		return column
	}
	return int(s.alias[column])
}

// Records writes a file of about size bytes of records, each a random key, its number,
// filler and a newline, all printable.
func Records(name string, size int64, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 2))
	return create(name, func(w *bufio.Writer) error {
		var record [RecordBytes]byte
		for i := range uint64(size / RecordBytes) {
			bits := r.Uint64()
			for j := range KeyBytes {
				hi, lo := mul95(bits)
				record[j], bits = byte(' '+hi), lo
			}
			const digits = "0123456789ABCDEF"
			record[KeyBytes] = ' '
			for j := range 32 {
				record[KeyBytes+1+j] = digits[i>>(4*(31-j))&15]
			}
			filler := record[KeyBytes+33 : RecordBytes-1]
			for j := range filler {
				filler[j] = 'A' + byte((i+uint64(j)/8)%26)
			}
			record[RecordBytes-1] = '\n'
			if _, err := w.Write(record[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// mul95 takes a digit to the base of 95, as many as there are printable characters,
// off the front of a fraction, and returns what is left.
func mul95(fraction uint64) (digit, rest uint64) { return bits.Mul64(fraction, 95) }

// create writes a new file.
func create(name string, write func(*bufio.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, writeBytes)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// A Summary is what two outputs must have in common.
type Summary struct {
	Lines int64
	Bytes int64
	Sum   uint64 // of the hashes of all lines: the same in any order
	Chain uint64 // a hash of all lines in their order
}

// A Reader takes in output, line by line.
type Reader struct {
	Summary Summary
	// Size, if set, is that of the lines, whatever they contain. The default is that
	// they end with newlines.
	Size int
	// Ordered, if set, tells whether a line may follow another.
	Ordered func(last, line []byte) bool
	last    []byte
}

// ErrOrder says that lines are not in order.
var ErrOrder = errors.New("the output is not in order")

// NextFile says that what follows need not be in order with what was read.
func (r *Reader) NextFile() { r.last = nil }

// Read takes in a file.
func (r *Reader) Read(in io.Reader) error {
	b := bufio.NewReaderSize(in, writeBytes)
	for {
		line, err := r.next(b)
		if len(line) > 0 {
			if r.last != nil && r.Ordered != nil && !r.Ordered(r.last, line) {
				return ErrOrder
			}
			r.last = append(r.last[:0], line...)
			r.Summary.add(line)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// next returns a line, or a part of one that is longer than the buffer.
func (r *Reader) next(b *bufio.Reader) ([]byte, error) {
	if r.Size == 0 {
		line, err := b.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			err = nil
		}
		return line, err
	}
	line, err := b.Peek(r.Size)
	_, _ = b.Discard(len(line)) // it is there
	return line, err
}

func (s *Summary) add(line []byte) {
	h := hash(line)
	s.Lines++
	s.Bytes += int64(len(line))
	s.Sum += h
	s.Chain = mix(s.Chain ^ h)
}

// hash is good enough to notice a mistake, and fast.
func hash(b []byte) uint64 {
	h := uint64(len(b))
	for len(b) >= 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	for _, c := range b {
		h = mix(h ^ uint64(c))
	}
	return h
}

func mix(h uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)
	return hi ^ lo
}
