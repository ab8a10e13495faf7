//lint:bubble
package statelog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/internal/journal"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// machine does what a test says.
type machine struct {
	apply       func(index uint64, at time.Time, cmd, dst []byte) []byte
	freeze      func() (io.WriterTo, error)
	restore     func(io.Reader) error
	fingerprint string
}

func (m *machine) Apply(index uint64, at time.Time, cmd, dst []byte) []byte {
	if m.apply == nil {
		return append(dst, cmd...)
	}
	return m.apply(index, at, cmd, dst)
}

func (m *machine) Freeze() (io.WriterTo, error) {
	if m.freeze == nil {
		return strings.NewReader("image"), nil
	}
	return m.freeze()
}

func (m *machine) Restore(r io.Reader) error {
	if m.restore == nil {
		return nil
	}
	return m.restore(r)
}

func (m *machine) Fingerprint() string { return m.fingerprint }

func mustOpen(t *testing.T, cfg Config) *Solo {
	t.Helper()
	if cfg.Machine == nil {
		cfg.Machine = new(machine)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustClose(t *testing.T, l *Solo) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustPropose(t *testing.T, l *Solo, cmd string) (uint64, string) {
	t.Helper()
	index, out, err := l.Propose(t.Context(), []byte(cmd))
	if err != nil {
		t.Fatal(err)
	}
	return index, string(out)
}

func TestConfigIsChecked(t *testing.T) {
	for field, cfg := range map[string]Config{
		"Machine":         {},
		"CheckpointBytes": {Machine: new(machine), CheckpointBytes: -1},
		"SegmentBytes":    {Machine: new(machine), SegmentBytes: -1},
		"MaxPending":      {Machine: new(machine), MaxPending: -1},
		"MaxPendingBytes": {Machine: new(machine), MaxPendingBytes: -1},
		"MaxCommand":      {Machine: new(machine), MaxCommand: journal.MaxRecord},
		"MaxStep":         {Machine: new(machine), MaxStep: -1},
	} {
		_, err := Open(cfg)
		var e *Error
		if !errors.Is(err, ErrConfig) || !errors.As(err, &e) || !strings.Contains(err.Error(), "Config."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := Open(Config{Machine: &machine{fingerprint: strings.Repeat("x", 5000)}}); err == nil {
		t.Error("a fingerprint of 5000 bytes is accepted")
	}
}

func TestCommandsHaveALimit(t *testing.T) {
	l := mustOpen(t, Config{MaxCommand: 10})
	defer mustClose(t, l)
	_, _, err := l.Propose(t.Context(), make([]byte, 11))
	if !errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrNotLogged) {
		t.Errorf("error is %v", err)
	}
	mustPropose(t, l, "0123456789")
}

// TestBackPressure fills the log before a disk that is stuck.
func TestBackPressure(t *testing.T) {
	for name, cfg := range map[string]Config{
		"commands": {MaxPending: 10},
		"bytes":    {MaxPendingBytes: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				var holding atomic.Bool
				var done, applied atomic.Int64
				cfg.Dir = "log"
				cfg.FS = vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
					if c.Op == vfs.OpSync && holding.Load() {
						<-gate
					}
					return vfs.Fault{}
				})
				cfg.Machine = &machine{apply: func(_ uint64, _ time.Time, _, dst []byte) []byte {
					applied.Add(1)
					return dst
				}}
				l := mustOpen(t, cfg)
				holding.Store(true)
				var callers sync.WaitGroup
				for range 50 {
					callers.Go(func() {
						if _, _, err := l.Propose(context.Background(), make([]byte, 100)); err != nil {
							t.Error(err)
						}
						done.Add(1)
					})
				}
				synctest.Wait()
				if s := l.Status(); s.Pending != 10 || s.Queued != 40 || applied.Load() != 10 || done.Load() != 0 {
					t.Errorf("%d are applied, %d done, status %+v", applied.Load(), done.Load(), s)
				}
				// Who waits for room can give up, and then has nothing in the log.
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				_, _, err := l.Propose(ctx, make([]byte, 100))
				if !errors.Is(err, ErrNotLogged) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v", err)
				}
				close(gate)
				callers.Wait()
				synctest.Wait()
				if s := l.Status(); s.Pending+s.Queued != 0 || applied.Load() != 50 || done.Load() != 50 {
					t.Errorf("%d are applied, %d done, status %+v", applied.Load(), done.Load(), s)
				}
				mustClose(t, l)
			})
		})
	}
}

