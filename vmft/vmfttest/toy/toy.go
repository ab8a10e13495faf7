package toy

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// An Op is what an instruction of a [Toy] does.
type Op uint8

// The instructions: A and B are registers of the running thread, of which there are eight,
// N a number.
const (
	Set    Op = iota // A = N
	Add              // A = A + B + N
	Mix              // A = a hash of A, B and N
	Load             // A = the word of memory at B + N
	Store            // the word of memory at B + N = A
	Jump             // go on at the instruction N, if A is not 0
	Input            // A = the next word of input; waits for one
	Output           // A leaves
	Time             // A = the processor's time in nanoseconds
	Sleep            // waits for N nanoseconds
	Ask              // A leaves as a question; waits, then A = the answer
	Spawn            // another thread begins at N, with the same registers
	Exit             // all is over; the status is A
	Draw             // A = a number from outside: see [Toy.Draws]
)

// An Instruction is one of a [Toy].
type Instruction struct {
	Op   Op
	A, B uint8
	N    int64
}

// Sizes of a toy.
const (
	registers  = 8
	pageWords  = 64        // words
	pageCount  = 64        // of memory, whose addresses wrap around
	maxThreads = 16        // at most; more are not begun
	maxInputs  = 256       // words that wait to be read; more are refused
	tick       = 2         // nanoseconds that an instruction takes
	maxOutputs = 1024      // that wait to be taken, until Run stops for them
	version    = "toy/1"   // with a hash of the program behind it
	forever    = 1 << 62   // ns: what is due then never is
	nobody     = ^uint8(0) // no thread runs
)

// A Toy is a small free-running processor: it really executes a program, of a few kinds of
// instructions, on memory, registers and threads, and holds the contract of
// vmft.Processor. It is for tests: of what is built upon processors, and of itself as an
// example of one. Threads take turns when they are preempted, or wait.
type Toy struct {
	program []Instruction
	name    string
	stop    atomic.Bool

	state   state
	pages   [pageCount]*[pageWords]uint64 // nil: all zeroes
	shared  [pageCount]bool               // with an image: to be copied before it is written to
	outputs []output                      // not taken

	changed [pageCount]bool // since the last delta
	begun   bool            // there was one, or what stands for one
	draw    func() uint64
}

type output struct {
	at   uint64
	data []byte
}

// A state is what is left of a toy without its memory.
type state struct {
	count   uint64
	skipped uint64 // ns that have passed at once
	threads []thread
	running uint8   // nobody: none
	ready   []uint8 // threads that wait for their turn, in order
	inputs  []uint64
	asked   uint64 // questions so far
	emitted [32]byte
	exited  bool
	status  int64
}

type thread struct {
	r     [registers]uint64
	pc    uint64
	waits uint8  // for what
	into  uint8  // the register that gets it
	due   uint64 // when it wakes, or the number of its question
}

const (
	runs = iota
	waitsInput
	waitsTime
	waitsAnswer
)

// New returns a toy that is about to execute the first instruction of a program. A
// program that leaves its instructions ends.
func New(program []Instruction) *Toy {
	h := sha256.New()
	for _, in := range program {
		fmt.Fprintln(h, in)
	}
	t := &Toy{program: slices.Clone(program), name: fmt.Sprintf("%s/%x", version, h.Sum(nil)[:8])}
	t.state.threads = []thread{{}}
	return t
}

// Position is that of a free-running machine.
func (t *Toy) Position() uint64 { return t.state.count }

// Interrupt is that of a free-running machine.
func (t *Toy) Interrupt() { t.stop.Store(true) }

// Fingerprint is that of a free-running machine.
func (t *Toy) Fingerprint() string { return t.name }

// Now is that of a free-running machine.
func (t *Toy) Now() time.Duration { return time.Duration(t.now()) }

func (t *Toy) now() uint64 { return t.state.count*tick + t.state.skipped }

// Exited is that of a free-running machine.
func (t *Toy) Exited() (status int, exited bool) { return int(t.state.status), t.state.exited }

