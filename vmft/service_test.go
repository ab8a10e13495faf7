//lint:bubble
package vmft_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/rv64"
)

const usualFailOvers = 10

var (
	serviceFailOvers = flag.Int("service.failovers", usualFailOvers, "how many fail-overs TestServiceFailOver goes through")
	serviceSeed      = flag.Uint64("service.seed", 1, "the seed of TestServiceFailOver")
)

// A service is a group of nodes that run a server program on a machine of package rv64, and
// all that is outside of it.
type service struct {
	*group
	load      *load
	console   *console
	machines  []*pacedMachine
	attending sync.WaitGroup
	rng       *rand.Rand
	wait      func()

	kills  int
	at     map[string]int // what was under way at kills
	clones uint64
	checks uint64
}

// newService starts a server with troubles of its own, and clients.
func newService(t *testing.T, seed uint64, troubles []string, clients int, tune func(cfg *vmft.Config)) *service {
	elf := serverELF(t)
	s := &service{
		load: &load{}, console: &console{numbers: make(map[uint64]string)}, machines: make([]*pacedMachine, 3),
		rng: rand.New(rand.NewPCG(seed, 4)), at: make(map[string]int),
	}
	s.group = newSeededGroup(t, seed, 3, func(i int, cfg *vmft.Config) {
		m, err := rv64.Load(elf, rv64.Config{Args: append([]string{"server"}, troubles...), Tick: instructionTime, Memory: 128 << 20, Disk: int64(len(elf)) + 4<<20})
		if err != nil {
			t.Fatal(err)
		}
		s.machines[i] = &pacedMachine{Machine: m}
		cfg.Machine, cfg.Processor, cfg.Network = nil, s.machines[i], rv64.Network{}
		cfg.CheckEvery, cfg.CloneRate = 250*time.Millisecond, -1
		if tune != nil {
			tune(cfg)
		}
	})
	for i := range s.nodes {
		s.attend(i)
	}
	s.latency()
	s.load.client, s.load.nodes = s.client(), s.nodes
	testutil.Eventually(t, time.Minute, func() bool { return s.console.has("0 listening") || s.failure() != nil }, "the server listens")
	s.wait = s.load.start(seed, clients)
	return s
}

func (s *service) attend(i int) {
	n, rng := s.nodes[i], rand.New(rand.NewPCG(s.rng.Uint64(), 5))
	s.attending.Go(func() { s.console.attend(n, rng) })
}

// failure is what has been found so far.
func (s *service) failure() error {
	for i, n := range s.nodes {
		if st := n.Status(); st.Diverged != 0 {
			return fmt.Errorf("node %d has diverged at instruction %d", i, st.DivergedInstructions)
		}
	}
	return errors.Join(s.console.failed(), s.load.failed())
}

