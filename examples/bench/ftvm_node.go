package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/rv64"
	"github.com/trilith-go/trilith/vmft/shareddisk"
)

// A ftvmNode is a process with a virtual machine: alone, or one of a pair. It does what lines
// on its standard input say (enter, usage), ends with that, and prints what has happened.
type ftvmNode struct {
	Addr, Lock string
	Peers      []string
	Solo       bool // there is no replication, and Addr is where the program is reached
	Transfer   bool // it is by state transfer
	Program    string
	Args       []string

	Disk        string // the directory of a shared disk, if there is one
	BackupReads bool   // reads of it are done by the backup too
	disk        *shareddisk.Disk
}

// What the process is told and says, a line each. saidGuest is followed by a line of the
// program's, saidUsage by a ftvmUsage as JSON.
const (
	tellEnter  = "enter" // a line for the program's standard input
	tellUsage  = "usage"
	saidUp     = "started"
	saidPaired = "paired"
	saidGuest  = "guest "
	saidUsage  = "usage "
)

// A ftvmUsage is what a process has used since it started.
type ftvmUsage struct {
	CPU      time.Duration
	LogBytes int64
	Pause    time.Duration // of the last clone
	Clone    time.Duration // in all
}

// ftvmMemory is what a program may use.
const ftvmMemory = 512 << 20

// A lineWriter prints lines of several goroutines.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) say(parts ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.w, strings.Join(parts, ""))
}

// guest is the program's standard output.
type guestWriter struct{ to *lineWriter }

func (g guestWriter) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		g.to.say(saidGuest, strings.TrimSuffix(line, "\n"))
	}
	return len(b), nil
}

// serve is main of the process.
func (n *ftvmNode) serve(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	elf, err := os.ReadFile(n.Program)
	if err != nil {
		return err
	}
	cfg := rv64.Config{Args: n.Args, Memory: ftvmMemory, Start: time.Now()}
	if n.Disk != "" {
		cfg.Shared = "/shared"
		if n.disk, err = shareddisk.Open(shareddisk.Directory(n.Disk), nil); err != nil {
			return err
		}
		defer n.disk.Close()
	}
	m, err := rv64.Load(elf, cfg)
	if err != nil {
		return err
	}
	out := &lineWriter{w: stdout}
	if n.Solo {
		return n.alone(ctx, cancel, m, stdin, out)
	}
	return n.member(ctx, cancel, m, stdin, out)
}

// obey does what the lines say, until they end.
func obey(stdin io.Reader, out *lineWriter, enter func(), usage func() ftvmUsage) {
	for in := bufio.NewScanner(stdin); in.Scan(); {
		switch in.Text() {
		case tellEnter:
			enter()
		case tellUsage:
			u := usage()
			u.CPU = processTime()
			b, _ := json.Marshal(u) // never fails
			out.say(saidUsage, string(b))
		}
	}
}

func (n *ftvmNode) alone(ctx context.Context, cancel context.CancelFunc, m *rv64.Machine, stdin io.Reader, out *lineWriter) error {
	input, typed := io.Pipe()
	go func() {
		defer cancel()
		obey(stdin, out, func() { io.WriteString(typed, "\n") }, func() ftvmUsage { return ftvmUsage{} })
	}()
	out.say(saidUp)
	host := rv64.HostConfig{Stdin: input, Stdout: guestWriter{out}, Listen: func(uint16) (net.Listener, error) {
		return net.Listen("tcp", n.Addr)
	}}
	if n.disk != nil {
		do, end := n.disk.Host()
		host.Disk = do
		defer end(ctx)
	}
	_, err := rv64.Drive(ctx, m, host)
	typed.Close()
	if ctx.Err() != nil {
		return nil
	}
	<-ctx.Done() // the program has ended; what it has used is still asked for
	return err
}

func (n *ftvmNode) member(ctx context.Context, cancel context.CancelFunc, m *rv64.Machine, stdin io.Reader, out *lineWriter) (err error) {
	mode := vmft.ModeReplay
	if n.Transfer {
		mode = vmft.ModeTransfer
	}
	cfg := vmft.Config{
		Transport: &transport.TCP{}, Addr: n.Addr, Peers: n.Peers, Arbiter: vmft.DirArbiter(n.Lock), Processor: m, Network: rv64.Network{}, Mode: mode,
	}
	if n.BackupReads {
		cfg.Fetch = n.disk.Fetch
	}
	node, err := vmft.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	entered := make(chan struct{}, 1)
	go func() {
		defer cancel()
		obey(stdin, out, func() { entered <- struct{}{} }, func() ftvmUsage {
			s := node.Status()
			return ftvmUsage{LogBytes: s.LogBytes, Pause: s.LastPause, Clone: s.LastClone}
		})
	}()
	go func() {
		for {
			port, err := node.Port(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					select {
					case <-entered:
						_ = port.Input(port.Term(), rv64.InputEvent([]byte("\n"))) // the term may end
					case <-port.Term().Done():
						return
					}
				}
			}()
			n.attend(ctx, port, guestWriter{out})
		}
	}()
	out.say(saidUp)
	told := uint64(0)
	_ = awaitThat(ctx, func() bool { // until the end
		s := node.Status()
		if s.Role == vmft.RolePrimary && !s.Newest.Backup.IsZero() && s.Newest.Epoch != told {
			told = s.Newest.Epoch
			out.say(saidPaired)
		}
		return s.Role == vmft.RoleEnded
	})
	return nil
}

// attend shows what a program prints, and does what it wants done on its shared disk.
func (n *ftvmNode) attend(ctx context.Context, port *vmft.Port, stdout io.Writer) {
	var disk *shareddisk.Server
	if n.disk != nil {
		disk = n.disk.Serve(port, n.BackupReads)
		defer disk.Close()
	}
	for {
		o, err := port.Next(ctx)
		if err != nil {
			return
		}
		out, err := rv64.ParseOutput(o.Data)
		switch {
		case err != nil:
		case out.Kind == rv64.OutputDisk && disk != nil:
			if r, err := rv64.ParseDiskRequest(out.Data); err == nil {
				disk.Do(r, o.Number, o.Again)
			}
			continue
		case out.Kind == rv64.OutputData && out.Conn == 1:
			stdout.Write(out.Data)
		}
		if port.Complete(nil, o.Number) != nil {
			return
		}
	}
}
