//lint:bubble
package vmft_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// One test for each mechanism of Scales, Nelson and Venkitachalam (2010), by section.

// slow is a counter whose commands take time.
type slow struct {
	*counter
	takes atomic.Int64 // nanoseconds a command
}

func (s *slow) Apply(index uint64, at time.Time, cmd, dst []byte) []byte {
	if d := time.Duration(s.takes.Load()); d > 0 {
		time.Sleep(d)
	}
	return s.counter.Apply(index, at, cmd, dst)
}

// slowGroup is a group of two whose machines can be slowed.
func slowGroup(t *testing.T, tune func(*vmft.Config)) (*group, []*slow) {
	machines := make([]*slow, 2)
	return newGroup(t, 2, func(i int, cfg *vmft.Config) {
		machines[i] = &slow{counter: cfg.Machine.(*counter)}
		cfg.Machine = machines[i]
		if tune != nil {
			tune(cfg)
		}
	}), machines
}

// between shapes the links of two nodes, both ways.
func (g *group) between(a, b int, l transport.Link) {
	g.t.Helper()
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		if err := g.network.SetLink(g.name(pair[0]), g.name(pair[1]), l); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (g *group) name(i int) string { return fmt.Sprintf("node%d", i) }

// outcome is what came of a proposal.
type outcome struct {
	value uint64
	err   error
	took  time.Duration
}

// propose proposes a command on a node, beside the test.
func (g *group) propose(node int, cmd string) <-chan outcome {
	done, n, began := make(chan outcome, 1), g.nodes[node], time.Now()
	go func() {
		_, out, err := n.Propose(context.Background(), []byte(cmd))
		o := outcome{err: err, took: time.Since(began)}
		if err == nil {
			o.value = binary.LittleEndian.Uint64(out)
		}
		done <- o
	}()
	return done
}

// load has so many callers propose on a node, each once a millisecond, until stop is called, which returns what was
// acknowledged, in order, and the last error of each caller.
func (g *group) load(node, callers, size int) (stop func() (values []uint64, errs []error)) {
	var mu sync.Mutex
	var values []uint64
	var errs []error
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	cmd, n := []byte(strings.Repeat("a", size)), g.nodes[node]
	for range callers {
		work.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
				_, out, err := n.Propose(ctx, cmd)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					values = append(values, binary.LittleEndian.Uint64(out))
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	return func() ([]uint64, []error) {
		cancel()
		work.Wait()
		slices.Sort(values)
		return values, errs
	}
}

// §2.1: the backup executes what the primary has executed, at once, and its outputs go
// nowhere: there is one answer, that of the primary.
func TestPaper21Replay(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		for want := uint64(1); want <= 100; want++ {
			if o := <-g.propose(primary, "a"); o.err != nil || o.value != want {
				t.Fatalf("the answer is %+v, want %d", o, want)
			}
		}
		time.Sleep(5 * time.Millisecond)
		if got := g.books[backup].get("a"); got != 100 {
			t.Errorf("the backup has executed %d of 100", got)
		}
		if o := <-g.propose(backup, "a"); !errors.Is(o.err, vmft.ErrNotPrimary) || !errors.Is(o.err, vmft.ErrNotLogged) {
			t.Errorf("a backup that is asked answers %+v", o)
		}
	})
}

// §2.2: an output waits until the backup has acknowledged its entry. Execution waits for
// nothing, and one acknowledgement releases all that have waited.
func TestPaper22OutputRule(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		if err := g.network.Hold(g.name(backup), g.name(primary)); err != nil {
			t.Fatal(err)
		}
		var all []<-chan outcome
		for range 50 {
			all = append(all, g.propose(primary, "a"))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
		if p, b := g.books[primary].get("a"), g.books[backup].get("a"); p != 50 || b != 50 {
			t.Errorf("while acknowledgements are held the primary has executed %d, the backup %d of 50", p, b)
		}
		if s := g.nodes[primary].Status(); s.Held != 50 || s.Pending != 50 {
			t.Errorf("%d batches of outputs are held, of %d proposals; want 50", s.Held, s.Pending)
		}
		for i, done := range all {
			select {
			case o := <-done:
				t.Fatalf("output %d has left before its entry was acknowledged: %+v", i, o)
			default:
			}
		}
		if err := g.network.Release(g.name(backup), g.name(primary)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for i, done := range all {
			if o := <-done; o.err != nil || o.value != uint64(i+1) {
				t.Fatalf("output %d is %+v", i, o)
			}
		}
		if took := time.Since(began); took > time.Millisecond {
			t.Errorf("the outputs left within %v of the acknowledgement", took)
		}
	})
}

