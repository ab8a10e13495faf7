//go:build !linux

package vfs

// Run implements [Runner]: it does not know.
func (osFS) Run() string { return "" }