// Idle is that of a free-running machine.
func (t *Toy) Idle() (wake time.Duration, idle bool) {
	if t.state.exited || t.state.running != nobody {
		return 0, false
	}
	due := t.due()
	if due >= forever {
		return -1, true
	}
	return time.Duration(due - t.now()), true
}

// due returns when the first thread wakes.
func (t *Toy) due() uint64 {
	due := uint64(math.MaxUint64)
	for _, th := range t.state.threads {
		if th.waits == waitsTime {
			due = min(due, th.due)
		}
	}
	return due
}

// Run is that of a free-running machine.
func (t *Toy) Run(until uint64) uint64 {
	for t.state.count < until && t.state.running != nobody && !t.state.exited && len(t.outputs) < maxOutputs {
		if t.stop.CompareAndSwap(true, false) {
			break
		}
		t.execute(&t.state.threads[t.state.running])
		t.settle()
	}
	return t.state.count
}

// execute executes an instruction of the running thread.
func (t *Toy) execute(th *thread) {
	s := &t.state
	s.count++
	if th.pc >= uint64(len(t.program)) {
		t.exit(-1)
		return
	}
	in := t.program[th.pc]
	th.pc++
	a, b, n := &th.r[in.A%registers], th.r[in.B%registers], uint64(in.N)
	switch in.Op {
	case Set:
		*a = n
	case Add:
		*a += b + n
	case Mix:
		*a = (*a ^ b ^ n) * 0x9e3779b97f4a7c15
		*a ^= *a >> 29
	case Load:
		if p := t.pages[(b+n)/pageWords%pageCount]; p != nil {
			*a = p[(b+n)%pageWords]
		} else {
			*a = 0
		}
	case Store:
		t.page((b + n) / pageWords % pageCount)[(b+n)%pageWords] = *a
	case Jump:
		if *a != 0 {
			th.pc = n
		}
	case Input:
		th.waits, th.into = waitsInput, in.A%registers
	case Output:
		t.emit(kindWord, 0, *a)
	case Time:
		*a = t.now()
	case Sleep:
		th.waits, th.due = waitsTime, t.now()+n
	case Ask:
		s.asked++
		th.waits, th.into, th.due = waitsAnswer, in.A%registers, s.asked
		t.emit(kindQuestion, s.asked, *a)
	case Spawn:
		if len(s.threads) < maxThreads {
			s.ready = append(s.ready, uint8(len(s.threads)))
			s.threads = append(s.threads, thread{r: th.r, pc: n})
		}
	case Draw:
		if *a = 0; t.draw != nil {
			*a = t.draw()
		}
	default:
		t.exit(int64(*a))
	}
}

// Draws says where [Draw] has its numbers from. Nothing logs them: such a toy is not
// deterministic, and only state transfer keeps it on two nodes. Default: all are 0.
func (t *Toy) Draws(from func() uint64) { t.draw = from }

func (t *Toy) exit(status int64) {
	t.state.exited, t.state.status = true, status
	t.emit(kindExit, 0, uint64(status))
}

// page returns a page to write to.
func (t *Toy) page(n uint64) *[pageWords]uint64 {
	p := t.pages[n]
	switch {
	case p == nil:
		p = new([pageWords]uint64)
	case t.shared[n]:
		fresh := *p
		p = &fresh
	}
	t.pages[n], t.shared[n], t.changed[n] = p, false, true
	return p
}

// settle does all that follows from what has just happened.
func (t *Toy) settle() {
	s := &t.state
	now := t.now()
	for i := range s.threads { // those that are due wake in the order of their numbers
		th := &s.threads[i]
		if th.waits == waitsTime && now >= th.due || th.waits == waitsInput && len(s.inputs) > 0 {
			if th.waits == waitsInput {
				th.r[th.into] = s.inputs[0]
				s.inputs = s.inputs[1:]
			}
			t.wake(uint8(i))
		}
	}
	if s.running != nobody && s.threads[s.running].waits != runs {
		s.running = nobody
	}
	if s.running == nobody && len(s.ready) > 0 {
		s.running, s.ready = s.ready[0], s.ready[1:]
	}
}

