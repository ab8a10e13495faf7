//lint:bubble
package vmft_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest/toy"
)

// echo lets each word of its input leave.
var echo = []toy.Instruction{
	{Op: toy.Input, A: 1},
	{Op: toy.Output, A: 1},
	{Op: toy.Jump, A: 1},
}

// echoes returns a pair of nodes that run a program, and the port of the primary.
func echoes(t *testing.T, program []toy.Instruction, tune func(i int, cfg *vmft.Config)) (g *group, primary, backup int, port *vmft.Port) {
	t.Helper()
	g = newGroup(t, 2, func(i int, cfg *vmft.Config) {
		cfg.Machine, cfg.Processor = nil, toy.New(program)
		if tune != nil {
			tune(i, cfg)
		}
	})
	primary, backup = g.settle()
	port, err := g.nodes[primary].Port(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return g, primary, backup, port
}

// §2.2: an output leaves a free-running machine, and an input is acknowledged to its sender,
// when the backup has the entry that it belongs to; the machine goes on meanwhile.
func TestPaper22FreeOutputRule(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g, primary, backup, port := echoes(t, echo, nil)
		defer g.close()
		ctx := context.Background()
		if err := port.Input(ctx, toy.InputEvent(1)); err != nil {
			t.Fatal(err)
		}
		if _, err := port.Next(ctx); err != nil {
			t.Fatal(err)
		}
		from, to := fmt.Sprintf("node%d", backup), fmt.Sprintf("node%d", primary)
		if err := g.network.Hold(from, to); err != nil { // acknowledgements are on their way for ever
			t.Fatal(err)
		}
		before := g.nodes[primary].Status().Instructions
		soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if err := port.Input(soon, toy.InputEvent(2)); err == nil {
			t.Error("an input that the backup has not acknowledged is safe")
		}
		if o, err := port.Next(soon); err == nil {
			t.Errorf("%+v leaves, and the backup has not acknowledged it", o)
		}
		s := g.nodes[primary].Status()
		if s.Instructions <= before || s.Held == 0 {
			t.Errorf("%d instructions before, %d now; %d outputs are held", before, s.Instructions, s.Held)
		}
		if err := g.network.Release(from, to); err != nil {
			t.Fatal(err)
		}
		o, err := port.Next(ctx)
		if word, _, _, _ := toy.ParseOutput(o.Data); err != nil || word != 2 {
			t.Errorf("%+v, %v", o, err)
		}
	})
}

// §2.3: a backup that goes live does again what is not known to be done, in order, and
// nothing of what is.
func TestPaper23FreePending(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		g, primary, backup, port := echoes(t, echo, nil)
		defer g.close()
		ctx := context.Background()
		for word := range uint64(5) {
			if err := port.Input(ctx, toy.InputEvent(word+1)); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			if _, err := port.Next(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := port.Complete(nil, 2, 4); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		g.kill(primary)
		port, err := g.nodes[backup].Port(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range []uint64{1, 3, 5} {
			o, err := port.Next(ctx)
			if word, _, _, _ := toy.ParseOutput(o.Data); err != nil || o.Number != number || word != number || !o.Again {
				t.Errorf("%+v, %v; want number %d", o, err, number)
			}
		}
		if err := port.Input(ctx, toy.InputEvent(6)); err != nil {
			t.Fatal(err)
		}
		if o, err := port.Next(ctx); err != nil || o.Number != 6 || o.Again {
			t.Errorf("%+v, %v", o, err)
		}
	})
}

// §2.4: entries of progress keep the backup close behind a machine that is told nothing.
func TestPaper24FreeProgress(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		toys := make([]*slowToy, 2)
		g, primary, backup, _ := echoes(t, busy, func(i int, cfg *vmft.Config) {
			toys[i] = &slowToy{Toy: toy.New(busy), takes: 10 * time.Microsecond}
			cfg.Processor = toys[i]
		})
		defer g.close()
		time.Sleep(10 * time.Second) // until turns are as short as they should be
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			b := g.nodes[backup].Status() // first: both go on
			p := g.nodes[primary].Status()
			if p.Instructions < b.Instructions || p.Instructions > b.Instructions+15_000 || b.Instructions == 0 {
				t.Errorf("the primary is at %d, the backup at %d", p.Instructions, b.Instructions)
			}
		}
	})
}

// §2.1: a processor whose outputs nobody takes stands still when they fill their buffer, and
// goes on when they are done.
func TestPaper24FreeBuffer(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const bound = 20_000
		chatter := []toy.Instruction{{Op: toy.Add, A: 1, B: 7, N: 1}, {Op: toy.Output, A: 1}, {Op: toy.Jump, A: 1}}
		g, primary, _, port := echoes(t, chatter, func(_ int, cfg *vmft.Config) { cfg.BufferBytes = bound })
		defer g.close()
		time.Sleep(time.Second)
		before := g.nodes[primary].Status().Instructions
		time.Sleep(time.Second)
		s := g.nodes[primary].Status()
		if s.Instructions != before {
			t.Errorf("nobody takes its outputs, and it goes on from %d to %d", before, s.Instructions)
		}
		numbers := []uint64{}
		for word := uint64(1); word <= 1000; word++ {
			o, err := port.Next(context.Background())
			if got, _, _, _ := toy.ParseOutput(o.Data); err != nil || got != word {
				t.Fatalf("%+v, %v", o, err)
			}
			numbers = append(numbers, o.Number)
		}
		if err := port.Complete(nil, numbers...); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := g.nodes[primary].Status(); s.Instructions <= before {
			t.Error("its outputs are done, and it stands still")
		}
	})
}
