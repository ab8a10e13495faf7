package vfs

// WriteBacker is what a [File] may do besides: begin to move what was written to the
// disk, so that a later Sync finds little left to wait for.
type WriteBacker interface {
	// WriteBack begins it for n bytes at off, and does not wait for it. It promises
	// nothing and reports nothing: only Sync does.
	WriteBack(off, n int64)
}

var _ WriteBacker = osFile{}
