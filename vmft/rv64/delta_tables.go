package rv64

import (
	"encoding/binary"
	"slices"

	"github.com/trilith-go/trilith/internal/wire"
)

// noChunks is since when no chunk has changed.
const noChunks = 1<<64 - 1

// cut returns what was written, in pieces.
func (c *codec) cut() (pieces [][]byte) {
	from := 0
	for _, to := range append(c.cuts, len(c.buf)) {
		if to > from {
			pieces = append(pieces, c.buf[from:to:to])
			from = to
		}
	}
	return pieces
}

// appendPieces appends pieces to dst as far as they are not near the same place of those before.
func appendPieces(dst []byte, before, now [][]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(now)))
	at, run := 0, 0 // the last run pieces were those before at
	flush := func() {
		if run > 0 {
			dst = binary.AppendUvarint(dst, uint64(run))
			dst = binary.AppendUvarint(dst, uint64(at-run))
			run = 0
		}
	}
	for _, p := range now {
		i := near(before, at, p)
		if i != at {
			flush()
		}
		if i < 0 {
			dst = append(dst, 0)
			dst = wire.AppendBytes(dst, p)
			at++
			continue
		}
		at = i + 1
		run++
	}
	flush()
	return dst
}

// near returns where a piece is among others, close to a place, or -1.
func near(pieces [][]byte, at int, p []byte) int {
	const window = 8
	if at < len(pieces) && string(pieces[at]) == string(p) {
		return at
	}
	for i := max(at-window, 0); i < min(at+window, len(pieces)); i++ {
		if string(pieces[i]) == string(p) {
			return i
		}
	}
	return -1
}

// takePieces reads what appendPieces has written.
func takePieces(d *wire.Decoder, before [][]byte) (now [][]byte) {
	for left := d.Int(len(before) + d.Len()); left > 0 && d.Err() == nil; {
		n := d.Int(left)
		if n == 0 {
			now = append(now, slices.Clone(d.Bytes()))
			left--
			continue
		}
		at := d.Int(len(before))
		if n > len(before)-at {
			d.Fail("pieces %d to %d, of %d", at, at+n, len(before))
			return nil
		}
		now = append(now, before[at:at+n]...)
		left -= n
	}
	return now
}

// versions writes which chunks a file has, for a delta, and takes note of those that have
// changed; or gives it those that are new, and those that it has had.
func (c *codec) versions(in *inode, epoch uint64) {
	n := 0
	list(c, &in.chunks, func(p **chunk) {
		size := 0
		if *p != nil {
			size = len((*p).data) + 1
		}
		if num(c, &size); size == 0 {
			n++
			return
		}
		switch {
		case !c.reading:
			if (*p).epoch >= c.since {
				c.changed = append(c.changed, chunkRef{in.id, n, (*p).data})
			}
		case c.content[[2]int{in.id, n}] != nil || size == 1:
			*p = &chunk{data: slices.Clone(c.content[[2]int{in.id, n}]), epoch: epoch}
		default:
			if old := c.disk.inode(in.id); old != nil && n < len(old.chunks) {
				*p = old.chunks[n]
			}
		}
		if n++; *p == nil || len((*p).data) != size-1 || size > chunkSize+1 {
			c.d.Fail("a chunk of %d bytes that is not here", size-1)
		}
	})
}
