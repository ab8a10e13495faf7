package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/examples/internal/guest"
	"github.com/trilith-go/trilith/examples/internal/nodes"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/rv64"
	"github.com/trilith-go/trilith/vmft/shareddisk"
)

//go:embed guest/main.go guest/journal.go guest/page.html
var guestSource embed.FS

// pageTimeout is how long whoever asks for a status page may take to do so.
const pageTimeout = 10 * time.Second

// startNode starts a node that runs a program.
func (o *options) startNode(ctx context.Context, cfg vmft.Config, elf []byte, disk *shareddisk.Disk) (*vmft.Node, error) {
	m, err := o.machine(elf, disk != nil)
	if err != nil {
		return nil, err
	}
	if o.reads == "backup" {
		cfg.Fetch = disk.Fetch
	}
	cfg.Processor, cfg.Network = m, rv64.Network{}
	if o.mode {
		cfg.Mode = vmft.ModeTransfer
	}
	return vmft.Start(ctx, cfg)
}

// machine returns one that runs a program, with a shared disk or without. The first of a group
// decides what the program's randomness and clock begin with; the others get its state.
func (o *options) machine(elf []byte, shared bool) (*rv64.Machine, error) {
	args := []string{"guest"}
	if len(o.args) > 0 {
		args = o.args
	}
	seed, err := guest.Seed()
	if err != nil {
		return nil, err
	}
	machine := rv64.Config{
		Args: args, Memory: o.size << 20, Start: time.Now(), Seed: seed, Env: []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp"},
	}
	if shared {
		machine.Shared = guestDisk
		machine.Env = append(machine.Env, "DATA="+guestDisk)
	}
	return rv64.Load(elf, machine)
}

