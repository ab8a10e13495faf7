package limits

import (
	"errors"
	"io"
	"os"
)

// workers is how many goroutines a program has.
const workers = 2

// blockBytes is how much is read at a time where the input is not kept: what fits
// into a core's own cache.
const blockBytes = 256 << 10

// openInput opens the input file.
func openInput(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// createOutput creates the output file.
func createOutput(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

// closeOutput makes a file durable and closes it.
func closeOutput(f *os.File) error {
	return errors.Join(f.Sync(), f.Close())
}

// readBlock reads up to max(blockBytes, len(keep)) bytes at off behind keep, which is
// a part of buf, in a larger buffer if need be. It stops at end.
func readBlock(f io.ReaderAt, buf, keep []byte, off, end int64) ([]byte, error) {
	n := int(min(int64(max(blockBytes, len(keep))), end-off))
	if len(keep)+n > len(buf) {
		larger := make([]byte, 2*(len(keep)+n))
		copy(larger, keep)
		buf = larger
	} else {
		copy(buf, keep)
	}
	buf = buf[:cap(buf)]
	got, err := f.ReadAt(buf[len(keep):len(keep)+n], off)
	if got < n {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return buf[: len(keep)+n : cap(buf)], nil
}

// scanPart hands one of the parts that a file of text has, one for each goroutine, to
// take, block by block: whole lines of the file, as all blocks of a part are together.
// What take returns is the beginning of the next block; of the last one nothing is left.
func scanPart(f io.ReaderAt, size int64, part int, take func(block []byte, last bool) (rest []byte)) error {
	at, err := lineStart(f, size*int64(part)/workers, size)
	if err != nil {
		return err
	}
	to, err := lineStart(f, size*int64(part+1)/workers, size)
	if err != nil {
		return err
	}
	var buf, rest []byte
	for at < to {
		block, err := readBlock(f, buf, rest, at, to)
		if err != nil {
			return err
		}
		at += int64(len(block) - len(rest))
		buf = block[:cap(block)]
		rest = take(block, at == to)
	}
	return nil
}

// lineStart returns where the first line begins that begins at off or later.
func lineStart(f io.ReaderAt, off, size int64) (int64, error) {
	if off == 0 {
		return 0, nil
	}
	buf := make([]byte, blockBytes)
	for off--; off < size; { // a line that begins at off follows a newline
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		for i, c := range buf[:n] {
			if c == '\n' {
				return off + int64(i) + 1, nil
			}
		}
		off += int64(n)
		if err != nil && off < size {
			return 0, err
		}
	}
	return size, nil
}
