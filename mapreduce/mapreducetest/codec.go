package mapreducetest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/trilith-go/trilith/mapreduce"
)

// ErrCodec is matched by the errors of CheckCodec.
var ErrCodec = errors.New("mapreducetest: bad codec")

// CheckCodec tries a codec on some values: what is encoded is decoded to the same
// value, and that is encoded as before; Append leaves alone what dst holds; Decode
// does not change what it is given, and the value does not refer to it, unless the
// type is []byte.
//
// compare, if it is not nil, is the order that the encodings shall have, as cmp.Compare
// or bytes.Compare, and says which values are the same. Without it, values are the same
// if reflect.DeepEqual says so, and those that are not must have different encodings.
func CheckCodec[T any](codec mapreduce.Codec[T], compare func(a, b T) int, values ...T) error {
	encoded := make([][]byte, len(values))
	for i, v := range values {
		var err error
		if encoded[i], err = roundTrip(codec, compare, v); err != nil {
			return fmt.Errorf("%w: %.100v: %w", ErrCodec, v, err)
		}
	}
	for i, a := range values {
		for j, b := range values[:i] {
			order := bytes.Compare(encoded[i], encoded[j])
			switch {
			case compare == nil && reflect.DeepEqual(a, b) != (order == 0):
				return fmt.Errorf("%w: %.100v and %.100v are encoded as %x and %x", ErrCodec, a, b, encoded[i], encoded[j])
			case compare != nil && sign(compare(a, b)) != order:
				return fmt.Errorf("%w: %.100v and %.100v compare as %d, their encodings %x and %x as %d",
					ErrCodec, a, b, sign(compare(a, b)), encoded[i], encoded[j], order)
			}
		}
	}
	return nil
}

func sign(n int) int { return min(max(n, -1), 1) }

func roundTrip[T any](codec mapreduce.Codec[T], compare func(a, b T) int, v T) ([]byte, error) {
	same := func(a, b T) bool { return reflect.DeepEqual(a, b) }
	if compare != nil {
		same = func(a, b T) bool { return compare(a, b) == 0 }
	}
	encoded := codec.Append(nil, v)
	prefix := []byte("what was there")
	if got := codec.Append(slices.Clone(prefix), v); !bytes.HasPrefix(got, prefix) || !bytes.Equal(got[len(prefix):], encoded) {
		return nil, fmt.Errorf("appended to %q it gives %q, alone %q", prefix, got, encoded)
	}
	src := slices.Clone(encoded)
	back, err := codec.Decode(src)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its encoding %x cannot be decoded: %w", encoded, err)
	case !bytes.Equal(src, encoded):
		return nil, fmt.Errorf("decoding changes its encoding %x to %x", encoded, src)
	case !same(back, v):
		return nil, fmt.Errorf("its encoding %x is decoded to %.100v", encoded, back)
	}
	if again := codec.Append(nil, back); !bytes.Equal(again, encoded) {
		return nil, fmt.Errorf("encoded again after decoding it is %x, not %x", again, encoded)
	}
	if t := reflect.TypeFor[T](); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return encoded, nil // may be borrowed
	}
	for i := range src {
		src[i] ^= 0xff
	}
	if again := codec.Append(nil, back); !bytes.Equal(again, encoded) {
		return nil, errors.New("the decoded value refers to the memory that it was decoded from")
	}
	return encoded, nil
}

// ErrPartition is matched by the errors of CheckPartition.
var ErrPartition = errors.New("mapreducetest: bad partition function")

// partitions are the numbers of partitions that CheckPartition tries.
var partitions = []int{1, 2, 3, 7, 16, 1000, 65536}

// CheckPartition tries the partition function of a job on some keys: for any number of
// partitions it returns one that there is, the same each time, and the same for the
// key after it was encoded and decoded, as which it comes from a combiner.
func CheckPartition[K, V, R any](job mapreduce.Job[K, V, R], keys ...K) error {
	if job.Partition == nil {
		return fmt.Errorf("mapreducetest: job %s has no partition function", job.Name)
	}
	codec := job.Keys
	if codec == nil {
		var err error
		if codec, err = mapreduce.DefaultCodec[K](); err != nil {
			return err
		}
	}
	for _, key := range keys {
		decoded, err := codec.Decode(codec.Append(nil, key))
		if err != nil {
			return fmt.Errorf("%w: key %.100v cannot be decoded: %w", ErrPartition, key, err)
		}
		for _, n := range partitions {
			p := job.Partition(key, n)
			if p < 0 || p >= n {
				return fmt.Errorf("%w: key %.100v belongs to %d of %d partitions", ErrPartition, key, p, n)
			}
			if again := job.Partition(key, n); again != p {
				return fmt.Errorf("%w: key %.100v belongs to %d of %d partitions, and then to %d", ErrPartition, key, p, n, again)
			}
			if other := job.Partition(decoded, n); other != p {
				return fmt.Errorf("%w: key %.100v belongs to %d of %d partitions, after encoding and decoding to %d", ErrPartition, key, p, n, other)
			}
		}
	}
	return nil
}