// §2.2, the output requirement: what the backup has not received when the primary dies,
// nobody has seen an output of, and the new primary goes on without it.
func TestPaper22OutputRequirement(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		if o := <-g.propose(primary, "a"); o.value != 1 {
			t.Fatalf("%+v", o)
		}
		if err := g.network.Hold(g.name(primary), g.name(backup)); err != nil {
			t.Fatal(err)
		}
		lost := g.propose(primary, "a")
		time.Sleep(50 * time.Millisecond)
		if got := g.books[primary].get("a"); got != 2 {
			t.Errorf("the primary has executed %d of 2", got)
		}
		g.kill(primary)
		if o := <-lost; !errors.Is(o.err, vmft.ErrUnknown) {
			t.Errorf("an output that the backup knows nothing of: %+v", o)
		}
		g.network.Heal()
		g.live(backup)
		if o := <-g.propose(backup, "a"); o.err != nil || o.value != 2 {
			t.Errorf("the new primary answers %+v, want 2", o)
		}
	})
}

// live waits until a node is the primary.
func (g *group) live(node int) {
	g.t.Helper()
	for range 4000 {
		if g.nodes[node].Status().Role == vmft.RolePrimary {
			return
		}
		time.Sleep(time.Millisecond)
	}
	g.t.Fatalf("node %d does not go live: %+v", node, g.nodes[node].Status())
}

// §2.3, go-live: the backup first executes everything that it has acknowledged. The pause
// is the detection and that.
func TestPaper23GoLive(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g, machines := slowGroup(t, nil)
		defer g.close()
		primary, backup := g.settle()
		machines[backup].takes.Store(int64(5 * time.Millisecond))
		var all []<-chan outcome
		for range 100 {
			all = append(all, g.propose(primary, "a"))
		}
		for _, done := range all {
			if o := <-done; o.err != nil || o.took > time.Millisecond {
				t.Fatalf("an output has waited for the backup to execute it: %+v", o)
			}
		}
		if got := g.books[backup].get("a"); got > 2 {
			t.Fatalf("the backup has executed %d already", got)
		}
		g.kill(primary)
		began := time.Now()
		g.live(backup)
		if took := time.Since(began); took < 450*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("it went live after %v; 500 ms of the log were left", took)
		}
		if o := <-g.propose(backup, "a"); o.err != nil || o.value != 101 {
			t.Errorf("the new primary's first answer is %+v, want 101", o)
		}
	})
}

// §2.3: each of two nodes that are cut off from each other, and not from the arbiter, takes
// the other for dead. One wins the test-and-set; the other's outputs stay where they are.
func TestPaper23SplitBrain(t *testing.T) {
	for seed := range 8 {
		testutil.Bubble(t, func(t *testing.T) {
			g := newGroup(t, 2, func(i int, cfg *vmft.Config) {
				if seed%2 == 0 && i == 0 || seed%4 == 1 && i == 1 { // one of them sees it first
					cfg.Timeout = 400 * time.Millisecond
				}
			})
			defer g.close()
			primary, backup := g.settle()
			terms := make([]context.Context, 2)
			var epochs [2]uint64
			terms[primary], epochs[primary], _ = g.nodes[primary].Lead(context.Background())
			stop := g.load(primary, 4, 1)
			time.Sleep(time.Duration(10+seed) * time.Millisecond)
			if err := g.network.Partition([]string{g.name(primary)}, []string{g.name(backup)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			var roles []vmft.Role
			for _, n := range g.nodes {
				roles = append(roles, n.Status().Role)
			}
			if (roles[0] == vmft.RolePrimary) == (roles[1] == vmft.RolePrimary) {
				t.Fatalf("the nodes are %v", roles)
			}
			values, errs := stop()
			winner := slices.Index(roles, vmft.RolePrimary)
			if o := <-g.propose(winner, "a"); o.err != nil || len(values) > 0 && o.value <= values[len(values)-1] {
				t.Errorf("the winner answers %+v, %d was acknowledged", o, values[len(values)-1])
			}
			if winner == backup {
				if terms[primary].Err() == nil || !errors.Is(context.Cause(terms[primary]), vmft.ErrFenced) || !errors.Is(errors.Join(errs...), vmft.ErrFenced) {
					t.Errorf("the loser's term ended with %v, its callers got %v", context.Cause(terms[primary]), errs)
				}
			}
			for i := 1; i < len(values); i++ {
				if values[i] == values[i-1] {
					t.Errorf("two callers were given %d", values[i])
				}
			}
			g.network.Heal()
			if p, _ := g.settle(); p != winner {
				t.Errorf("after the partition node %d is the primary, %d had won", p, winner)
			}
		})
	}
}

// §2.3: a storage that cannot be reached is waited for, and it shows.
func TestPaper23ArbiterUnreachable(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		if o := <-g.propose(primary, "a"); o.err != nil {
			t.Fatal(o.err)
		}
		g.arbiter.cut(backup, true)
		g.kill(primary)
		time.Sleep(time.Minute)
		s := g.nodes[backup].Status()
		if s.Role != vmft.RoleBackup || !errors.Is(s.Arbiter, errFar) || s.Err != nil {
			t.Errorf("after a minute the backup is %s; of the arbiter it says %v, of itself %v", s.Role, s.Arbiter, s.Err)
		}
		g.arbiter.cut(backup, false)
		began := time.Now()
		g.live(backup)
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("it went live %v after the arbiter was back", took)
		}
		if s := g.nodes[backup].Status(); s.Arbiter != nil {
			t.Errorf("it still says %v", s.Arbiter)
		}
		if o := <-g.propose(backup, "a"); o.value != 2 {
			t.Errorf("it answers %+v, want 2", o)
		}
	})
}

