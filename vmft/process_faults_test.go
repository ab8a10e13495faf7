//go:build unix

package vmft_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// pair is two processes, and a client that counts.
type pair struct {
	*testing.T
	addrs   []string
	nodes   [2]*process
	start   func(i int) *process
	client  *vmft.Client
	next    uint64
	primary int
}

func newPair(t *testing.T, lock string, dirs [2]string) *pair {
	t.Helper()
	p := &pair{T: t, addrs: freeAddrs(t), next: 1}
	p.start = func(i int) *process {
		return startProcess(t, p.addrs[i], strings.Join(p.addrs, ","), lock, dirs[i])
	}
	p.nodes[0] = p.start(0)
	p.nodes[0].await(t, "primary false")
	p.nodes[1] = p.start(1)
	p.nodes[0].await(t, "primary true")
	c, err := vmft.Dial(&transport.TCP{}, p.addrs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p.client = c
	return p
}

// call begins a call. It is the next, and executed once, whenever it is answered.
func (p *pair) call() <-chan error {
	done, want := make(chan error, 1), p.next
	p.next++
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		out, err := p.client.Call(ctx, []byte("a"))
		if err == nil && binary.LittleEndian.Uint64(out) != want {
			err = errors.New("a call was executed twice, or another's answer came")
		}
		done <- err
	}()
	return done
}

func (p *pair) answered(what string, calls ...<-chan error) {
	p.Helper()
	for _, done := range calls {
		if err := <-done; err != nil {
			p.Fatalf("%s: %v", what, err)
		}
	}
}

func (p *pair) count(n int, what string) {
	p.Helper()
	for range n {
		p.answered(what, p.call())
	}
}

// waits sees that a node waits for the arbiter, says so, and does not go on meanwhile.
func (p *pair) waits(node int, done <-chan error, what string) {
	p.Helper()
	testutil.Eventually(p.T, time.Minute, p.nodes[node].waits.Load, what+": that the node says it waits for the arbiter")
	epoch := p.nodes[node].epoch.Load()
	select {
	case err := <-done:
		p.Fatalf("%s: a call was answered: %v", what, err)
	case <-time.After(2 * vmft.DefaultTimeout):
	}
	if got := p.nodes[node].epoch.Load(); got != epoch {
		p.Fatalf("%s: epoch %d follows %d", what, got, epoch)
	}
}

// signal stops a process, or has it go on.
func (p *pair) signal(node int, s syscall.Signal) {
	p.Helper()
	process := p.nodes[node].cmd.Process
	if err := process.Signal(s); err != nil {
		p.Fatal(err)
	}
	if s != syscall.SIGSTOP {
		return
	}
	var stopped syscall.WaitStatus
	if _, err := syscall.Wait4(process.Pid, &stopped, syscall.WUNTRACED, nil); err != nil || !stopped.Stopped() {
		p.Fatalf("it does not stop: %v, %v", stopped, err)
	}
}

// The directory of the lock is not there for a while, as storage that is not mounted: what
// works goes on, and whoever would have to ask it waits and says so. There are no two
// primaries; when it is back, it goes on.
func TestProcessesWithoutLock(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel() // it waits more than it computes
	root := t.TempDir()
	there, away := filepath.Join(root, "shared"), filepath.Join(root, "away")
	if err := os.Mkdir(there, 0o777); err != nil {
		t.Fatal(err)
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	p := newPair(t, filepath.Join(there, "lock"), [2]string{})
	p.count(20, "at first")
	move(there, away)
	p.count(20, "with a backup, and without the lock")

	p.nodes[1].kill()
	call := p.call()
	p.waits(0, call, "the backup is dead, the primary may not go on alone")
	move(away, there)
	p.answered("the lock is back", call)
	p.nodes[0].await(t, "primary false")
	p.nodes[1] = p.start(1)
	p.nodes[0].await(t, "primary true")
	p.count(20, "a pair again")

	move(there, away)
	p.nodes[0].kill()
	call = p.call()
	p.waits(1, call, "the primary is dead, the backup may not go live")
	move(away, there)
	p.answered("the lock is back", call)
	p.nodes[0] = p.start(0)
	p.nodes[1].await(t, "primary true")

	// Each takes the other for dead, and neither can ask.
	p.count(1, "before the primary stops")
	move(there, away)
	p.signal(1, syscall.SIGSTOP)
	call = p.call()
	p.waits(0, call, "the primary stands, the backup may not go live")
	p.signal(1, syscall.SIGCONT)
	move(away, there)
	p.answered("the primary goes on, and the lock is back", call)
	testutil.Eventually(t, time.Minute, func() bool { return !p.nodes[0].waits.Load() }, "that the backup waits for nothing any more")
	p.count(20, "as before")

	// The same, and the primary goes on when it has been replaced.
	move(there, away)
	p.signal(1, syscall.SIGSTOP)
	call = p.call()
	p.waits(0, call, "the primary stands, the backup may not go live")
	move(away, there)
	p.answered("the lock is back", call)
	p.signal(1, syscall.SIGCONT)
	p.nodes[0].await(t, "primary true")
	p.count(20, "in the end")
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 1 {
		t.Errorf("beside the lock there is %v, %v", left, err)
	}
}

// The disk of a node is full: the node ends and says why, the other goes on, and when there
// is room again the node comes back.
func TestProcessesWithFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel() // it waits more than it computes
	root := t.TempDir()
	var dirs [2]string
	for i, name := range []string{"first", "second"} {
		dirs[i] = filepath.Join(root, name)
		if err := os.Mkdir(dirs[i], 0o777); err != nil {
			t.Fatal(err)
		}
		mountSmall(t, dirs[i])
	}
	p := newPair(t, filepath.Join(root, "lock"), [2]string{filepath.Join(dirs[0], "log"), filepath.Join(dirs[1], "log")})
	p.count(20, "at first")
	const full, other = 0, 1
	for range 2 { // at first that node is the primary, then it has come back as the backup
		ballast := fillDisk(t, dirs[full])
		testutil.Eventually(t, time.Minute, func() bool {
			p.count(5, "with a full disk")
			return p.nodes[other].epoch.Load() > p.nodes[full].epoch.Load()
		}, "that the other goes on alone")
		if err := p.nodes[full].cmd.Wait(); err != nil { // it has ended by itself
			t.Errorf("the node with the full disk: %v", err)
		}
		p.nodes[other].await(t, "primary false")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		p.nodes[full] = p.start(full)
		p.nodes[other].await(t, "primary true")
		p.count(20, "with room again")
	}
}

// fillDisk leaves no room on a file system, until the file that it returns is removed.
func fillDisk(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, piece := range [][]byte{make([]byte, 1<<16), make([]byte, 1)} {
		for err = nil; err == nil; {
			_, err = f.Write(piece)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	return ballast
}
