//go:build !linux || arm

package vfs

// WriteBack implements [WriteBacker]: it does nothing.
func (osFile) WriteBack(_, _ int64) {}
