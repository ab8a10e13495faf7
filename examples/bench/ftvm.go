package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// ftvmSuite measures what fault tolerance costs a program in the virtual machine.
var ftvmSuite = suite{
	name: "ftvm",
	about: "a program in the virtual machine, without replication (solo), on a primary and a backup that replays (ft), and on a pair of which one sends " +
		"what has changed (state-transfer), each a process. cpu: a kernel from its " +
		"first line to its last; http: requests to a server, through the sidecar if it is replicated, at half the rate that solo comes to, and at " +
		"full speed; disk: transactions on a file on a shared disk, in a directory of this machine, whose reads are in the log or done by the backup too; " +
		"cpu_us: processor time of the primary for one; mbit/s: on the logging channel; failover: kill -9 or SIGSTOP of the primary to " +
		"the answer that a client on one connection waits for; clone: a new backup of a guest that writes to 256 MiB. A figure needs a core for " +
		"each of the two",
	cases:    []string{"cpu/fib", "cpu/sort", "cpu/json", "http/half", "http/full", "disk/logged", "disk/backup", "failover", "clone"},
	subjects: []string{"solo", "ft", "state-transfer", "kill", "stop", "tcp"},
	baseline: func(string) string { return "solo" },
	rounds:   3,
	duration: 6 * time.Second,
	timed:    true,
	works:    true,
	open:     openFTVM,
}

// ftvmModes are the subjects that are ways of running a machine.
var ftvmModes = map[string]bool{"solo": true, "ft": true, "state-transfer": true}

func openFTVM(ctx context.Context, kase, subject string, w *workspace) (cell, error) {
	var run func(context.Context, *ftvmCell, time.Duration) ([]metric, error)
	kernel, isCPU := strings.CutPrefix(kase, "cpu/")
	switch {
	case isCPU && ftvmModes[subject]:
		run = func(ctx context.Context, c *ftvmCell, turn time.Duration) ([]metric, error) {
			return c.kernel(ctx, kernel, turn)
		}
	case strings.HasPrefix(kase, "http/") && ftvmModes[subject]:
		run = func(ctx context.Context, c *ftvmCell, turn time.Duration) ([]metric, error) {
			return c.http(ctx, kase == "http/half", turn)
		}
	case strings.HasPrefix(kase, "disk/") && ftvmModes[subject] && (kase != "disk/backup" || subject != "state-transfer"): // its backup reads nothing
		run = func(ctx context.Context, c *ftvmCell, turn time.Duration) ([]metric, error) {
			return c.transact(ctx, kase == "disk/backup", turn)
		}
	case kase == "failover" && (subject == "kill" || subject == "stop"):
		run = func(ctx context.Context, c *ftvmCell, _ time.Duration) ([]metric, error) {
			return c.failover(ctx, subject == "stop")
		}
	case kase == "clone" && subject == "tcp":
		run = func(ctx context.Context, c *ftvmCell, _ time.Duration) ([]metric, error) { return c.clone(ctx) }
	default:
		return nil, nil
	}
	dir, err := os.MkdirTemp(w.dir, "ftvm-")
	if err != nil {
		return nil, err
	}
	c := &ftvmCell{dir: dir, program: filepath.Join(dir, "kernels"), solo: subject == "solo", transfer: subject == "state-transfer", run: run}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", c.program, "github.com/trilith-go/trilith/examples/bench/internal/kernels")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=riscv64", "GORISCV64=rva22u64")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("building the guest: %v\n%s", err, b), c.Close())
	}
	return c, nil
}

// A ftvmCell is a subject on a case.
type ftvmCell struct {
	dir      string
	program  string
	solo     bool
	transfer bool
	run      func(context.Context, *ftvmCell, time.Duration) ([]metric, error)
	turns    int
}

func (c *ftvmCell) measure(ctx context.Context, _, turn time.Duration) ([]metric, error) {
	return c.run(ctx, c, turn)
}

func (c *ftvmCell) Close() error { return os.RemoveAll(c.dir) }

// A ftvmGroup is the processes that run one machine.
type ftvmGroup struct {
	c       *ftvmCell
	args    []string
	solo    bool
	lock    string
	disk    string // the directory of a shared disk, if there is one
	reads   bool   // the backup does them too
	addrs   []string
	members []*ftvmMember
	primary int
}

type ftvmMember struct {
	cmd   *exec.Cmd
	stdin *bufio.Writer
	lines chan string
}

// group starts a machine, alone or on a pair.
func (c *ftvmCell) group(ctx context.Context, solo, paired bool, args ...string) (*ftvmGroup, error) {
	c.turns++
	return c.form(ctx, &ftvmGroup{solo: solo}, paired, args...)
}

// form starts the machine of a group.
func (c *ftvmCell) form(ctx context.Context, g *ftvmGroup, paired bool, args ...string) (_ *ftvmGroup, err error) {
	g.c, g.args, g.lock = c, append([]string{"kernels"}, args...), filepath.Join(c.dir, "lock"+strconv.Itoa(c.turns))
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	count := 2
	if g.solo {
		count = 1
	}
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		g.addrs = append(g.addrs, l.Addr().String())
		if err := l.Close(); err != nil {
			return nil, err
		}
		g.members = append(g.members, nil)
	}
	if err := g.start(ctx, 0); err != nil || g.solo || !paired {
		return g, err
	}
	return g, g.pair(ctx)
}