// §2.3: a primary that stood still (its host was paused) and goes on after it was replaced
// does no harm: it gives no output, its reads are not confirmed, and its term is over. What
// it was asked before is unknown, and what it is asked then was never logged.
func TestPaper23ResumedPrimary(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		if o := <-g.propose(primary, "a"); o.value != 1 {
			t.Fatalf("%+v", o)
		}
		term, epoch, err := g.nodes[primary].Lead(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		g.host(primary).Pause()
		before := g.propose(primary, "a") // as if it had been on its way
		g.arbiter.cut(primary, true)      // a host that stands asks nobody
		g.live(backup)
		if o := <-g.propose(backup, "a"); o.value != 2 {
			t.Errorf("the new primary answers %+v, want 2", o)
		}
		read := make(chan error, 1)
		old := g.nodes[primary]
		go func() { _, err := old.Confirm(context.Background()); read <- err }()
		g.host(primary).Resume()
		time.Sleep(time.Second)
		select {
		case o := <-before:
			t.Errorf("while it cannot know, it answers %+v", o)
		case err := <-read:
			t.Errorf("while it cannot know, a read is told %v", err)
		default:
		}
		g.arbiter.cut(primary, false)
		if o := <-before; !errors.Is(o.err, vmft.ErrUnknown) || !errors.Is(o.err, vmft.ErrFenced) {
			t.Errorf("what it was asked before ended with %+v", o)
		}
		if err := <-read; !errors.Is(err, vmft.ErrFenced) {
			t.Errorf("a read ended with %v", err)
		}
		<-term.Done()
		if _, later, err := g.nodes[backup].Lead(context.Background()); err != nil || later <= epoch {
			t.Errorf("epoch %d, %v, follows %d", later, err, epoch)
		}
		if p, b := g.settle(); p != backup || b != primary {
			t.Errorf("the primary is %d, the backup %d", p, b)
		}
		if o := <-g.propose(primary, "a"); !errors.Is(o.err, vmft.ErrNotLogged) {
			t.Errorf("as a backup it answers %+v", o)
		}
		time.Sleep(5 * time.Millisecond)
		if got := g.books[primary].get("a"); got != 2 {
			t.Errorf("the clone has counted to %d: what was only its own is still there", got)
		}
	})
}

// §2.3: the epoch fences. It rises with every change of primary, and with it whatever
// users fence by it.
func TestPaper23Epochs(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 3, nil)
		defer g.close()
		last := uint64(0)
		for range 4 {
			primary, _ := g.settle()
			term, epoch, err := g.nodes[primary].Lead(context.Background())
			if err != nil || epoch <= last || term.Err() != nil {
				t.Fatalf("epoch %d, %v, follows %d", epoch, err, last)
			}
			last = epoch
			g.kill(primary)
			if term.Err() == nil {
				t.Error("the term of a dead primary goes on")
			}
			g.restart(primary)
		}
	})
}

