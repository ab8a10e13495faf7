package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// failovers is how many there are in a turn, of which the median counts.
const failovers = 4

// A vmftNode is a process of a pair.
type vmftNode struct {
	Addr, Dir string
	Peers     []string
}

// paired is what the process prints when it is the primary and has a backup.
const paired = "paired"

// serve is main of the process, which ends when stdin does.
func (n *vmftNode) serve(ctx context.Context, stdin io.Reader, stdout io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	node, err := vmft.Start(ctx, vmft.Config{
		Transport: &transport.TCP{}, Addr: n.Addr, Peers: n.Peers, Arbiter: vmft.DirArbiter(n.Dir), Machine: newPages(0),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if _, err := fmt.Fprintln(stdout, "started"); err != nil {
		return err
	}
	told := uint64(0)
	_ = awaitThat(ctx, func() bool { // until the end
		s := node.Status()
		if s.Role == vmft.RolePrimary && !s.Newest.Backup.IsZero() && s.Newest.Epoch != told {
			told = s.Newest.Epoch
			fmt.Fprintln(stdout, paired)
		}
		return s.Role == vmft.RoleEnded
	})
	return nil
}

// A failoverPair is two processes, of which the primary is killed or stopped.
type failoverPair struct {
	dir     string
	stop    bool
	addrs   []string
	nodes   [2]*exec.Cmd
	lines   [2]chan string
	primary int
	client  *vmft.Client // knows both, and is connected with the primary
}

func openFailover(stop bool) func(context.Context, *workspace) (cell, error) {
	return func(ctx context.Context, w *workspace) (_ cell, err error) {
		p := &failoverPair{stop: stop}
		defer func() {
			if err != nil {
				err = errors.Join(err, p.close())
			}
		}()
		if p.dir, err = os.MkdirTemp(w.dir, "failover-"); err != nil {
			return nil, err
		}
		for range p.nodes {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			p.addrs = append(p.addrs, l.Addr().String())
			if err := l.Close(); err != nil {
				return nil, err
			}
		}
		for i := range p.nodes {
			if err := p.start(ctx, i); err != nil {
				return nil, err
			}
			if i == 0 { // it becomes the primary while nobody else is there
				if err := p.begin(ctx); err != nil {
					return nil, err
				}
			}
		}
		if p.client, err = vmft.Dial(&transport.TCP{}, p.addrs...); err != nil {
			return nil, err
		}
		return &turn{run: p.run, close: p.close}, p.await(ctx, 0, paired)
	}
}

func (p *failoverPair) start(ctx context.Context, i int) error {
	t := task{Vmft: &vmftNode{Addr: p.addrs[i], Peers: p.addrs, Dir: filepath.Join(p.dir, "lock")}}
	cmd, err := t.command(context.WithoutCancel(ctx)) // close ends it
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := make(chan string, 1024)
	p.nodes[i], p.lines[i] = cmd, lines
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text()
		}
	}()
	return p.await(ctx, i, "started")
}

// await waits until a process says something.
func (p *failoverPair) await(ctx context.Context, i int, what string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case line, ok := <-p.lines[i]:
			if !ok {
				return fmt.Errorf("the node at %s has ended", p.addrs[i])
			}
			if line == what {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("the node at %s is not %s: %w", p.addrs[i], what, context.Cause(ctx))
		}
	}
}

// begin waits until the first node serves.
func (p *failoverPair) begin(ctx context.Context) (err error) {
	c, err := vmft.Dial(&transport.TCP{}, p.addrs[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return call(ctx, c)
}

func call(ctx context.Context, c *vmft.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := c.Call(ctx, make([]byte, commandSize))
	return err
}

func (p *failoverPair) run(ctx context.Context, _ time.Duration) ([]metric, error) {
	var took []float64
	for range failovers {
		d, err := p.once(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, d.Seconds()*1e3)
	}
	slices.Sort(took)
	return []metric{{"ms", (took[(failovers-1)/2] + took[failovers/2]) / 2}}, nil
}

// once does what is to be done to the primary, and returns how long it took until the call
// that was then on its way there was acknowledged. Then there is a pair again.
func (p *failoverPair) once(ctx context.Context) (time.Duration, error) {
	old, other := p.primary, 1-p.primary
	if err := call(ctx, p.client); err != nil { // it is connected with the primary
		return 0, err
	}
	began := time.Now()
	hit := p.nodes[old].Process.Kill
	if p.stop {
		hit = func() error {
			if err := suspend(p.nodes[old].Process); err != nil {
				return err
			}
			return stopped(p.nodes[old].Process)
		}
	}
	if err := hit(); err != nil {
		return 0, err
	}
	if err := call(ctx, p.client); err != nil {
		return 0, err
	}
	took := time.Since(began)
	p.primary = other
	var err error
	if p.stop {
		err = resume(p.nodes[old].Process)
	} else {
		_ = p.nodes[old].Wait() // it was killed
		err = p.start(ctx, old)
	}
	if err != nil {
		return 0, err
	}
	return took, p.await(ctx, other, paired)
}

func (p *failoverPair) close() error {
	var err error
	if p.client != nil {
		err = p.client.Close()
	}
	for _, n := range p.nodes {
		if n != nil && n.Process != nil {
			_ = n.Process.Kill() // it may have ended
			_ = n.Wait()
		}
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