// pair waits until a primary has a backup, and returns it. It returns false if something has
// been found to be wrong first.
func (s *service) pair() (primary int, ok bool) {
	for range 4000 {
		if s.failure() != nil {
			return 0, false
		}
		for i, n := range s.nodes {
			if st := n.Status(); st.Role == vmft.RolePrimary && !st.Newest.Backup.IsZero() {
				return i, true
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.load.fail(errors.New("no primary has had a backup for 20s"))
	return 0, false
}

// failOver waits for a pair, and kills the primary at a random instruction, or a little later.
func (s *service) failOver() {
	primary, ok := s.pair()
	if !ok {
		return
	}
	crash, hit := sync.OnceValue(func() bool { return s.crash(primary) }), make(chan struct{})
	later := time.Duration(0)
	if s.rng.IntN(2) == 0 {
		later = time.Duration(s.rng.IntN(8000)) * time.Microsecond
	}
	s.machines[primary].arm(s.rng.Uint64N(1_500_000), func() {
		if later == 0 {
			crash()
		}
		close(hit)
	})
	select {
	case <-hit:
		time.Sleep(later)
	case <-time.After(time.Second): // it waits all the time
		s.machines[primary].arm(0, nil)
	}
	if !crash() {
		return
	}
	st := s.nodes[primary].Status()
	s.kills++
	for what, so := range map[string]bool{
		"requests": s.load.flying.Load() > 0, "inputs": st.Queued+st.Pending > 0 || st.Applied > st.Acked, "outputs": st.Held > 0,
	} {
		if so {
			s.at[what]++
		}
	}
	s.account(primary)
	s.kill(primary)
	s.restart(primary)
	s.attend(primary)
}

// crash cuts a primary off from everything, unless it has lost its backup, or its place,
// meanwhile.
func (s *service) crash(primary int) bool {
	seat := s.seats[primary]
	seat.dead.Store(true)
	r, err := s.arbiter.Arbiter.Newest(context.Background())
	if err != nil || r.Primary.Addr != s.addr(primary) || r.Backup.IsZero() {
		seat.dead.Store(false)
		return false
	}
	s.host(primary).Crash(transport.CrashReset)
	return true
}

// rounds sees that the server still does what is to trouble it.
func (s *service) rounds() {
	c := &loadClient{load: s.load, rng: s.rng}
	before := 0
	for range 600 {
		st, err := c.dial(80)
		var got []byte
		if err == nil {
			got, err = c.do(st, bufio.NewReader(st), "GET", "/rounds", nil)
			st.Close()
		}
		now := 0
		if err == nil {
			now, err = strconv.Atoi(string(got))
		}
		if err != nil {
			s.load.fail(fmt.Errorf("asking for the rounds: %w", err))
		}
		if err != nil || before > 0 && now > before {
			return
		}
		before = now
		time.Sleep(100 * time.Millisecond)
	}
	s.load.fail(fmt.Errorf("the server is in round %d, and stays there", before))
}

// account takes note of what a node has done, when it ends.
func (s *service) account(i int) {
	st := s.nodes[i].Status()
	s.clones += st.Clones
	s.checks += st.Checks
}

// stop stops a primary for a while, as a SIGSTOP does: it is replaced, and goes on when it
// has been.
func (s *service) stop() {
	primary, ok := s.pair()
	if !ok {
		return
	}
	s.host(primary).Pause()
	time.Sleep(time.Duration(s.rng.IntN(800)) * time.Millisecond)
	s.host(primary).Resume()
}

// end ends the load and all nodes, and returns what is wrong.
func (s *service) end(t *testing.T) error {
	s.load.over.Store(true)
	s.wait()
	if s.failure() == nil {
		s.compared() // once more, what has come to rest
	}
	err := s.failure()
	for i := range s.nodes {
		s.account(i)
	}
	if cerr := s.load.client.Close(); cerr != nil {
		t.Error(cerr)
	}
	s.close()
	s.attending.Wait()
	return err
}

// A console is what the server prints to, at whichever node it runs: each line is numbered,
// and says what was written to a cell.
type console struct {
	mu      sync.Mutex // guards what follows
	failure error
	numbers map[uint64]string // outputs by number
	lines   []string
	again   int
}

// attend takes the outputs of a node, whenever it is the primary.
func (c *console) attend(n *vmft.Node, rng *rand.Rand) {
	for {
		port, err := n.Port(context.Background())
		if err != nil {
			return
		}
		var completing sync.WaitGroup
		for last := uint64(0); ; {
			o, err := port.Next(context.Background())
			if err != nil {
				break
			}
			if o.Number <= last {
				c.fail(fmt.Errorf("output %d comes after %d", o.Number, last))
			}
			last = o.Number
			c.take(&o)
			d := time.Duration(rng.IntN(20_000)) * time.Microsecond
			completing.Go(func() {
				time.Sleep(d)
				_ = port.Complete(nil, o.Number) // the term may be over
			})
		}
		completing.Wait()
	}
}

func (c *console) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = err
	}
}

func (c *console) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

func (c *console) take(o *vmft.Output) {
	out, err := rv64.ParseOutput(o.Data)
	switch {
	case err != nil:
	case out.Kind == rv64.OutputExit:
		err = fmt.Errorf("the server has ended with status %d", out.Number)
	case out.Kind == rv64.OutputData && out.Conn == 2:
		err = fmt.Errorf("the server complains: %s", out.Data)
	}
	if err != nil {
		c.fail(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("at %d: %q", o.Position, o.Data)
	if o.Again {
		c.again++
	}
	known, ok := c.numbers[o.Number]
	switch {
	case ok && known != text:
		err = fmt.Errorf("output %d was %s, and is %s after a fail-over", o.Number, known, text)
	case !ok && out.Kind == rv64.OutputData:
		line := strings.TrimSuffix(string(out.Data), "\n")
		if want := fmt.Sprintf("%d ", len(c.lines)); !strings.HasPrefix(line, want) {
			err = fmt.Errorf("line %d is %q", len(c.lines), line)
		}
		c.lines = append(c.lines, line)
	}
	c.numbers[o.Number] = text
	if c.failure == nil {
		c.failure = err
	}
}

func (c *console) has(line string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines) > 0 && c.lines[0] == line
}

// writes returns what was printed of each write, by its name.
func (c *console) writes() (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]string)
	for _, line := range c.lines {
		_, what, _ := strings.Cut(line, " ")
		if text, by, ok := strings.Cut(what, " by "); ok {
			if all[by] != "" {
				return nil, fmt.Errorf("write %s was done as %q, and as %q", by, all[by], text)
			}
			all[by] = text
		}
	}
	return all, nil
}

