package vfs

// Spacer is what an [FS] may do besides: say how much room there is.
type Spacer interface {
	// Free returns how many bytes can still be written to the file system that holds
	// a directory, and how many it has in all. It fails with errors.ErrUnsupported if
	// nobody knows.
	Free(dir string) (free, total int64, err error)
}

var (
	_ Spacer = osFS{}
	_ Spacer = (*Memory)(nil)
	_ Spacer = (*Injector)(nil)
)
