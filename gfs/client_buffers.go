package gfs

import "sync"

// pieces are buffers of readPiece bytes, which is also the size of what is written at
// once.
var pieces = sync.Pool{New: func() any { b := make([]byte, readPiece); return &b }}

// getPiece returns a buffer of n bytes, at most readPiece.
func getPiece(n int) []byte { return (*pieces.Get().(*[]byte))[:n] }

// putPiece takes a buffer of getPiece back, which nobody may use any more; nil is none.
func putPiece(b []byte) {
	if cap(b) == readPiece {
		b = b[:readPiece]
		pieces.Put(&b)
	}
}