// runService has a server go through fail-overs, and returns what has been found. They are as
// many as are asked for, and more, within bounds, until so much was under way at them.
func runService(t *testing.T, seed uint64, kills int, underWay map[string]int, troubles []string, clients int, tune func(cfg *vmft.Config)) (s *service, err error) {
	serverELF(t) // outside of the bubble
	testutil.Bubble(t, func(t *testing.T) {
		s = newService(t, seed, troubles, clients, tune)
		for (s.kills < kills || s.kills < 8*kills && s.lacks(underWay)) && s.failure() == nil {
			if s.rng.IntN(6) == 0 {
				s.stop()
			}
			s.failOver()
		}
		if len(troubles) > 0 && s.failure() == nil {
			s.rounds()
		}
		err = s.end(t)
	})
	if err == nil { // outside of the bubble, for it takes processors and real time
		var printed map[string]string
		if printed, err = s.console.writes(); err == nil {
			err = s.load.check(printed)
		}
	}
	t.Logf("%d fail-overs with something under way: %v; %d clones, %d comparisons, %d outputs done again", s.kills, s.at, s.clones, s.checks, s.console.again)
	t.Logf("%d requests to cells, %s", len(s.load.history), s.load.report())
	return s, err
}

// lacks reports whether less was under way at the kills than should have been.
func (s *service) lacks(underWay map[string]int) bool {
	for what, least := range underWay {
		if s.at[what] < least {
			return true
		}
	}
	return false
}

// A server of net/http that knows nothing of it is killed at random instructions, under a
// mixed load; what its clients see is what one that never fails would show them: cells are
// linearizable, bytes come through as they are, half-closes and resets too, and what it
// prints is there once and in order.
func TestServiceFailOver(t *testing.T) {
	kills := *serviceFailOvers
	if testing.Short() {
		kills = min(kills, 3)
	}
	underWay := map[string]int{"requests": kills * 3 / 4, "inputs": kills / 4, "outputs": kills / 4}
	s, err := runService(t, *serviceSeed, kills, underWay, nil, 6, nil)
	if err != nil {
		t.Errorf("seed %d, after %d fail-overs: %v", *serviceSeed, s.kills, err)
	}
	if s.clones < uint64(kills) || s.lacks(underWay) {
		t.Error("too little was under way")
	}
}

