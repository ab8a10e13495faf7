package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/trilith-go/trilith/vmft/rv64"
)

// rv64Suite measures the virtual machine with small programs, each built from one
// source for it and for the host.
var rv64Suite = suite{
	name: "rv64",
	about: "programs in the virtual machine, on the host, and under qemu-user where it is installed. slowdown: against the host, " +
		"in the same turn; freeze: of a guest with 256 MiB, all written since the last; record: speed while recording, by speed. The guest is built for rva22u64, which has Zba, Zbb and Zbs",
	cases:    append(append([]string{}, rv64Kernels...), "http", "freeze", "record"),
	subjects: []string{"interpreter", "native", "qemu"},
	baseline: func(string) string { return "" },
	rounds:   3,
	duration: 6 * time.Second,
	timed:    true,
	open: func(ctx context.Context, kase, subject string, _ *workspace) (cell, error) {
		return openRV64(ctx, kase, subject)
	},
}

var rv64Kernels = []string{"fib", "sort", "sha256", "json", "map", "matmul"}

// The work of a kernel in a turn of two seconds: so many times what takes the host a
// few milliseconds.
const (
	rv64Times = 20
	rv64Turn  = 2 * time.Second
)

func times(turn time.Duration) int { return max(1, int(rv64Times*turn/rv64Turn)) }

// A guestCell is a subject on a case, with the program built for both sides.
type guestCell struct {
	dir            string
	kernel         string
	native, riscv  string
	measureSubject func(ctx context.Context, c *guestCell, turn time.Duration) ([]metric, error)
}

func (c *guestCell) measure(ctx context.Context, _, turn time.Duration) ([]metric, error) {
	return c.measureSubject(ctx, c, turn)
}

func (c *guestCell) Close() error { return os.RemoveAll(c.dir) }

func openRV64(ctx context.Context, kase, subject string) (cell, error) {
	kernel := func(f func(context.Context, *guestCell, time.Duration) ([]metric, error)) map[string]func(context.Context, *guestCell, time.Duration) ([]metric, error) {
		return map[string]func(context.Context, *guestCell, time.Duration) ([]metric, error){"interpreter": f, "native": measureNative, "qemu": measureQemu}
	}(measureInterpreter)
	switch kase {
	case "http":
		kernel = map[string]func(context.Context, *guestCell, time.Duration) ([]metric, error){"interpreter": measureGuestHTTP, "native": measureNativeHTTP}
	case "freeze":
		kernel = map[string]func(context.Context, *guestCell, time.Duration) ([]metric, error){"interpreter": measureFreeze}
	case "record":
		kernel = map[string]func(context.Context, *guestCell, time.Duration) ([]metric, error){"interpreter": measureRecord}
	}
	f := kernel[subject]
	if f == nil {
		return nil, nil
	}
	if subject == "qemu" {
		if _, err := exec.LookPath("qemu-riscv64"); err != nil {
			return nil, nil
		}
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	c := &guestCell{dir: dir, kernel: kase, native: filepath.Join(dir, "native"), riscv: filepath.Join(dir, "riscv64"), measureSubject: f}
	for out, env := range map[string][]string{c.native: nil, c.riscv: {"GOOS=linux", "GOARCH=riscv64", "GORISCV64=rva22u64"}} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "github.com/trilith-go/trilith/examples/bench/internal/kernels")
		cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("building the guest: %v\n%s", err, b), c.Close())
		}
	}
	return c, nil
}

// timeProcess runs a program and returns how long it took from one line to the next.
func timeProcess(ctx context.Context, name string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	var began time.Time
	var took time.Duration
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch {
		case lines.Text() == "begin":
			began = time.Now()
		case strings.HasPrefix(lines.Text(), "end"):
			took = time.Since(began)
		}
	}
	if err := cmd.Wait(); err != nil {
		return 0, err
	}
	return took, nil
}

func (c *guestCell) timeNative(ctx context.Context, turn time.Duration) (time.Duration, error) {
	return timeProcess(ctx, c.native, c.kernel, strconv.Itoa(times(turn)))
}

func measureNative(ctx context.Context, c *guestCell, turn time.Duration) ([]metric, error) {
	took, err := c.timeNative(ctx, turn)
	return []metric{{"s", took.Seconds()}}, err
}

