// A world lives in a bubble.
//
//lint:bubble
package rpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/wire"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/rpc/rpctest"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// A point is a moment in the life of a call.
type point uint8

const (
	beforeSending point = iota // the client is about to send the request
	received                   // the server has it, the handler has not begun
	running                    // the handler is in the middle
	ran                        // the handler has run, the reply has not left
	replied                    // the client has the reply
	points
)

func (p point) String() string {
	return [points]string{"before sending", "received", "running", "ran", "replied"}[p]
}

// A strike is what happens at that moment to what the call depends on.
type strike uint8

const (
	nothing   strike = iota
	reset            // the connection breaks
	crash            // the server process is killed, and started again
	power            // the server's power fails, and comes back
	newServer        // the process goes on, with a new Server at the same address
	strikes
)

func (s strike) String() string {
	return [strikes]string{"nothing", "reset", "crash", "power", "new server"}[s]
}

// Where what was executed is known.
type keeper uint8

const (
	inMemory keeper = iota // a SessionTable in the process
	onDisk                 // a SessionTable with a directory
	inLog                  // a Guard before a machine behind a journaled log
)

func (k keeper) String() string { return [...]string{"in memory", "on disk", "in the log"}[k] }

// A plan is one experiment.
type plan struct {
	seed   uint64
	sem    rpc.Semantics
	keeper keeper
	faults rpctest.Config // of single calls
	at     point
	strike strike
	bug    string

	scripted bool // instead of faults, each call meets those of subset
	subset   subset
}

func (p plan) String() string {
	if p.scripted {
		return fmt.Sprintf("seed %d: %v, %v; %v; %v when %v", p.seed, p.sem, p.keeper, p.subset, p.strike, p.at)
	}
	return fmt.Sprintf("seed %d: %v, %v; drop request %v, drop reply %v, duplicate %v, delay %v; %v when %v; bug %q",
		p.seed, p.sem, p.keeper, p.faults.DropRequest, p.faults.DropReply, p.faults.Duplicate, p.faults.Delay, p.strike, p.at, p.bug)
}

// A request names itself.
type request struct{ ID uint64 }

func (r *request) AppendBinary(b []byte) ([]byte, error) { return binary.AppendUvarint(b, r.ID), nil }

func (r *request) UnmarshalBinary(b []byte) error {
	d := wire.NewDecoder(b)
	r.ID = d.Uvarint()
	return d.Finish()
}

// A ledger is a machine that counts executions. It is its own image.
type ledger struct{ counts map[uint64]int }

func (l *ledger) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	id := binary.LittleEndian.Uint64(cmd)
	l.counts[id]++
	return append(dst, cmd...)
}

func (l *ledger) Freeze() (io.WriterTo, error) {
	var image wireImage
	for id, n := range l.counts {
		image = binary.AppendUvarint(binary.AppendUvarint(image, id), uint64(n))
	}
	return image, nil
}

type wireImage []byte

func (b wireImage) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}

func (l *ledger) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	clear(l.counts)
	for d := wire.NewDecoder(b); d.Len() > 0; {
		l.counts[d.Uvarint()] = int(d.Uvarint())
		if d.Err() != nil {
			return d.Err()
		}
	}
	return nil
}

func (l *ledger) Fingerprint() string { return "ledger" }

// A life is one life of the server's process.
type life struct {
	dead    atomic.Bool
	table   *rpc.SessionTable
	log     *statelog.Solo
	machine *rpc.SessionMachine
	ledger  *ledger
	guard   *rpc.Guard
	s       *rpc.Server
}

