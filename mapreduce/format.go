package mapreduce

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"unsafe"
)

// An Output turns results into the bytes of files. [TextOutput] is the default, and
// [Job].Format a short way to say what a result looks like in it; an Output of your own
// can do more, such as begin files with a header or compress them. Its method is
// called concurrently.
type Output[K, R any] interface {
	// Begin begins a file: the returned writer writes to w what the task t, which
	// runs in one goroutine, has to say. w gathers small writes. The file gets its
	// final name only if the task succeeds, and only when the job does; until then
	// nobody sees it.
	Begin(t *Task, w io.Writer) (ResultWriter[K, R], error)
}

// A ResultWriter writes one file. An error, of w or of its own, fails the attempt, and
// so does a panic.
type ResultWriter[K, R any] interface {
	// Write adds a result and the key that it belongs to. Both are borrowed.
	Write(key K, result R) error
	// Close writes what is still to be written, and leaves w as it is. It is called
	// once, after the last result, and also if there was none; but not in an attempt
	// that has failed: what holds more than memory must watch t.Context.
	Close() error
}

// TextOutput is output of results as text, one after the other, with nothing between
// them.
type TextOutput[K, R any] struct {
	// Format appends a result, as it stands in the file, to dst. The default is the
	// key, a tab, the result and a newline, both written as text: strings and byte
	// slices as they are, numbers in decimal, other types by their AppendText,
	// MarshalText or String methods, or as fmt prints them.
	Format func(dst []byte, key K, result R) []byte
}

var _ Output[string, int] = TextOutput[string, int]{}

// Begin implements Output.
func (o TextOutput[K, R]) Begin(_ *Task, w io.Writer) (ResultWriter[K, R], error) {
	format := o.Format
	if format == nil {
		format = textFormat[K, R]()
	}
	part, _ := w.(*partWriter)
	return &textWriter[K, R]{format: format, w: w, part: part}, nil
}

// textWriter implements ResultWriter for TextOutput.
type textWriter[K, R any] struct {
	format func(dst []byte, key K, result R) []byte
	w      io.Writer
	part   *partWriter // w, if it is one: results are formatted where they are gathered
	line   []byte
}

func (w *textWriter[K, R]) Write(key K, result R) error {
	if w.part != nil {
		_, err := w.part.Write(w.format(w.part.room(), key, result))
		return err
	}
	w.line = w.format(w.line[:0], key, result)
	_, err := w.w.Write(w.line)
	return err
}

func (w *textWriter[K, R]) Close() error { return nil }

// textFormat returns the default TextOutput.Format.
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
