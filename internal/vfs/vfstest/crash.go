package vfstest

import (
	"fmt"
	"sync"

	"github.com/trilith-go/trilith/internal/vfs"
)

// maxCalls bounds a workload: one that makes more calls is not short.
const maxCalls = 10_000

// Workload is one run of something that must survive crashes.
type Workload struct {
	// Disk is what it starts with; nil means an empty file system.
	Disk *vfs.Memory
	// Run does the work and notes what has been acknowledged. From the crash on
	// every call on fsys fails; Run must return nevertheless.
	Run func(fsys vfs.FS)
	// Check is called after Run, once for each thing the crash may have left, and
	// says what is wrong with it.
	Check func(after *vfs.Memory) error
}

// CrashEverywhere cuts the power before each call of a workload that changes the
// file system, and once after the last: in run n before the nth. start makes the
// workload of a run. Every crash is drawn from as many seeds as given. It returns
// how many images it had checked and the first error of a check, with the call
// and the seed.
func CrashEverywhere(seeds int, start func() Workload) (checked int, err error) {
	for n := 1; n <= maxCalls; n++ {
		w := start()
		if w.Disk == nil {
			w.Disk = vfs.NewMemory(uint64(n))
		}
		c := crash{disk: w.Disk, at: n, seeds: seeds}
		w.Run(vfs.Inject(w.Disk, c.hook))
		over := c.cut(nil)
		for seed, image := range c.images {
			checked++
			if err := w.Check(image); err != nil {
				return checked, fmt.Errorf("crash %d (%s), seed %d: %w", n, c.when, seed, err)
			}
		}
		if over {
			return checked, nil
		}
	}
	return checked, fmt.Errorf("vfstest: the workload makes more than %d calls", maxCalls)
}

// crash is the crash of one run.
type crash struct {
	disk  *vfs.Memory
	at    int
	seeds int

	mu     sync.Mutex // guards what follows
	calls  int
	images []*vfs.Memory // one a seed
	when   string
}

func (c *crash) hook(call vfs.Call) vfs.Fault {
	if call.Op.Mutates() && c.cut(&call) {
		return vfs.Fault{Err: vfs.ErrCrashed}
	}
	return vfs.Fault{}
}

// cut cuts the power if it is time: before the call of that number, or now if
// there are no more calls. It reports whether it did.
func (c *crash) cut(call *vfs.Call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.images != nil || (call != nil && c.calls != c.at) {
		return false
	}
	c.when = "after the last call"
	if call != nil {
		c.when = "before " + call.String()
	}
	c.disk.Crash() // first, or a call that is under way could succeed after the images were drawn
	for seed := range c.seeds {
		c.images = append(c.images, c.disk.CrashImage(uint64(c.at)<<32|uint64(seed)))
	}
	return true
}