// §2.3: a backup that dies is done without. Outputs that waited for it leave when the
// primary is alone by the arbiter's record, and not before.
func TestPaper23BackupLost(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		defer g.close()
		primary, backup := g.settle()
		g.arbiter.cut(primary, true)
		g.host(backup).Pause()
		waits := g.propose(primary, "a")
		time.Sleep(10 * time.Second)
		select {
		case o := <-waits:
			t.Fatalf("an output has left without an acknowledgement and without a record: %+v", o)
		default:
		}
		if s := g.nodes[primary].Status(); !errors.Is(s.Arbiter, errFar) || s.Held != 1 {
			t.Errorf("of the arbiter it says %v; %d outputs are held", s.Arbiter, s.Held)
		}
		g.arbiter.cut(primary, false)
		if o := <-waits; o.err != nil || o.value != 1 {
			t.Errorf("%+v", o)
		}
		if s := g.nodes[primary].Status(); s.Role != vmft.RolePrimary || !s.Newest.Backup.IsZero() {
			t.Errorf("it is %s in %v", s.Role, s.Newest)
		}
		g.host(backup).Resume()
		if p, _ := g.settle(); p != primary {
			t.Errorf("node %d is the primary", p)
		}
	})
}

// §2.4: a machine that is switched off stays off: the backup executes the last entry and
// does not go live, whatever becomes of the primary.
func TestPaper24PowerOff(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g, machines := slowGroup(t, nil)
		defer g.close()
		primary, backup := g.settle()
		machines[backup].takes.Store(int64(10 * time.Millisecond))
		for range 20 { // the last entry is far behind in its buffer
			if o := <-g.propose(primary, "a"); o.err != nil {
				t.Fatal(o.err)
			}
		}
		if err := g.nodes[primary].PowerOff(context.Background()); err != nil {
			t.Fatal(err)
		}
		g.kill(primary)
		time.Sleep(time.Minute)
		if s := g.nodes[backup].Status(); s.Role == vmft.RolePrimary || g.books[backup].get("a") != 20 {
			t.Errorf("the backup is %s, at %d", s.Role, g.books[backup].get("a"))
		}
	})
}

// §2.1 and §3.1: a new backup is made while the machine runs; the interruption is that of a
// freeze, the copy does not stop it.
func TestPaper31NewBackup(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, func(_ int, cfg *vmft.Config) { cfg.CloneRate = 1 << 20 })
		defer g.close()
		primary, backup := g.settle()
		for i := range 2000 {
			if o := <-g.propose(primary, fmt.Sprintf("%d/%s", i, strings.Repeat("x", 1000))); o.err != nil {
				t.Fatal(o.err)
			}
		}
		g.kill(backup)
		stop := g.ticking(primary)
		time.Sleep(time.Second)
		g.restart(backup)
		before := g.nodes[primary].Status().Clones
		g.settle()
		worst, calls := stop()
		s := g.nodes[primary].Status()
		if s.Clones != before+1 || s.LastClone < time.Second {
			t.Errorf("%d clones, the last in %v; 2 MB at 1 MiB a second take two", s.Clones-before, s.LastClone)
		}
		if worst > 100*time.Millisecond || s.LastPause > 100*time.Millisecond || calls < 1000 {
			t.Errorf("%d calls, the longest took %v; the machine was interrupted for %v", calls, worst, s.LastPause)
		}
		g.kill(primary)
		g.live(backup)
		if o := <-g.propose(backup, "b"); o.err != nil || o.value != uint64(calls+1) {
			t.Errorf("the new backup answers %+v, want %d", o, calls+1)
		}
	})
}

// ticking has a command proposed every millisecond until stop is called, which returns the
// longest time that one took, and how many there were.
func (g *group) ticking(node int) (stop func() (worst time.Duration, calls int)) {
	end, ended := make(chan struct{}), make(chan struct{})
	var worst time.Duration
	calls := 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
			o := <-g.propose(node, "b")
			if o.err != nil {
				g.t.Error(o.err)
				return
			}
			worst = max(worst, o.took)
			calls++
		}
	}()
	return func() (time.Duration, int) {
		close(end)
		<-ended
		return worst, calls
	}
}