func measureQemu(ctx context.Context, c *guestCell, turn time.Duration) ([]metric, error) {
	native, err := c.timeNative(ctx, turn)
	if err != nil {
		return nil, err
	}
	took, err := timeProcess(ctx, "qemu-riscv64", c.riscv, c.kernel, strconv.Itoa(times(turn)))
	return []metric{{"s", took.Seconds()}, {"slowdown", took.Seconds() / native.Seconds()}}, err
}

func measureInterpreter(ctx context.Context, c *guestCell, turn time.Duration) ([]metric, error) {
	native, err := c.timeNative(ctx, turn)
	if err != nil {
		return nil, err
	}
	took, count, err := c.timeGuest(ctx, c.kernel, times(turn), 0)
	if err != nil {
		return nil, err
	}
	return []metric{{"mips", float64(count) / took.Seconds() / 1e6}, {"s", took.Seconds()}, {"slowdown", took.Seconds() / native.Seconds()}}, nil
}

// load makes a machine of the program.
func (c *guestCell) load(args ...string) (*rv64.Machine, error) {
	elf, err := os.ReadFile(c.riscv)
	if err != nil {
		return nil, err
	}
	return rv64.Load(elf, rv64.Config{Args: append([]string{"kernels"}, args...)})
}

// timeGuest runs a kernel in a machine and returns the time and the instructions from
// one line to the next. With an interval it is recorded.
func (c *guestCell) timeGuest(ctx context.Context, kernel string, n int, interval uint64) (time.Duration, uint64, error) {
	m, err := c.load(kernel, strconv.Itoa(n))
	if err != nil {
		return 0, 0, err
	}
	run, inject := m.Run, m.Inject
	if interval > 0 {
		rec, err := rv64.NewRecorder(m, new(discard), interval)
		if err != nil {
			return 0, 0, err
		}
		run, inject = rec.Run, rec.Inject
	}
	var began time.Time
	var took time.Duration
	var from, to uint64
	for ctx.Err() == nil {
		run(m.Position() + 1_000_000)
		for {
			at, b, ok := m.NextOutput()
			if !ok {
				break
			}
			switch o, err := rv64.ParseOutput(b); {
			case err != nil:
				return 0, 0, err
			case strings.HasPrefix(string(o.Data), "begin"):
				began, from = time.Now(), at
			case strings.HasPrefix(string(o.Data), "end"):
				took, to = time.Since(began), at
			}
		}
		if status, exited := m.Exited(); exited {
			if status != 0 {
				return 0, 0, fmt.Errorf("the guest ended with status %d", status)
			}
			return took, to - from, nil
		}
		if wake, idle := m.Idle(); idle {
			if err := inject(rv64.SkipEvent(wake)); err != nil {
				return 0, 0, err
			}
		}
	}
	return 0, 0, ctx.Err()
}

type discard struct{}

func (*discard) Write(b []byte) (int, error) { return len(b), nil }

// measureRecord compares the speed of a guest that is recorded with that of one that
// is not.
func measureRecord(ctx context.Context, c *guestCell, turn time.Duration) ([]metric, error) {
	n := 2 * times(turn)
	bare, _, err := c.timeGuest(ctx, "json", n, 0)
	if err != nil {
		return nil, err
	}
	recorded, _, err := c.timeGuest(ctx, "json", n, rv64.DefaultInterval)
	return []metric{{"ratio", bare.Seconds() / recorded.Seconds()}}, err
}

// frozenMiB is the size of the guest that is frozen.
const frozenMiB = 256

// measureFreeze freezes a guest that has written to all its memory since the last time.
func measureFreeze(ctx context.Context, c *guestCell, _ time.Duration) ([]metric, error) {
	m, err := c.load("fill", strconv.Itoa(frozenMiB))
	if err != nil {
		return nil, err
	}
	for began := false; !began; {
		m.Run(m.Position() + 1_000_000)
		_, _, began = m.NextOutput()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, exited := m.Exited(); exited {
			return nil, errors.New("the guest has ended")
		}
	}
	var pause time.Duration
	for range 5 {
		start := time.Now()
		if _, err := m.Freeze(); err != nil {
			return nil, err
		}
		pause = max(pause, time.Since(start))
		m.Run(m.Position() + 5_000_000)
	}
	return []metric{{"pause_ms", float64(pause.Microseconds()) / 1000}}, nil
}