// serve is what the process of one node does. It prints events, one a line, and ends with
// ctx, or when whoever has started it has gone.
func (o *options) serve(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.child {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	}
	disk, err := o.openDisk(ctx, stderr)
	if err != nil {
		return err
	}
	if disk != nil {
		defer disk.Close()
	}
	elf, err := o.program(ctx)
	if err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "ftvm", Output: stderr, Level: hclog.Error})
	n, err := o.startNode(ctx, vmft.Config{
		Transport: &transport.TCP{}, Addr: o.node, Peers: o.others, Arbiter: vmft.DirArbiter(o.lock), Logger: log,
	}, elf, disk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if o.status != "" {
		l, err := net.Listen("tcp", o.status)
		if err != nil {
			return err
		}
		page := &http.Server{Handler: n.StatusHandler(), ReadHeaderTimeout: pageTimeout}
		defer page.Close()
		go page.Serve(l)
	}
	console := stdout
	if o.child {
		console = stderr // stdout is for events
	}
	go o.attend(ctx, n, disk, console, stderr)
	out := json.NewEncoder(stdout)
	nodes.Watch(ctx, n, func(e nodes.Event) {
		if !o.child {
			fmt.Fprintln(stdout, e.At.Format(time.TimeOnly), e.Text())
			return
		}
		if out.Encode(e) != nil {
			cancel() // nobody reads
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	if err := n.Wait(ctx); !errors.Is(err, vmft.ErrPoweredOff) {
		return err
	}
	return nil
}

// attend does what the program wants done outside of its streams, while its node is the
// primary, until the node has ended.
func (o *options) attend(ctx context.Context, n *vmft.Node, disk *shareddisk.Disk, stdout, stderr io.Writer) {
	for {
		port, err := n.Port(ctx)
		if err != nil {
			return
		}
		w := newOutside(port, stdout, stderr)
		if disk != nil {
			w.disk = disk.Serve(port, o.reads == "backup")
		}
		w.run(ctx, n)
		if disk != nil {
			w.disk.Close()
		}
	}
}

// An outside is what the program is connected to beside its streams, in one epoch: its
// standard output, and those that it connects to.
type outside struct {
	port           *vmft.Port
	stdout, stderr io.Writer
	disk           *shareddisk.Server // nil: there is none
	conns          map[uint64]*opened
}

// An opened is a connection that the program has opened.
type opened struct {
	net.Conn
	room chan int // bytes that the program has read, and that may come in their place
}

// openedWindow is what may have come in on a connection and not been read, as the machine
// has it.
const openedWindow = 256 << 10

func newOutside(port *vmft.Port, stdout, stderr io.Writer) *outside {
	return &outside{port: port, stdout: stdout, stderr: stderr, conns: make(map[uint64]*opened)}
}

// run does what leaves, in order. A connection that an earlier primary has opened is not here,
// and breaks as soon as the program has something to say on it.
func (w *outside) run(ctx context.Context, n *vmft.Node) {
	defer func() {
		for _, c := range w.conns {
			c.Close()
		}
	}()
	if err := w.port.Input(w.port.Term(), rv64.InputEndEvent()); err != nil { // the program is no terminal's
		return
	}
	for {
		o, err := w.port.Next(ctx)
		if err != nil {
			return
		}
		out, err := rv64.ParseOutput(o.Data)
		if err != nil {
			fmt.Fprintln(w.stderr, "ftvm:", err)
		}
		if out.Kind == rv64.OutputDisk {
			if err := w.ask(&out, o); err != nil {
				fmt.Fprintln(w.stderr, "ftvm:", err)
				return
			}
			continue
		}
		event := w.do(&out)
		if err := w.port.Complete(event, o.Number); err != nil {
			return
		}
		if out.Kind == rv64.OutputExit {
			fmt.Fprintf(w.stderr, "ftvm: the program has ended with status %d\n", out.Number)
			if w.disk != nil {
				if err := w.disk.Drain(ctx); err != nil {
					fmt.Fprintln(w.stderr, "ftvm:", err)
					return
				}
			}
			if err := n.PowerOff(ctx); err != nil {
				fmt.Fprintln(w.stderr, "ftvm:", err)
			}
			return
		}
	}
}

// ask hands a request to the shared disk, which completes it.
func (w *outside) ask(out *rv64.Output, o vmft.Output) error {
	r, err := rv64.ParseDiskRequest(out.Data)
	if err == nil && w.disk == nil {
		err = errors.New("the program has a shared disk, and this node has none: all need the same -shared")
	}
	if err == nil {
		w.disk.Do(r, o.Number, o.Again)
	}
	return err
}

// do does one thing, and returns what the program is to be told of it, or nil.
func (w *outside) do(out *rv64.Output) []byte {
	switch out.Kind {
	case rv64.OutputData:
		switch out.Conn {
		case 1:
			w.stdout.Write(out.Data)
		case 2:
			w.stderr.Write(out.Data)
		default:
			return w.send(out)
		}
	case rv64.OutputWindow:
		if c := w.conns[out.Conn]; c != nil {
			select {
			case n := <-c.room: // not looked at yet
				c.room <- n + int(out.Number)
			default:
				c.room <- int(out.Number)
			}
		}
	case rv64.OutputDial:
		return w.dial(out)
	case rv64.OutputShutdown, rv64.OutputClose:
		if c := w.conns[out.Conn]; c != nil {
			if h, ok := c.Conn.(interface{ CloseWrite() error }); ok && out.Kind == rv64.OutputShutdown {
				h.CloseWrite()
				break
			}
			delete(w.conns, out.Conn)
			close(c.room)
			c.Close()
		}
	}
	return nil
}

// dialPatience is how long the program waits for a connection that it opens.
const dialPatience = 5 * time.Second

// dial connects the program. It waits for that meanwhile, and so do its other outputs of this
// kind: programs that dial much want a sidecar of their own.
func (w *outside) dial(out *rv64.Output) []byte {
	const refused = 111 // ECONNREFUSED
	addr := netip.AddrPortFrom(netip.AddrFrom16(out.IP).Unmap(), out.Port)
	c, err := net.DialTimeout("tcp", addr.String(), dialPatience)
	if err != nil {
		return rv64.DialedEvent(out.Conn, refused)
	}
	o := &opened{c, make(chan int, 1)}
	w.conns[out.Conn] = o
	go w.receive(out.Conn, o)
	return rv64.DialedEvent(out.Conn, 0)
}

// receive tells the program of what comes in, for which it has room.
func (w *outside) receive(id uint64, c *opened) {
	b := make([]byte, 32<<10)
	for room := openedWindow; ; {
		for room == 0 {
			select {
			case n, open := <-c.room:
				if !open {
					return
				}
				room = n
			case <-w.port.Term().Done():
				return
			}
		}
		n, err := c.Read(b[:min(room, len(b))])
		room -= n
		if n > 0 && w.port.Input(w.port.Term(), rv64.DataEvent(id, b[:n])) != nil {
			return
		}
		if err != nil {
			_ = w.port.Input(w.port.Term(), rv64.EndEvent(id)) // the term may be over
			return
		}
	}
}

func (w *outside) send(out *rv64.Output) []byte {
	c := w.conns[out.Conn]
	if c == nil {
		return rv64.ResetEvent(out.Conn)
	}
	if _, err := c.Write(out.Data); err != nil {
		return rv64.ResetEvent(out.Conn)
	}
	return rv64.TakenEvent(out.Conn, len(out.Data))
}