func TestAGreatCommandWaitsUntilItIsAlone(t *testing.T) {
	l := mustOpen(t, Config{MaxPendingBytes: 10})
	defer mustClose(t, l)
	if _, out := mustPropose(t, l, "more than ten bytes"); out != "more than ten bytes" {
		t.Errorf("output %q", out)
	}
}

// TestTheWorkOfManyIsSharedAndPipelined counts syncs on a slow disk.
func TestTheWorkOfManyIsSharedAndPipelined(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const callers, each, sync1 = 100, 20, 10 * time.Millisecond
		slow := vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync {
				time.Sleep(sync1)
			}
			return vfs.Fault{}
		})
		l := mustOpen(t, Config{Dir: "log", FS: slow})
		before, began := l.Status().Journal.Syncs, time.Now()
		var work sync.WaitGroup
		for range callers {
			work.Go(func() {
				for range each {
					if _, _, err := l.Propose(context.Background(), make([]byte, 10)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		work.Wait()
		syncs, took := l.Status().Journal.Syncs-before, time.Since(began)
		// Two groups of callers take turns: while one is synced the other proposes.
		if syncs > 2*each+2 || took > (2*each+2)*sync1 {
			t.Errorf("%d commands took %d syncs and %v", callers*each, syncs, took)
		}
		mustClose(t, l)
	})
}

// TestApplyDoesNotWaitForTheDisk: the machine runs ahead, outputs do not.
func TestApplyDoesNotWaitForTheDisk(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		var holding atomic.Bool
		held := vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync && holding.Load() {
				<-gate
			}
			return vfs.Fault{}
		})
		var applied, answered, confirmed atomic.Int64
		l := mustOpen(t, Config{Dir: "log", FS: held, Machine: &machine{
			apply: func(_ uint64, _ time.Time, _, dst []byte) []byte { applied.Add(1); return dst },
		}})
		holding.Store(true)
		var work sync.WaitGroup
		for range 10 {
			work.Go(func() {
				if _, _, err := l.Propose(context.Background(), nil); err != nil {
					t.Error(err)
				}
				answered.Add(1)
			})
			synctest.Wait()
		}
		work.Go(func() {
			if index, err := l.Confirm(context.Background()); err != nil || index != 11 {
				t.Errorf("Confirm: %d, %v", index, err)
			}
			confirmed.Add(1)
		})
		synctest.Wait()
		if applied.Load() != 10 || answered.Load() != 0 || confirmed.Load() != 0 {
			t.Errorf("while nothing is safe: %d applied, %d answered, %d reads confirmed",
				applied.Load(), answered.Load(), confirmed.Load())
		}
		if s := l.Status(); s.Applied != 11 || s.Safe != 1 || s.Pending != 10 {
			t.Errorf("status: %+v", s)
		}
		holding.Store(false)
		close(gate)
		work.Wait()
		mustClose(t, l)
	})
}