// The same server is kept alive by state transfer as well.
func TestServiceTransferFailOver(t *testing.T) {
	kills := 4
	if testing.Short() {
		kills = 1
	}
	underWay := map[string]int{"requests": 1}
	s, err := runService(t, *serviceSeed, kills, underWay, nil, 4, func(cfg *vmft.Config) { cfg.Mode = vmft.ModeTransfer })
	if err != nil {
		t.Errorf("seed %d, after %d fail-overs: %v", *serviceSeed, s.kills, err)
	}
	if s.clones < uint64(kills) || s.lacks(underWay) {
		t.Error("too little was under way")
	}
}

// A server that computes without end, has many threads, is never without timers, sends itself
// signals and runs into faults, fills its disk, or gives its collector no rest is kept alive as
// well as others.
func TestServiceInTrouble(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long, in one bubble after the other")
	}
	for i, troubles := range [][]string{{"disk", "garbage"}, {"spin", "timers"}, {"threads", "signals"}} {
		t.Run(strings.Join(troubles, " and "), func(t *testing.T) {
			s, err := runService(t, uint64(i), 2, nil, troubles, 3, nil)
			if err != nil {
				t.Errorf("after %d fail-overs: %v", s.kills, err)
			}
		})
	}
}

// A slowConn is read a little at a time.
type slowConn struct {
	*vmft.Stream
	pause time.Duration
}

func (c slowConn) Read(p []byte) (int, error) {
	time.Sleep(c.pause)
	return c.Stream.Read(p[:min(len(p), 16<<10)])
}

// More than the windows hold goes through the server in both directions at once, to clients
// that are quick and slow, and comes back byte for byte through two fail-overs and more.
func TestServiceLargeTransfers(t *testing.T) {
	size := 1_500_000
	if testing.Short() {
		size = 300_000
	}
	serverELF(t)
	testutil.Bubble(t, func(t *testing.T) {
		s := newService(t, 1, nil, 0, nil)
		var streams sync.WaitGroup
		var killed atomic.Bool // as often as it should be
		for i := range 3 {
			streams.Go(func() {
				for first := true; (first || !killed.Load()) && s.load.failed() == nil; first = false {
					st, err := vmft.DialStream(t.Context(), s.load.client, 7)
					if err == nil {
						err = st.SetDeadline(time.Now().Add(10 * loadPatience))
					}
					if err == nil {
						err = echoAll(slowConn{st, time.Duration(i) * 5 * time.Millisecond}, rand.New(rand.NewPCG(1, uint64(i))), size, func() {})
						st.Close()
					}
					if err != nil {
						s.load.fail(fmt.Errorf("stream %d: %w", i, err))
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { streams.Wait(); close(done) }()
		for over := false; !over && s.failure() == nil; {
			s.failOver()
			killed.Store(s.kills >= 2)
			select {
			case <-done:
				over = true
			default:
			}
		}
		<-done
		if err := s.end(t); err != nil {
			t.Errorf("after %d fail-overs: %v", s.kills, err)
		}
		t.Logf("%d fail-overs", s.kills)
	})
}

// TestServiceFailOver finds what it is there to find: what takes it long, which simulations
// find in each run, when it is told to go on for longer than usual.
func TestServiceFailOverFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	plants := map[string]func(*vmft.Config){
		"a backup runs past the last entry":        vmft.PlantRunPast,
		"what is pending is forgotten at go-live":  vmft.PlantForgetPending,
		"what is pending is done in another order": vmft.PlantReissueAnyhow,
	}
	if *serviceFailOvers > usualFailOvers {
		plants["inputs are acknowledged early"] = vmft.PlantAckInputEarly
		plants["what a stream sends leaves early"] = vmft.PlantSocketEarly
	}
	for name, plant := range plants {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5) {
				s, err := runService(t, seed, 8, nil, nil, 3, plant)
				if err != nil {
					t.Logf("seed %d, after %d fail-overs: %v", seed, s.kills, err)
					return
				}
			}
			t.Error("nobody has noticed")
		})
	}
}