// pair starts the backup.
func (g *ftvmGroup) pair(ctx context.Context) error {
	time.Sleep(50 * time.Millisecond) // whoever comes first is the primary
	if err := g.start(ctx, 1); err != nil {
		return err
	}
	_, err := g.await(ctx, 0, saidPaired)
	return err
}

func (g *ftvmGroup) start(ctx context.Context, i int) error {
	t := task{Ftvm: &ftvmNode{Addr: g.addrs[i], Peers: g.addrs, Lock: g.lock, Solo: g.solo, Transfer: g.c.transfer, Program: g.c.program, Args: g.args, Disk: g.disk, BackupReads: g.reads}}
	cmd, err := t.command(context.WithoutCancel(ctx)) // close ends it
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	m := &ftvmMember{cmd: cmd, stdin: bufio.NewWriter(in), lines: make(chan string, 1024)}
	g.members[i] = m
	go func() {
		defer close(m.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			m.lines <- in.Text()
		}
	}()
	_, err = g.await(ctx, i, saidUp)
	return err
}

func (g *ftvmGroup) tell(i int, line string) error {
	if _, err := fmt.Fprintln(g.members[i].stdin, line); err != nil {
		return err
	}
	return g.members[i].stdin.Flush()
}

// await waits until a process says something, and returns the rest of the line.
func (g *ftvmGroup) await(ctx context.Context, i int, what string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		select {
		case line, ok := <-g.members[i].lines:
			if !ok {
				return "", fmt.Errorf("the process at %s has ended", g.addrs[i])
			}
			if rest, ok := strings.CutPrefix(line, what); ok {
				return rest, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("the process at %s says no %q: %w", g.addrs[i], what, context.Cause(ctx))
		}
	}
}

// usage asks a process.
func (g *ftvmGroup) usage(ctx context.Context, i int) (u ftvmUsage, err error) {
	if err := g.tell(i, tellUsage); err != nil {
		return u, err
	}
	text, err := g.await(ctx, i, saidUsage)
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal([]byte(text), &u)
}

func (g *ftvmGroup) close() {
	for _, m := range g.members {
		if m != nil {
			_ = m.cmd.Process.Kill() // it may have ended
			_ = m.cmd.Wait()
		}
	}
}

// kernel runs a kernel from its first line to its last.
func (c *ftvmCell) kernel(ctx context.Context, name string, turn time.Duration) ([]metric, error) {
	g, err := c.group(ctx, c.solo, true, "wait", strconv.Itoa(times(turn)), name)
	if err != nil {
		return nil, err
	}
	defer g.close()
	r, err := g.run(ctx)
	return []metric{{"s", r.took.Seconds()}, r.bandwidth()}, err
}

// A kernelRun is what a kernel has taken, from its first line to its last.
type kernelRun struct {
	took time.Duration
	cpu  time.Duration // of the primary
	log  int64         // bytes on the logging channel
}

func (r kernelRun) bandwidth() metric {
	return metric{"mbit/s", float64(r.log) * 8 / 1e6 / r.took.Seconds()}
}

// run lets a kernel begin that waits for it.
func (g *ftvmGroup) run(ctx context.Context) (r kernelRun, err error) {
	if err := g.tell(0, tellEnter); err != nil {
		return r, err
	}
	if _, err := g.await(ctx, 0, saidGuest+"begin"); err != nil {
		return r, err
	}
	before, err := g.usage(ctx, 0)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if _, err := g.await(ctx, 0, saidGuest+"end"); err != nil {
		return r, err
	}
	r.took = time.Since(began)
	after, err := g.usage(ctx, 0)
	r.cpu, r.log = after.CPU-before.CPU, after.LogBytes-before.LogBytes
	return r, err
}

// diskRounds are how many times a machine does 400 transactions in a turn of diskTurn.
const (
	diskRounds = 12
	diskTurn   = 6 * time.Second
	ofRound    = 400
)

// transact runs transactions on a shared disk.
func (c *ftvmCell) transact(ctx context.Context, byBackup bool, turn time.Duration) ([]metric, error) {
	c.turns++
	rounds := max(1, int(diskRounds*turn/diskTurn))
	g, err := c.form(ctx, &ftvmGroup{solo: c.solo, disk: filepath.Join(c.dir, "disk"+strconv.Itoa(c.turns)), reads: byBackup}, true, "wait", strconv.Itoa(rounds), "disk")
	if err != nil {
		return nil, err
	}
	defer g.close()
	r, err := g.run(ctx)
	count := float64(rounds * ofRound)
	return []metric{{"req/s", count / r.took.Seconds()}, {"cpu_us", micros(r.cpu) / count}, r.bandwidth()}, err
}

const ftvmPort = 8080

