package mapreduce

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// PairFile is the file type with which jobs hand typed data on: as the Output of one
// it writes pairs of a key and a result, as the Input of another it reads them, and
// [MapPairs] decodes them. The zero value is for types with default codecs.
//
// The pairs of a file are in the order of their keys, as Reduce emits them. They are
// in blocks with checksums, of which an index at the end of the file tells where they
// are: whoever reads a part of a file reads each pair of it once, and damage is an
// ErrCorrupt that names the file and the offset. A Record that is read has the
// encodings of a pair as its Key and Value.
type PairFile[K, V any] struct {
	// Keys and Values are the codecs. Defaults: DefaultCodec. Who writes a file and
	// who reads it must use the same; and if the job that writes it orders keys by
	// Job.Keys, so must the file.
	Keys   Codec[K]
	Values Codec[V]
	// AnyOrder lets pairs come in any order, as a MapOnly emits them. Otherwise a pair
	// that is out of order fails the attempt with ErrUnordered.
	AnyOrder bool
}

var (
	_ Input               = PairFile[string, int]{}
	_ Output[string, int] = PairFile[string, int]{}
	_ checked             = PairFile[string, int]{}
)

// MapPairs makes a Map of a function on the pairs of a file type.
func MapPairs[K1, V1, K2, V2 any](file PairFile[K1, V1], f func(t *Task, key K1, value V1, emit func(K2, V2)) error) func(*Task, Record, func(K2, V2)) error {
	keys, values := orDefault(file.Keys), orDefault(file.Values)
	return func(t *Task, r Record, emit func(K2, V2)) error {
		key, err := keys.Decode(r.Key)
		if err != nil {
			return fmt.Errorf("decode a key: %w", err)
		}
		value, err := values.Decode(r.Value)
		if err != nil {
			return fmt.Errorf("decode a value: %w", err)
		}
		return f(t, key, value, emit)
	}
}

// Each calls f with each pair of a file, in order.
func (p PairFile[K, V]) Each(ctx context.Context, fsys FileSystem, name string, f func(key K, value V) error) error {
	err := p.each(ctx, fsys, name, f)
	if err != nil {
		return &Error{Op: "read", On: name, Err: err}
	}
	return nil
}

func (p PairFile[K, V]) each(ctx context.Context, fsys FileSystem, name string, f func(key K, value V) error) error {
	if err := p.check(); err != nil {
		return err
	}
	keys, values := newDecoder(orDefault(p.Keys)), newDecoder(orDefault(p.Values))
	var ferr error
	_, err := readPairs(ctx, fsys, Piece{Name: name, Length: wholeFile}, func(r Record, _ error) bool {
		var key K
		var value V
		if key, ferr = keys.decode(r.Key); ferr == nil {
			value, ferr = values.decode(r.Value)
		}
		if ferr != nil {
			ferr = fmt.Errorf("decode the pair at byte %d: %w", r.Offset, ferr)
			return false
		}
		ferr = f(key, value)
		return ferr == nil
	})
	if err == nil {
		err = ferr
	}
	return err
}

func (p PairFile[K, V]) check() error {
	if err := checkCodec(orDefault(p.Keys)); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := checkCodec(orDefault(p.Values)); err != nil {
		return fmt.Errorf("values: %w", err)
	}
	return nil
}

// Splits implements Input.
func (p PairFile[K, V]) Splits(ctx context.Context, fsys FileSystem, spec *Spec) ([]Split, error) {
	return fileSplits(ctx, fsys, spec, 1, func(name string, f io.ReaderAt, size int64) error {
		if _, err := readPairTrailer(f, size); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// Read implements Input. A block belongs to the split in which its first byte lies.
func (p PairFile[K, V]) Read(ctx context.Context, fsys FileSystem, split Split) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, piece := range split.Pieces {
			more, err := readPairs(ctx, fsys, piece, yield)
			if err != nil {
				yield(Record{}, fmt.Errorf("read %s: %w", piece.Name, err))
			}
			if err != nil || !more {
				return
			}
		}
	}
}

// Begin implements Output.
func (p PairFile[K, V]) Begin(_ *Task, w io.Writer) (ResultWriter[K, V], error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	f, err := newPairWriter(w, p.AnyOrder)
	return &typedPairWriter[K, V]{f, newEncoder(orDefault(p.Keys)), newEncoder(orDefault(p.Values))}, err
}

// typedPairWriter implements ResultWriter for PairFile.
type typedPairWriter[K, V any] struct {
	*pairWriter
	keys   encoder[K]
	values encoder[V]
}

func (w *typedPairWriter[K, V]) Write(key K, value V) error {
	return w.add(w.keys.encode(key), w.values.encode(value))
}
