//lint:bubble
package statelog_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

const registers = 4

// file is a machine of a few registers. A command is a register and its new value;
// the output is the old one.
type file struct {
	mu     sync.RWMutex // guards values
	values [registers]uint64
}

func (f *file) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.values[cmd[0]]
	f.values[cmd[0]] = binary.LittleEndian.Uint64(cmd[1:])
	return binary.LittleEndian.AppendUint64(dst, old)
}

func (f *file) get(register int) uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.values[register]
}

func (f *file) Freeze() (io.WriterTo, error) { return image(f.values), nil }

func (f *file) Restore(r io.Reader) error {
	return binary.Read(r, binary.LittleEndian, &f.values)
}

func (f *file) Fingerprint() string { return "file/1" }

type image [registers]uint64

func (i image) WriteTo(w io.Writer) (int64, error) {
	return int64(binary.Size(i)), binary.Write(w, binary.LittleEndian, i)
}

// operation is a swap or a read of one register, as porcupine sees it.
type operation struct {
	register int
	swap     bool
	value    uint64 // of a swap, the new one
}

// result is what came of it: the value before a swap, or read. A swap whose outcome
// is unknown has none.
type result struct {
	value   uint64
	unknown bool
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, registers)
		for _, op := range history {
			r := op.Input.(operation).register
			parts[r] = append(parts[r], op)
		}
		return parts
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		op, res := input.(operation), output.(result)
		legal := res.unknown || res.value == state.(uint64)
		if op.swap {
			return legal, op.value
		}
		return legal, state
	},
}

// history is what many clients did.
type history struct {
	mu  sync.Mutex // guards the rest
	ops []porcupine.Operation
	now int64
}

func (h *history) begin() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	return h.now
}

func (h *history) end(client int, begin int64, op operation, res result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	end := h.now
	if res.unknown {
		end = 1 << 60 // it may take effect at any time
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: op, Call: begin, Output: res, Return: end})
}

// client swaps and reads registers until the log ends.
func (h *history) client(id int, l statelog.Log, f *file, rng *rand.Rand) {
	for n := 0; ; n++ {
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
		op := operation{register: rng.IntN(registers), swap: rng.IntN(2) == 0}
		begin := h.begin()
		if !op.swap {
			value := f.get(op.register)
			if _, err := l.Confirm(context.Background()); err != nil {
				return
			}
			h.end(id, begin, op, result{value: value})
			continue
		}
		op.value = uint64(begin)
		ctx, stop := context.WithTimeout(context.Background(), time.Duration(rng.IntN(5))*time.Millisecond)
		cmd := binary.LittleEndian.AppendUint64([]byte{byte(op.register)}, op.value)
		_, out, err := l.Propose(ctx, cmd)
		expired := ctx.Err() != nil
		stop()
		switch statelogtest.OutcomeOf(err) {
		case statelogtest.Done:
			h.end(id, begin, op, result{value: binary.LittleEndian.Uint64(out)})
		case statelogtest.Unknown:
			h.end(id, begin, op, result{unknown: true})
		}
		if err != nil && !expired {
			return
		}
	}
}

// TestLinearizable crashes a log under clients that swap and read registers, and
// has porcupine look for an order that explains what they saw.
func TestLinearizable(t *testing.T) {
	for seed := range uint64(20) {
		var h history
		testutil.Bubble(t, func(t *testing.T) { h.run(t, seed, nil) })
		if got := porcupine.CheckOperationsTimeout(model, h.ops, time.Minute); got != porcupine.Ok {
			t.Fatalf("seed %d: %d operations are %s", seed, len(h.ops), got)
		}
		if len(h.ops) < 200 {
			t.Errorf("seed %d: only %d operations", seed, len(h.ops))
		}
	}
}

// TestEarlyOutputsAreNotLinearizable holds that test against a known bug.
func TestEarlyOutputsAreNotLinearizable(t *testing.T) {
	for seed := range uint64(10) {
		var h history
		testutil.Bubble(t, func(t *testing.T) { h.run(t, seed, statelog.PlantReleaseEarly) })
		if porcupine.CheckOperationsTimeout(model, h.ops, 20*time.Second) == porcupine.Illegal {
			return
		}
	}
	t.Error("not caught")
}

// run crashes the log three times, and ends it the fourth.
func (h *history) run(t *testing.T, seed uint64, plant func(*statelog.Config)) {
	disk := vfs.NewMemory(seed)
	for life := range 4 {
		f := new(file)
		cfg := small
		cfg.Machine = f
		cfg.FS = vfs.Inject(disk, func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync {
				time.Sleep(time.Millisecond)
			}
			return vfs.Fault{}
		})
		if plant != nil {
			plant(&cfg)
		}
		l, err := statelog.Open(cfg)
		if err != nil {
			t.Fatal(fmt.Errorf("seed %d: %w", seed, err))
		}
		var clients sync.WaitGroup
		for id := range 5 {
			rng := rand.New(rand.NewPCG(seed, uint64(10*life+id)))
			clients.Go(func() { h.client(10*life+id, l, f, rng) })
		}
		time.Sleep(40 * time.Millisecond)
		if life < 3 {
			disk = disk.Crash()
		}
		_ = l.Close()
		clients.Wait()
	}
}