// wake makes a thread ready that has waited, or that has found at once what it asked for.
func (t *Toy) wake(i uint8) {
	t.state.threads[i].waits = runs
	if i != t.state.running {
		t.state.ready = append(t.state.ready, i)
	}
}

const (
	kindWord     = iota + 1 // a word that leaves
	kindQuestion            // with its number
	kindExit
)

func (t *Toy) emit(kind byte, number, word uint64) {
	b := binary.LittleEndian.AppendUint64(binary.AppendUvarint([]byte{kind}, number), word)
	t.outputs = append(t.outputs, output{t.state.count, b})
	h := sha256.New()
	h.Write(t.state.emitted[:])
	h.Write(binary.LittleEndian.AppendUint64(nil, t.state.count))
	h.Write(b)
	h.Sum(t.state.emitted[:0])
}

// NextOutput is that of a free-running machine. [ParseOutput] reads the output.
func (t *Toy) NextOutput() (at uint64, out []byte, ok bool) {
	if len(t.outputs) == 0 {
		return 0, nil, false
	}
	o := t.outputs[0]
	t.outputs = t.outputs[1:]
	return o.at, o.data, true
}

// ParseOutput reads an output of a toy: question is its number, if it is one.
func ParseOutput(out []byte) (word, question uint64, exit bool, err error) {
	d := wire.NewDecoder(out)
	kind := d.Byte()
	question, word = d.Uvarint(), d.Uint64()
	if err := d.Finish(); err != nil || kind == 0 || kind > kindExit {
		return 0, 0, false, fmt.Errorf("toy: no output of a toy: %w", errors.Join(err, wire.ErrCorrupt))
	}
	return word, question, kind == kindExit, nil
}

const (
	eventSkip = iota + 1
	eventInput
	eventAnswer
	eventPreempt
)

// Skip is that of a free-running machine.
func (t *Toy) Skip(d time.Duration) []byte {
	return binary.AppendUvarint([]byte{eventSkip}, uint64(max(d, 0)))
}

// Preempt returns the event that ends the turn of the running thread.
func (t *Toy) Preempt() []byte { return []byte{eventPreempt} }

// InputEvent is words of input. It is refused if too many wait to be read.
func InputEvent(words ...uint64) []byte {
	b := []byte{eventInput}
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// AnswerEvent answers a question. It is refused unless a thread waits for the answer.
func AnswerEvent(question, answer uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.AppendUvarint([]byte{eventAnswer}, question), answer)
}

// Inject is that of a free-running machine.
func (t *Toy) Inject(event []byte) error {
	s := &t.state
	if s.exited {
		return nil
	}
	d := wire.NewDecoder(event)
	switch kind := d.Byte(); kind {
	case eventSkip:
		ns := d.Uvarint()
		if err := d.Finish(); err != nil || ns > forever || s.skipped > forever {
			return fmt.Errorf("toy: a skip of %d ns: %w", ns, err)
		}
		s.skipped += ns
	case eventInput:
		words := d.Rest()
		if len(words)%8 != 0 || len(s.inputs)+len(words)/8 > maxInputs {
			return fmt.Errorf("toy: %d bytes of input, %d words wait", len(words), len(s.inputs))
		}
		for ; len(words) > 0; words = words[8:] {
			s.inputs = append(s.inputs, binary.LittleEndian.Uint64(words))
		}
	case eventAnswer:
		question, answer := d.Uvarint(), d.Uint64()
		if err := d.Finish(); err != nil {
			return err
		}
		i := slices.IndexFunc(s.threads, func(th thread) bool { return th.waits == waitsAnswer && th.due == question })
		if i < 0 {
			return fmt.Errorf("toy: nobody has asked question %d", question)
		}
		s.threads[i].r[s.threads[i].into] = answer
		t.wake(uint8(i))
	case eventPreempt:
		if err := d.Finish(); err != nil {
			return err
		}
		if s.running != nobody {
			s.ready = append(s.ready, s.running)
			s.running = nobody
		}
	default:
		return fmt.Errorf("toy: an event of kind %d, which there is not", kind)
	}
	t.settle()
	return nil
}