// reach returns where plain clients reach the program, and what ends that.
func (g *ftvmGroup) reach(ctx context.Context) (addr string, end func() error, err error) {
	if g.solo {
		for tries := 0; ; tries++ {
			conn, err := net.Dial("tcp", g.addrs[0])
			if err == nil {
				return g.addrs[0], func() error { return nil }, conn.Close()
			}
			if tries == 500 || ctx.Err() != nil {
				return "", nil, err
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	client, err := vmft.Dial(&transport.TCP{}, g.addrs...)
	if err != nil {
		return "", nil, err
	}
	for {
		s, err := vmft.DialStream(ctx, client, ftvmPort)
		if err == nil {
			if err := s.Close(); err != nil {
				return "", nil, err
			}
			break
		}
		if !errors.Is(err, vmft.ErrStreamRefused) { // it does not listen yet
			return "", nil, errors.Join(err, client.Close())
		}
		time.Sleep(10 * time.Millisecond)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, errors.Join(err, client.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { _ = vmft.Forward(ctx, l, client, ftvmPort) }) // until it is cancelled
	return l.Addr().String(), func() error {
		cancel()
		work.Wait()
		return client.Close()
	}, nil
}

// saturation is how many requests a second a machine by itself answers, as it was measured
// first.
var saturation struct {
	sync.Mutex
	rate float64
}

func (c *ftvmCell) saturate(ctx context.Context, turn time.Duration) (float64, error) {
	saturation.Lock()
	defer saturation.Unlock()
	if saturation.rate > 0 {
		return saturation.rate, nil
	}
	g, err := c.group(ctx, true, false, "serve", strconv.Itoa(ftvmPort))
	if err != nil {
		return 0, err
	}
	defer g.close()
	addr, end, err := g.reach(ctx)
	if err != nil {
		return 0, err
	}
	r, err := request(ctx, addr, turn, 0)
	saturation.rate = r.rate
	return r.rate, errors.Join(err, end())
}

func (c *ftvmCell) http(ctx context.Context, half bool, turn time.Duration) ([]metric, error) {
	rate := 0.0
	if half {
		full, err := c.saturate(ctx, turn)
		if err != nil {
			return nil, err
		}
		rate = full / 2
	}
	g, err := c.group(ctx, c.solo, true, "serve", strconv.Itoa(ftvmPort))
	if err != nil {
		return nil, err
	}
	defer g.close()
	addr, end, err := g.reach(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := request(ctx, addr, turn/4, rate); err != nil { // the garbage collector of a new guest is busy
		return nil, errors.Join(err, end())
	}
	before, err := g.usage(ctx, 0)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	began := time.Now()
	r, err := request(ctx, addr, turn, rate)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	took := time.Since(began)
	after, err := g.usage(ctx, 0)
	return []metric{
		{"req/s", r.rate}, {"p50_us", micros(r.took.percentile(0.5))}, {"p99_us", micros(r.took.percentile(0.99))},
		{"cpu_us", micros(after.CPU-before.CPU) / float64(max(r.count, 1))},
		{"mbit/s", float64(after.LogBytes-before.LogBytes) * 8 / 1e6 / took.Seconds()},
	}, errors.Join(err, end())
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// failover does to the primary what is to be done, a few times, while a client sends requests
// on one connection.
func (c *ftvmCell) failover(ctx context.Context, stop bool) ([]metric, error) {
	g, err := c.group(ctx, false, true, "serve", strconv.Itoa(ftvmPort))
	if err != nil {
		return nil, err
	}
	defer g.close()
	addr, end, err := g.reach(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	asked := newAsker(conn)
	var took []float64
	for range failovers {
		if err := asked.ask(); err != nil {
			return nil, err
		}
		old, other := g.primary, 1-g.primary
		began := time.Now()
		p := g.members[old].cmd.Process
		if stop {
			if err = suspend(p); err == nil {
				err = stopped(p)
			}
		} else {
			err = p.Kill()
		}
		if err != nil {
			return nil, err
		}
		if err := asked.ask(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began).Seconds()*1e3)
		g.primary = other
		if stop {
			err = resume(p)
		} else {
			_ = g.members[old].cmd.Wait() // it was killed
			err = g.start(ctx, old)
		}
		if err != nil {
			return nil, err
		}
		if _, err := g.await(ctx, other, saidPaired); err != nil {
			return nil, err
		}
	}
	slices.Sort(took)
	return []metric{{"ms", (took[(failovers-1)/2] + took[failovers/2]) / 2}}, nil
}

// clone makes a backup of a guest that writes to all its memory.
func (c *ftvmCell) clone(ctx context.Context) ([]metric, error) {
	g, err := c.group(ctx, false, false, "fill", strconv.Itoa(frozenMiB))
	if err != nil {
		return nil, err
	}
	defer g.close()
	if _, err := g.await(ctx, 0, saidGuest+"begin"); err != nil {
		return nil, err
	}
	if err := g.pair(ctx); err != nil {
		return nil, err
	}
	u, err := g.usage(ctx, 0)
	return []metric{{"pause_ms", u.Pause.Seconds() * 1e3}, {"total_ms", u.Clone.Seconds() * 1e3}}, err
}
