package rpc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/vfs/vfstest"
)

// A tally counts how often each call was executed, and what was answered. Its
// handler's effects outlive the table, as those of a real handler would.
type tally struct {
	mu       sync.Mutex
	id       SessionID
	executed map[uint64]int
	answered map[uint64]string
}

func newTally() *tally {
	return &tally{executed: make(map[uint64]int), answered: make(map[uint64]string)}
}

// call makes call seq by way of table, without a connection.
func (y *tally) call(table *SessionTable, seq, mark uint64) (string, error) {
	conn := &serverConn{s: &Server{}}
	conn.remote = params{maxMessage: 1 << 20, maxBody: 1 << 20}
	sc := &serverCall{c: conn, ctx: &callContext{semantics: ExactlyOnce}}
	sc.ctx.more = &contextMore{session: y.id, seq: seq, mark: mark, hash: seq}
	sc.m = &method{unary: func(*Server, *serverCall) error {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.executed[seq]++
		sc.fields = append(sc.fields[:0], fmt.Sprintf("%d/%d", seq, y.executed[seq])...)
		return nil
	}}
	if err := table.execute(sc); err != nil {
		return "", err
	}
	return string(sc.fields), nil
}

func (y *tally) answer(seq uint64, s string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.answered[seq] = s
}

const tableCalls = 6

// work opens a session and makes some calls, as far as the disk lets it.
func (y *tally) work(fsys vfs.FS) {
	table, err := NewSessionTable(SessionTableConfig{Dir: "t", fs: fsys, CheckpointBytes: 60})
	if err != nil {
		return
	}
	defer table.Close()
	if y.id, err = table.OpenSession(context.Background()); err != nil {
		y.id = SessionID{}
		return
	}
	var wg sync.WaitGroup
	for seq := uint64(1); seq <= tableCalls; seq++ {
		wg.Go(func() {
			if s, err := y.call(table, seq, 1); err == nil {
				y.answer(seq, s)
			}
		})
		if seq%2 == 0 {
			wg.Wait() // two at a time
		}
	}
}

// check opens what a crash has left and repeats every call.
func (y *tally) check(after *vfs.Memory, disk string) (unknown int, err error) {
	table, err := NewSessionTable(SessionTableConfig{Dir: "t", fs: after})
	if err != nil {
		return 0, fmt.Errorf("%s: opening again: %w", disk, err)
	}
	defer table.Close()
	if y.id.IsZero() {
		return 0, nil
	}
	for seq := uint64(1); seq <= tableCalls; seq++ {
		was, answered := y.answered[seq], y.answered[seq] != ""
		ran := y.executed[seq]
		got, err := y.call(table, seq, 1)
		switch {
		case answered && got != was:
			return 0, fmt.Errorf("call %d was answered %q, and after the crash %q, %v", seq, was, got, err)
		case errors.Is(err, ErrOutcomeUnknown):
			unknown++
		case err != nil:
			return 0, fmt.Errorf("call %d: %w", seq, err)
		}
		if y.executed[seq] > 1 {
			return 0, fmt.Errorf("call %d was executed %d times", seq, y.executed[seq])
		}
		if ran == 0 && err == nil && y.executed[seq] != 1 {
			return 0, fmt.Errorf("call %d was answered and not executed", seq)
		}
		delete(y.executed, seq) // the next image is another future of the same past
		if ran > 0 {
			y.executed[seq] = ran
		}
	}
	return unknown, nil
}

// TestTableCrashes cuts the power before every call on the disk: no call is
// executed twice, what was answered is answered alike, and only calls cut off in
// the middle are said to be unknown.
func TestTableCrashes(t *testing.T) {
	unknown := 0
	checked, err := vfstest.CrashEverywhere(3, func() vfstest.Workload {
		y := newTally()
		return vfstest.Workload{Run: y.work, Check: func(after *vfs.Memory) error {
			n, err := y.check(after, "after the crash")
			unknown += n
			return err
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 50 || unknown == 0 {
		t.Errorf("%d crashes checked, %d calls of unknown outcome: too few to tell anything", checked, unknown)
	}
}

// TestTableCrashesFindBugs: a table that releases outputs before their records
// are safe is found out.
func TestTableCrashesFindBugs(t *testing.T) {
	_, err := vfstest.CrashEverywhere(3, func() vfstest.Workload {
		y := newTally()
		return vfstest.Workload{
			Run: func(fsys vfs.FS) {
				table, err := NewSessionTable(SessionTableConfig{Dir: "t", fs: fsys})
				if err != nil {
					return
				}
				defer table.Close()
				if y.id, err = table.OpenSession(context.Background()); err != nil {
					return
				}
				table.mu.Lock()
				table.core.planted.replyEarly = true
				table.mu.Unlock()
				for seq := uint64(1); seq <= tableCalls; seq++ {
					if s, err := y.call(table, seq, 1); err == nil {
						y.answer(seq, s)
					}
				}
			},
			Check: func(after *vfs.Memory) error {
				_, err := y.check(after, "after the crash")
				return err
			},
		}
	})
	if err == nil {
		t.Error("replying before the record is safe went unnoticed")
	}
}

func TestTableRestart(t *testing.T) {
	dir := t.TempDir()
	y := newTally()
	table, err := NewSessionTable(SessionTableConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if y.id, err = table.OpenSession(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := y.call(table, 1, 1); err != nil || s != "1/1" {
		t.Fatalf("answered %q, %v", s, err)
	}
	if _, err := NewSessionTable(SessionTableConfig{Dir: dir}); err == nil {
		t.Error("a directory was opened twice")
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := y.call(table, 2, 1); !errors.Is(err, ErrUnavailable) || y.executed[2] != 0 {
		t.Errorf("a closed table answered %v", err)
	}
	if table, err = NewSessionTable(SessionTableConfig{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if s, err := y.call(table, 1, 1); err != nil || s != "1/1" {
		t.Errorf("after a restart: %q, %v", s, err)
	}
	if id, err := table.OpenSession(t.Context()); err != nil || id.N <= y.id.N || id.Table != y.id.Table {
		t.Errorf("after a restart, session %v follows %v: %v", id, y.id, err)
	}
}

// TestTableDuplicatesWait: repetitions of a running call get its result.
func TestTableDuplicatesWait(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		table, err := NewSessionTable(SessionTableConfig{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		y := newTally()
		if y.id, err = table.OpenSession(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for seq := uint64(1); seq <= 20; seq++ {
			for range 8 {
				wg.Go(func() {
					if s, err := y.call(table, seq, 1); err != nil || s != strconv.FormatUint(seq, 10)+"/1" {
						t.Errorf("call %d: %q, %v", seq, s, err)
					}
				})
			}
		}
		wg.Wait()
		if st := table.Stats(); st.Executed != 20 || st.Waited+st.Replayed != 140 {
			t.Errorf("figures: %+v", st)
		}
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	}
}