// TestAFailedDisk tells everybody the truth, once and for all.
func TestAFailedDisk(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		errDisk := errors.New("the disk is gone")
		var failing atomic.Bool
		fsys := vfs.Inject(vfs.NewMemory(1), func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync && failing.Load() {
				time.Sleep(time.Second)
				return vfs.Fault{Err: errDisk}
			}
			return vfs.Fault{}
		})
		l := mustOpen(t, Config{Dir: "log", FS: fsys})
		term, _, err := l.Lead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustPropose(t, l, "safe")
		failing.Store(true)
		var work sync.WaitGroup
		for range 10 {
			work.Go(func() {
				_, _, err := l.Propose(context.Background(), []byte("lost"))
				if !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) {
					t.Errorf("in flight: %v", err)
				}
			})
			work.Go(func() {
				time.Sleep(time.Millisecond)
				if _, err := l.Confirm(context.Background()); !errors.Is(err, errDisk) {
					t.Errorf("Confirm in flight: %v", err)
				}
			})
		}
		work.Wait()
		failing.Store(false)
		_, _, err = l.Propose(t.Context(), []byte("late"))
		var told interface{ NotLogged() bool }
		if !errors.Is(err, ErrNotLogged) || !errors.Is(err, ErrFailed) || !errors.As(err, &told) || !told.NotLogged() {
			t.Errorf("afterwards: %v", err)
		}
		if _, err := l.Confirm(t.Context()); !errors.Is(err, ErrFailed) {
			t.Errorf("Confirm afterwards: %v", err)
		}
		if _, _, err := l.Lead(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("Lead afterwards: %v", err)
		}
		if err := l.Checkpoint(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("Checkpoint afterwards: %v", err)
		}
		if cause := context.Cause(term); term.Err() == nil || !errors.Is(cause, errDisk) {
			t.Errorf("the term ended with %v", cause)
		}
		if err := l.Status().Err; !errors.Is(err, errDisk) {
			t.Errorf("the status says %v", err)
		}
		for range 2 {
			if err := l.Close(); !errors.Is(err, errDisk) {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

func TestClosedTwiceAndTogether(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		l := mustOpen(t, Config{Dir: "log", FS: vfs.NewMemory(1)})
		var work sync.WaitGroup
		for range 5 {
			work.Go(func() { mustClose(t, l) })
		}
		work.Wait()
		if _, _, err := l.Lead(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Lead: %v", err)
		}
	})
}

// TestMachineTime: it is logged, stands still between processes, and is capped.
func TestMachineTime(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		disk := vfs.NewMemory(1)
		var seen []time.Time
		open := func() *Solo {
			seen = nil
			return mustOpen(t, Config{Dir: "log", FS: disk, MaxStep: time.Minute, Machine: &machine{
				apply: func(_ uint64, at time.Time, _, dst []byte) []byte { seen = append(seen, at); return dst },
			}})
		}
		start := time.Now().UTC()
		l := open()
		time.Sleep(30 * time.Second)
		mustPropose(t, l, "a")
		time.Sleep(time.Hour)
		mustPropose(t, l, "b")
		mustPropose(t, l, "c")
		mustClose(t, l)
		time.Sleep(time.Hour)
		l = open()
		mustPropose(t, l, "d")
		time.Sleep(10 * time.Second)
		mustPropose(t, l, "e")
		mustClose(t, l)
		for i, want := range []time.Duration{30, 90, 90, 90, 100} {
			if i >= len(seen) || seen[i] != start.Add(want*time.Second) {
				t.Errorf("command %d: times %v, want %v after %v", i, seen, want*time.Second, start)
			}
		}
	})
}

