package mapreduce

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"strconv"
	"strings"
	"unsafe"
)

// partName returns the final name of an output file.
func partName(spec *Spec, partition int) string {
	return path.Join(spec.Output, fmt.Sprintf("part-%05d", partition))
}

// attemptPrefix begins the names of files that an attempt has not committed.
const attemptPrefix = ".attempt-"

// attemptName returns the name under which an attempt writes its output. The token
// of the job is in it, as several coordinators may have worked on a directory, one
// after the other, whose attempts have the same numbers.
func attemptName(spec *Spec, token string, partition int, a Attempt) string {
	return path.Join(spec.Output, fmt.Sprintf("%s%s-%v.part-%05d", attemptPrefix, token, a, partition))
}

// attemptPattern matches the names of all files that attempts of a job write, or of
// any job if the token is empty.
func attemptPattern(spec *Spec, token string) string {
	return path.Join(QuotePattern(spec.Output), attemptPrefix+token+"*")
}

// checkOutput refuses an output directory that is not empty. Files that attempts
// left behind do not count, they are in nobody's way.
func checkOutput(ctx context.Context, fsys FileSystem, spec *Spec) error {
	names, err := fsys.Glob(ctx, path.Join(QuotePattern(spec.Output), "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(path.Base(name), attemptPrefix) {
			return fmt.Errorf("%w: %s is there; choose another directory or remove it", ErrOutputExists, name)
		}
	}
	return nil
}

// partWriter writes an output file under the name of its attempt.
type partWriter struct {
	file io.WriteCloser
	buf  []byte
	size int64
}

// partBuffer is how much a partWriter gathers for one write.
const partBuffer = 256 << 10

func createPart(ctx context.Context, fsys FileSystem, name string) (*partWriter, error) {
	f, err := fsys.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &partWriter{file: f, buf: make([]byte, 0, partBuffer)}, nil
}

func (w *partWriter) write(b []byte) error {
	w.size += int64(len(b))
	if len(w.buf)+len(b) > cap(w.buf) {
		if err := w.drain(); err != nil {
			return err
		}
		if len(b) > cap(w.buf) {
			_, err := w.file.Write(b)
			return err
		}
	}
	w.buf = append(w.buf, b...)
	return nil
}

func (w *partWriter) drain() error {
	_, err := w.file.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// close makes the file durable.
func (w *partWriter) close() error {
	return errors.Join(w.drain(), w.file.Close())
}

// abandon closes and removes the file of an attempt that failed.
func (w *partWriter) abandon(fsys FileSystem, name string) {
	_ = w.file.Close() // the attempt has failed already
	// What stays behind is swept up when the job ends.
	_ = fsys.Remove(context.Background(), name)
}

// textFormat returns the default Job.Format.
func textFormat[K, R any]() func(dst []byte, key K, result R) []byte {
	key, result := textAppender[K](), textAppender[R]()
	return func(dst []byte, k K, r R) []byte {
		dst = append(key(dst, k), '\t')
		return append(result(dst, r), '\n')
	}
}

// textAppender returns the function that appends a T as text. The choice by T's
// kind is made here, once; the conversions in the functions are looks at the same
// memory, as in castCodec.
func textAppender[T any]() func(dst []byte, v T) []byte {
	var zero T
	switch any(zero).(type) {
	case encoding.TextAppender, encoding.TextMarshaler, fmt.Stringer, error:
		return appendMethod[T]
	}
	t := reflect.TypeFor[T]()
	switch t.Kind() {
	case reflect.String:
		return func(dst []byte, v T) []byte { return append(dst, *(*string)(unsafe.Pointer(&v))...) }
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return func(dst []byte, v T) []byte { return append(dst, *(*[]byte)(unsafe.Pointer(&v))...) }
		}
	case reflect.Int:
		return func(dst []byte, v T) []byte { return strconv.AppendInt(dst, int64(*(*int)(unsafe.Pointer(&v))), 10) }
	case reflect.Int64:
		return func(dst []byte, v T) []byte { return strconv.AppendInt(dst, *(*int64)(unsafe.Pointer(&v)), 10) }
	case reflect.Uint64:
		return func(dst []byte, v T) []byte { return strconv.AppendUint(dst, *(*uint64)(unsafe.Pointer(&v)), 10) }
	case reflect.Float64:
		return func(dst []byte, v T) []byte {
			return strconv.AppendFloat(dst, *(*float64)(unsafe.Pointer(&v)), 'g', -1, 64)
		}
	}
	return func(dst []byte, v T) []byte { return fmt.Append(dst, v) }
}

// appendMethod appends a value that has a method for it. It panics if that fails,
// which fails the task.
func appendMethod[T any](dst []byte, v T) []byte {
	var err error
	switch v := any(v).(type) {
	case encoding.TextAppender:
		dst, err = v.AppendText(dst)
	case encoding.TextMarshaler:
		var b []byte
		b, err = v.MarshalText()
		dst = append(dst, b...)
	default:
		dst = fmt.Append(dst, v)
	}
	if err != nil {
		// caught: by guard, around all of the job's code.
		panic(fmt.Errorf("format %T: %w", v, err))
	}
	return dst
}
