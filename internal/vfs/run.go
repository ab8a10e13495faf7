package vfs

import "strconv"

// Runner is what an [FS] may do besides: tell one run of the machine from another.
type Runner interface {
	// Run names the present run of the machine that holds what has not been synced: as
	// long as it has the same name, everything that was written is still there. It is
	// empty if nobody knows.
	Run() string
}

var (
	_ Runner = osFS{}
	_ Runner = (*Memory)(nil)
	_ Runner = (*Injector)(nil)
)

// Run implements [Runner]: a crash leaves another Memory, with another name.
func (m *Memory) Run() string { return "memory-" + strconv.FormatUint(m.run, 16) }

// Run implements [Runner], if the file system within does. It is never interfered with.
func (in *Injector) Run() string {
	if r, ok := in.inner.(Runner); ok {
		return r.Run()
	}
	return ""
}