// TestCheckpointsAreMade counts how often the machine is frozen and what a start
// replays.
func TestCheckpointsAreMade(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		disk := vfs.NewMemory(1)
		var sum, frozen, replayed uint64
		open := func() *Solo {
			sum, replayed = 0, 0
			return mustOpen(t, Config{Dir: "log", FS: disk, CheckpointBytes: 2000, SegmentBytes: 1000, Machine: &machine{
				apply: func(_ uint64, _ time.Time, cmd, dst []byte) []byte {
					replayed++
					sum += uint64(cmd[0])
					return dst
				},
				freeze: func() (io.WriterTo, error) {
					frozen++
					return bytes.NewReader(binary.LittleEndian.AppendUint64(nil, sum)), nil
				},
				restore: func(r io.Reader) error { return binary.Read(r, binary.LittleEndian, &sum) },
			}})
		}
		l := open()
		for n := range 500 {
			mustPropose(t, l, "x, and so on for 42 bytes")
			if n%10 == 9 {
				synctest.Wait() // for the checkpoint, if one is being made
			}
		}
		if s := l.Status(); frozen < 6 || frozen > 9 || s.Journal.Checkpoint == 0 || s.Journal.First == 1 {
			t.Errorf("frozen %d times, status %+v", frozen, s)
		}
		mustClose(t, l)
		l = open()
		if sum != 500*'x' || replayed > 100 {
			t.Errorf("the sum is %d, %d commands were replayed", sum, replayed)
		}
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		l = open()
		if sum != 500*'x' || replayed != 0 {
			t.Errorf("the sum is %d, %d commands were replayed", sum, replayed)
		}
		mustClose(t, l)
	})
}

// TestACheckpointThatFailsIsRepeated: the log goes on.
func TestACheckpointThatFailsIsRepeated(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		errFreeze, tries := errors.New("not now"), 0
		l := mustOpen(t, Config{Dir: "log", FS: vfs.NewMemory(1), CheckpointBytes: 1000, Machine: &machine{
			freeze: func() (io.WriterTo, error) {
				if tries++; tries < 3 {
					return nil, errFreeze
				}
				return strings.NewReader("image"), nil
			},
		}})
		if err := l.Checkpoint(t.Context()); !errors.Is(err, errFreeze) {
			t.Errorf("error is %v, want the machine's", err)
		}
		for range 100 {
			mustPropose(t, l, "command")
		}
		synctest.Wait()
		if s := l.Status(); tries < 3 || s.Journal.Checkpoint == 0 || s.Err != nil {
			t.Errorf("%d tries, status %+v", tries, s)
		}
		mustClose(t, l)
	})
}

// TestCloseDoesNotWaitForAnImage: a checkpoint of any size is given up.
func TestCloseDoesNotWaitForAnImage(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		l := mustOpen(t, Config{Dir: "log", FS: vfs.NewMemory(1), Machine: &machine{
			freeze: func() (io.WriterTo, error) { return endless{}, nil },
		}})
		done := make(chan error)
		go func() { done <- l.Checkpoint(context.Background()) }()
		time.Sleep(time.Second)
		for range 100 { // others wait for the next, and give up
			ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
			if err := l.Checkpoint(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Checkpoint: %v", err)
			}
			stop()
		}
		l.mu.Lock()
		if n := len(l.images.wanted); n != 0 {
			t.Errorf("%d who have given up are waited for", n)
		}
		l.mu.Unlock()
		mustClose(t, l)
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Checkpoint: %v", err)
		}
	})
}

// endless is an image that never ends.
type endless struct{}

func (endless) WriteTo(w io.Writer) (n int64, err error) {
	for err == nil {
		time.Sleep(time.Millisecond)
		_, err = w.Write(make([]byte, 100))
	}
	return 0, err
}

// TestRecoveryErrors: what the machine says ends Open.
func TestRecoveryErrors(t *testing.T) {
	disk := vfs.NewMemory(1)
	l := mustOpen(t, Config{Dir: "log", FS: disk})
	mustPropose(t, l, "command")
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: "log", FS: disk, Machine: new(machine)}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("open a second time: %v", err)
	}
	mustClose(t, l)
	mine := errors.New("mine")
	_, err := Open(Config{Dir: "log", FS: disk, Machine: &machine{restore: func(io.Reader) error { return mine }}})
	var e *Error
	if !errors.Is(err, mine) || !errors.As(err, &e) || e.Op != "open" {
		t.Errorf("error is %v", err)
	}
	_, err = Open(Config{Dir: "log", FS: disk, Machine: &machine{fingerprint: "other"}})
	if !errors.Is(err, ErrFingerprint) || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("error is %v", err)
	}
	mustClose(t, mustOpen(t, Config{Dir: "log", FS: disk})) // the lock was given up
}