// An injector is what makes single calls go wrong.
type injector interface {
	Client(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error
	Server(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error
	Counts() rpctest.Counts
}

// A world is an experiment being carried out.
type world struct {
	plan
	t      *testing.T
	net    *transport.Network
	faults injector
	client *rpc.Client
	after  int           // how many calls pass the point before the strike
	honour bool          // handlers give up when their context ends
	server bool          // the faults of single calls are the server's
	sync   time.Duration // of the disk

	strikes sync.WaitGroup // under way

	mu      sync.Mutex // guards what follows
	life    *life
	disk    *vfs.Memory
	effects map[uint64]int // executions of each call
	passed  int            // calls that have passed the point
	struck  bool
	report  report
}

// A report is what happened.
type report struct {
	struck    int // experiments whose strike took place
	injected  rpctest.Counts
	outcomes  map[rpc.Outcome]int // of calls that failed
	expired   int                 // of them, with ErrSessionExpired
	succeeded int
	repeated  int // executions beyond a call's first
	replayed  uint64
	waited    uint64
	lives     int
	redialed  int64
}

const (
	callers        = 3
	callsPerCaller = 3
)

// run carries out a plan in a bubble, and returns what went against the promises.
func (p plan) run(t *testing.T) (report, error) {
	rnd := rand.New(rand.NewPCG(p.seed, 1))
	w := &world{
		plan: p, t: t, effects: make(map[uint64]int), after: rnd.IntN(5), honour: rnd.IntN(2) == 0,
		sync: time.Duration(1+rnd.IntN(10)) * time.Millisecond,
		disk: vfs.NewMemory(p.seed), report: report{outcomes: make(map[rpc.Outcome]int)},
	}
	w.net = transporttest.NewNetwork(t, transport.NetworkConfig{
		Seed: p.seed, Latency: transport.Uniform(time.Millisecond, 3*time.Millisecond),
	})
	var err error
	if w.faults, err = p.injector(); err != nil {
		t.Fatal(err)
	}
	// A table keeps what the server's interceptors answer as the call's result.
	w.server = (p.sem != rpc.ExactlyOnce || p.keeper == inLog) && rnd.IntN(2) == 0
	if p.scripted && p.sem == rpc.AtMostOnce {
		// No call comes back for faults that a strike kept from it: the client's take place
		// in any case, and after so many calls one at least has met them and its server.
		w.server, w.after = false, callers+1
	}
	w.begin(&life{})
	w.client = w.dial("client")
	results := w.callAll()
	w.strikes.Wait()
	w.report.redialed = w.client.Stats().Conns - 1
	w.client.Close()
	w.end()
	w.report.injected = w.faults.Counts()
	return w.report, w.judge(results)
}

func (p plan) injector() (injector, error) {
	if p.scripted {
		return newScript(p)
	}
	p.faults.Seed, p.faults.MaxDelay = p.seed, 50*time.Millisecond
	p.faults.Guarded = p.keeper == inLog
	return rpctest.New(p.faults)
}

// at is called when a call is at a point.
func (w *world) at(at point) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at != w.plan.at || w.struck || w.strike == nothing {
		return
	}
	if w.passed++; w.passed <= w.after {
		return
	}
	w.struck = true
	w.report.struck++
	l := w.life
	switch w.strike {
	case reset:
		if _, err := w.net.Reset("client", "server"); err != nil {
			w.t.Error(err)
		}
	case crash, power:
		l.dead.Store(true)
		down, mode := 50*time.Millisecond, transport.CrashReset
		if w.strike == power {
			down, mode = 3*time.Second, transport.CrashSilent
		}
		w.net.Host("server").Crash(mode)
		w.disk = w.disk.Crash()
		w.strikes.Go(func() {
			l.stop()
			time.Sleep(down)
			w.net.Host("server").Restart()
			w.begin(&life{})
			if w.bug == "reuse id" { // somebody else gets the number of a lost session
				c := w.dial("other")
				_, _ = rpc.Call[request](context.Background(), c.ExactlyOnce(), "Do", &request{1000})
				c.Close()
			}
		})
	case newServer:
		w.strikes.Go(func() {
			l.s.Close()
			w.begin(l)
		})
	}
}

// begin starts a process, or a new Server in one that goes on.
func (w *world) begin(l *life) {
	if l.table == nil && l.log == nil {
		w.mu.Lock()
		w.report.lives++
		disk := w.disk
		w.mu.Unlock()
		w.open(l, disk)
	}
	var host rpc.SessionHost = l.table
	if l.guard != nil {
		host = l.guard
	} else if w.bug == "amnesia" {
		host = rpc.Amnesiac{SessionTable: l.table}
	}
	cfg := rpc.ServerConfig{Sessions: host, Interceptors: []rpc.ServerInterceptor{w.watchServer}}
	if w.server {
		cfg.Interceptors = append(cfg.Interceptors, w.faults.Server)
	}
	s, err := rpc.NewServer(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	rpc.Handle(s, "Do", func(ctx context.Context, r *request) (*request, error) { return w.handle(ctx, l, r) })
	if _, err := s.Listen(context.Background(), w.net.Host("server"), ":1"); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	l.s, w.life = s, l
	w.mu.Unlock()
}

// open opens what a process has on disk and in memory.
func (w *world) open(l *life, disk vfs.FS) {
	slow := vfs.Inject(disk, func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSync {
			time.Sleep(w.sync)
		}
		return vfs.Fault{}
	})
	var err error
	switch w.keeper {
	case inMemory:
		l.table, err = rpc.NewSessionTable(rpc.SessionTableConfig{})
	case onDisk:
		l.table, err = rpc.NewSessionTable(rpc.OnDisk(slow, "table"))
	case inLog:
		l.ledger = &ledger{make(map[uint64]int)}
		if l.machine, err = rpc.NewSessionMachine(l.ledger, rpc.SessionsConfig{}); err != nil {
			break
		}
		l.log, err = statelog.Open(statelog.Config{Machine: l.machine, Dir: "log", FS: slow, CheckpointBytes: 300})
		l.guard = rpc.NewGuard(l.log)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if l.table != nil {
		l.table.Plant(w.bug)
	}
}

// stop ends a process. What it held in memory stays to be looked at.
func (l *life) stop() {
	l.s.Close()
	if l.table != nil {
		_ = l.table.Close() // on a disk that has crashed, it fails
	}
	if l.log != nil {
		_ = l.log.Close()
	}
}

// handle is the handler: it works a while, has its effect, and works on.
func (w *world) handle(ctx context.Context, l *life, r *request) (*request, error) {
	half := r.ID%2 == 0 // the point is before the effect, or after it
	if half {
		w.at(running)
	}
	t := time.NewTimer(5 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		if w.honour {
			return nil, rpc.Refuse(ctx.Err())
		}
		<-t.C
	}
	if err := w.effect(ctx, l, r); err != nil {
		return nil, err
	}
	if !half {
		w.at(running)
	}
	time.Sleep(25 * time.Millisecond) // long enough to be asked again meanwhile
	return r, nil
}

// effect executes a call, unless its process is dead.
func (w *world) effect(ctx context.Context, l *life, r *request) error {
	if l.guard != nil {
		_, _, err := l.guard.Propose(ctx, binary.LittleEndian.AppendUint64(nil, r.ID))
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.dead.Load() {
		return rpc.Uncertain(errors.New("the process is dead"))
	}
	w.effects[r.ID]++
	return nil
}

func (w *world) watchServer(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	if inv.Method != "Do" {
		return next(ctx)
	}
	w.at(received)
	err := next(ctx)
	w.at(ran)
	return err
}

func (w *world) watchClient(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
	if inv.Method != "Do" {
		return next(ctx)
	}
	w.at(beforeSending)
	err := next(ctx)
	w.at(replied)
	return err
}

// dial returns a client on a host; that on "client" meets the faults.
func (w *world) dial(host string) *rpc.Client {
	cfg := rpc.ClientConfig{
		Transport:   w.net.Host(host),
		Addrs:       []string{"server:1"},
		DialTimeout: 300 * time.Millisecond,
		Limits:      rpc.Limits{PingInterval: 500 * time.Millisecond},
		Backoff:     rpc.Backoff{Max: 50 * time.Millisecond},
	}
	if host == "client" {
		cfg.Interceptors = append(cfg.Interceptors, w.watchClient)
		if !w.server {
			cfg.Interceptors = append(cfg.Interceptors, w.faults.Client)
		}
	}
	c, err := rpc.NewClient(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// callAll makes the calls and returns their errors.
func (w *world) callAll() map[uint64]error {
	as := map[rpc.Semantics]rpc.Caller{
		rpc.AtMostOnce: w.client, rpc.AtLeastOnce: w.client.AtLeastOnce(), rpc.ExactlyOnce: w.client.ExactlyOnce(),
	}[w.sem]
	var mu sync.Mutex // guards results
	results := make(map[uint64]error)
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() {
			for i := range callsPerCaller {
				id := uint64(1 + g*callsPerCaller + i)
				// Far longer than any fault lasts: who runs out of it was forgotten.
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				resp, err := rpc.Call[request](ctx, as, "Do", &request{id})
				cancel()
				if err == nil && resp.ID != id {
					err = fmt.Errorf("call %d was answered as %d", id, resp.ID)
				}
				mu.Lock()
				results[id] = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return results
}

// end ends the last life, and counts.
func (w *world) end() {
	w.mu.Lock()
	l := w.life
	w.mu.Unlock()
	l.stop()
	if l.table != nil {
		st := l.table.Stats()
		w.report.replayed, w.report.waited = st.Replayed, st.Waited
	}
	if l.machine != nil {
		w.report.replayed = l.machine.Stats().Replayed
		w.effects = l.ledger.counts
	}
}

// judge holds what the callers were told against what was executed.
func (w *world) judge(results map[uint64]error) error {
	var wrong []error
	complain := func(id uint64, err error, what string) {
		wrong = append(wrong, fmt.Errorf("call %d, executed %d times, %s: %v", id, w.effects[id], what, err))
	}
	crashed := w.strike == crash || w.strike == power
	for id, err := range results {
		n := w.effects[id]
		w.report.repeated += max(0, n-1)
		outcome := rpc.OutcomeOf(err)
		if err == nil {
			w.report.succeeded++
		} else {
			w.report.outcomes[outcome]++
		}
		if errors.Is(err, rpc.ErrSessionExpired) {
			w.report.expired++
		}
		switch {
		case w.sem != rpc.AtLeastOnce && n > 1:
			complain(id, err, "more than once")
		case err == nil && n == 0:
			complain(id, err, "succeeded")
		case err != nil && outcome == rpc.NotExecuted && n > 0, err != nil && outcome == rpc.Executed && n == 0:
			complain(id, err, "is told that it was "+outcome.String())
		case err == nil || w.sem == rpc.AtMostOnce:
		case w.sem == rpc.AtLeastOnce, !crashed, w.keeper == inLog:
			complain(id, err, "did not succeed")
		case !errors.Is(err, rpc.ErrSessionExpired) && !errors.Is(err, rpc.ErrOutcomeUnknown):
			complain(id, err, "is not told that the outcome is unknown")
		case errors.Is(err, context.DeadlineExceeded):
			complain(id, err, "got no answer")
		}
	}
	return errors.Join(wrong...)
}
