package limits

import (
	"bytes"
	"errors"

	"golang.org/x/sync/errgroup"
)

// Grep writes the lines of a text that contain a pattern, in their order. Each
// goroutine looks for the pattern in the blocks of one half of the file, whatever is
// around it, and finds the line only where it occurs.
func Grep(input, output, pattern string) (err error) {
	f, size, err := openInput(input)
	if err != nil {
		return err
	}
	defer f.Close()
	var found [workers][]byte
	var group errgroup.Group
	for i := range workers {
		group.Go(func() error {
			return scanPart(f, size, i, func(block []byte, last bool) []byte {
				whole := len(block)
				if !last {
					whole = bytes.LastIndexByte(block, '\n') + 1
				}
				found[i] = appendMatches(found[i], block[:whole], []byte(pattern))
				return block[whole:]
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	out, err := createOutput(output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOutput(out)) }()
	for _, lines := range found {
		if _, err := out.Write(lines); err != nil {
			return err
		}
	}
	return nil
}

// appendMatches appends the lines of a block that contain the pattern to dst.
func appendMatches(dst, block, pattern []byte) []byte {
	for {
		i := bytes.Index(block, pattern)
		if i < 0 {
			return dst
		}
		from := bytes.LastIndexByte(block[:i], '\n') + 1
		to := i + bytes.IndexByte(block[i:], '\n')
		if to < i {
			to = len(block) // of a file that does not end with a newline
		}
		dst = append(append(dst, block[from:to]...), '\n')
		block = block[min(to+1, len(block)):]
	}
}