// TestForeignRecords: a journal that somebody else has written is refused.
func TestForeignRecords(t *testing.T) {
	for _, record := range []string{"", "short", "\x03a kind that is unknown", "\x02time....epoch"} {
		disk := vfs.NewMemory(1)
		j, err := journal.Open(journal.Config{Dir: "log", FS: disk}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append([]byte(record)); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: "log", FS: disk, Machine: new(machine)}); !errors.Is(err, errFormat) {
			t.Errorf("%q: %v", record, err)
		}
	}
	for _, image := range []string{"", "abc", "\xff\xff\xff\xff", "\x04\x00\x00\x00book"} {
		disk := vfs.NewMemory(1)
		if err := journal.Create(journal.Config{Dir: "log", FS: disk}, 7, strings.NewReader(image)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: "log", FS: disk, Machine: new(machine)}); err == nil {
			t.Errorf("an image that is %q is accepted", image)
		}
	}
}

func TestAllocations(t *testing.T) {
	l := mustOpen(t, Config{Logger: hclog.NewNullLogger()})
	defer mustClose(t, l)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := make([]byte, 64)
	n := testing.AllocsPerRun(2000, func() {
		if _, _, err := l.Propose(ctx, cmd); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 {
		t.Errorf("%v allocations for a proposal, one of which is its output", n)
	}
}

// TestWhatIsWithdrawnLeavesTheQueue: callers who give up and come back while the
// machine is stuck do not fill the memory, and what they gave up is never applied.
func TestWhatIsWithdrawnLeavesTheQueue(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		gate, applied := make(chan struct{}), ""
		l := mustOpen(t, Config{Machine: &machine{apply: func(_ uint64, _ time.Time, cmd, dst []byte) []byte {
			<-gate
			applied += string(cmd)
			return dst
		}}})
		var work sync.WaitGroup
		work.Go(func() { mustPropose(t, l, "a") }) // stuck in the machine
		synctest.Wait()
		work.Go(func() { mustPropose(t, l, "b") })
		for range 1000 {
			ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
			if _, _, err := l.Propose(ctx, []byte("impatient")); !errors.Is(err, ErrNotLogged) {
				t.Fatalf("error is %v", err)
			}
			stop()
		}
		l.mu.Lock()
		queued := len(l.queue)
		l.mu.Unlock()
		if s := l.Status(); s.Pending != 1 || s.Queued != 1 || queued > 2 {
			t.Errorf("%d places in the queue, status %+v", queued, s)
		}
		close(gate)
		work.Wait()
		mustPropose(t, l, "c")
		mustClose(t, l)
		if s := l.Status(); applied != "abc" || s.Pending+s.Queued != 0 {
			t.Errorf("applied %q, status %+v", applied, s)
		}
	})
}

// TestRoomGoesToWhoeverWaitsLongest: many small commands do not keep a great one
// waiting for ever.
func TestRoomGoesToWhoeverWaitsLongest(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		l := mustOpen(t, Config{MaxPending: 10, MaxPendingBytes: 1000, Machine: &machine{
			apply: func(_ uint64, _ time.Time, _, dst []byte) []byte {
				time.Sleep(time.Millisecond)
				return dst
			},
		}})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		var work sync.WaitGroup
		for range 50 {
			work.Go(func() {
				for ctx.Err() == nil {
					_, _, _ = l.Propose(ctx, make([]byte, 10))
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		for range 5 {
			if _, _, err := l.Propose(ctx, make([]byte, 2000)); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("5 great commands took %v", took)
		}
		stop()
		work.Wait()
		mustClose(t, l)
	})
}
