package rv64

// An engine executes instructions. It is no part of the machine's state: engines
// may be exchanged at any position, and a machine that is restored starts with an
// empty one. A translator to the host's machine code is another implementation.
//
// The contract:
//
//   - run executes instructions from c.pc on until c.count, which rises by one for
//     each, is limit, or one can't be executed: then everything before it has
//     happened, nothing of it has, c.pc is its address, and the trap says why (and
//     mem.fault or c.bad the rest). Limit is never passed. All of c is exact when
//     run returns; in between the engine may keep it wherever it likes.
//   - Registers are in c.x and c.f, x[0] is zero. The address space is reached
//     through the caches mem.read and mem.write (an entry is the address of a page
//     of the guest and where it is on the host) and, when they miss, mem.load and
//     mem.store, which fill them. An engine never keeps the host's address of a
//     page anywhere else: freezing and unmapping empty the caches.
//   - Code is coherent, as if it were decoded anew for each instruction: when
//     mem.codeStale is set, by a store of the guest (which an engine checks after
//     each one that missed the cache) or by the kernel between two runs, the next
//     instruction is of the new code. Before an engine keeps anything that it has
//     made of a page, it calls mem.markCode.
//   - forget drops all that was decoded.
//   - run is called from one goroutine, with limits near enough for the machine to
//     be interrupted in time.
type engine interface {
	run(c *cpu, limit uint64) trap
	forget()
}

// A stepper is the engine that everything is compared with.
type stepper struct{}

func (stepper) run(c *cpu, limit uint64) trap {
	for c.count < limit {
		if t := c.step(); t != trapNone {
			return t
		}
	}
	c.mem.codeStale = false
	return trapNone
}

func (stepper) forget() {}

var (
	_ engine = stepper{}
	_ engine = (*blocks)(nil)
)
