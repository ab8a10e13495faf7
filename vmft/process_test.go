//go:build unix

package vmft_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// process is a node in a process of its own.
type process struct {
	cmd    *exec.Cmd
	addr   string
	status chan string // lines that it prints when its role changes
	epoch  atomic.Uint64
	waits  atomic.Bool   // for the arbiter, it says
	paired atomic.Uint64 // the newest epoch in which it was the primary and had a backup
}

// TestProcessNode is the program of such a process: it is told by its environment.
func TestProcessNode(t *testing.T) {
	addr := os.Getenv("VMFT_TEST_ADDR")
	if addr == "" {
		t.Skip("the program of the tests of processes")
	}
	n, err := vmft.Start(context.Background(), vmft.Config{
		Transport: &transport.TCP{}, Addr: addr, Peers: strings.Split(os.Getenv("VMFT_TEST_PEERS"), ","),
		Arbiter: vmft.DirArbiter(os.Getenv("VMFT_TEST_LOCK")), Dir: os.Getenv("VMFT_TEST_DIR"), Machine: newCounter(),
	})
	if err != nil {
		t.Fatal(err)
	}
	last, worst := "", vmft.DefaultTimeout/4
	testutil.Eventually(t, max(time.Minute, 2*(*soakFor)), func() bool {
		s := n.Status()
		if now := fmt.Sprintf("%d %v %s %v", s.Newest.Epoch, s.Arbiter != nil, s.Role, !s.Newest.Backup.IsZero()); now != last {
			last = now
			fmt.Println("status", now)
			for _, h := range s.History[max(0, len(s.History)-4):] {
				fmt.Println("change", h.At.Format("15:04:05.000"), h.Record, h.Note)
			}
		}
		if s.Silence > worst {
			worst = s.Silence
			fmt.Println("change", time.Now().Format("15:04:05.000"), "the peer was silent for", worst)
		}
		if s.Err != nil {
			fmt.Println("ended", s.Err)
		}
		return s.Err != nil
	}, "the end")
}

func startProcess(t *testing.T, addr, peers, lock, dir string) *process {
	t.Helper()
	p := &process{addr: addr, status: make(chan string, 1000)}
	p.cmd = exec.Command(os.Args[0], "-test.run", "^TestProcessNode$", "-test.v")
	if *soakFor > 0 {
		p.cmd.Args = append(p.cmd.Args, "-soak.for="+soakFor.String())
	}
	p.cmd.Env = append(os.Environ(), "VMFT_TEST_ADDR="+addr, "VMFT_TEST_PEERS="+peers, "VMFT_TEST_LOCK="+lock, "VMFT_TEST_DIR="+dir)
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.status)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var epoch uint64
			var waits bool
			var role, paired string
			if n, _ := fmt.Sscanf(lines.Text(), "status %d %t %s %s", &epoch, &waits, &role, &paired); n == 4 {
				t.Logf("%s is %s in epoch %d; it has a backup: %s; it waits for the arbiter: %v", addr, role, epoch, paired, waits)
				p.epoch.Store(epoch)
				p.waits.Store(waits)
				if role == "primary" && paired == "true" {
					p.paired.Store(epoch)
				}
				p.status <- role + " " + paired
			} else if change, ok := strings.CutPrefix(lines.Text(), "change "); ok && *soakFor > 0 {
				t.Logf("%s: %s", addr, change)
			} else if strings.HasPrefix(lines.Text(), "ended ") {
				t.Logf("%s has %s", addr, lines.Text())
			}
		}
	}()
	t.Cleanup(func() {
		p.kill()
		for range p.status { // until nobody logs any more
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// await waits until the process is in a role.
func (p *process) await(t *testing.T, want string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case got, ok := <-p.status:
			if !ok {
				t.Fatalf("the process at %s has ended", p.addr)
			}
			if got == want {
				return
			}
		case <-timeout:
			t.Fatalf("the process at %s is not %q", p.addr, want)
		}
	}
}

// Real processes over TCP: the primary is killed, and stopped, and goes on; every call is
// executed once, and in time.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel() // it waits more than it computes
	for _, journal := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal=%v", journal), func(t *testing.T) { testProcesses(t, journal) })
	}
}

// freeAddrs returns two addresses on which nothing listens.
func freeAddrs(t *testing.T) (addrs []string) {
	t.Helper()
	for range 2 {
		l, err := (&transport.TCP{}).Listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		l.Close()
	}
	return addrs
}

func testProcesses(t *testing.T, journal bool) {
	root := t.TempDir()
	addrs := freeAddrs(t)
	start := func(i int) *process {
		dir := ""
		if journal {
			dir = filepath.Join(root, fmt.Sprint("node", i))
		}
		return startProcess(t, addrs[i], strings.Join(addrs, ","), filepath.Join(root, "lock"), dir)
	}
	var nodes [2]*process
	nodes[0] = start(0)
	nodes[0].await(t, "primary false")
	nodes[1] = start(1)
	c, err := vmft.Dial(&transport.TCP{}, addrs...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	next := uint64(1)
	call := func() time.Duration {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := c.Call(ctx, []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint64(out); got != next {
			t.Fatalf("call %d was executed as number %d", next, got)
		}
		next++
		return time.Since(began)
	}
	// pair waits for one in a later epoch than that, whichever node is the primary by now.
	pair := func(after uint64) (primary int, epoch uint64) {
		t.Helper()
		testutil.Eventually(t, time.Minute, func() bool {
			for i, n := range nodes {
				if e := n.paired.Load(); e > max(after, epoch) {
					primary, epoch = i, e
				}
			}
			return epoch > 0
		}, fmt.Sprintf("a pair after epoch %d", after))
		return primary, epoch
	}
	primary, epoch := pair(0)
	for round := range 3 {
		for range 50 {
			call()
		}
		old := nodes[primary]
		if round == 1 {
			if err := old.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			var stopped syscall.WaitStatus
			if _, err := syscall.Wait4(old.cmd.Process.Pid, &stopped, syscall.WUNTRACED, nil); err != nil || !stopped.Stopped() {
				t.Fatalf("the primary does not stop: %v, %v", stopped, err)
			}
			t.Logf("answered %v after a SIGSTOP", call())
			if err := old.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		} else {
			old.kill()
			t.Logf("answered %v after a kill -9", call())
			nodes[primary] = start(primary)
		}
		primary, epoch = pair(epoch) // what was there comes back as the backup
		call()
	}
}
