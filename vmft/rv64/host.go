package rv64

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// HostConfig says what a machine is connected to. The zero value is a machine that
// nothing reaches and whose output nobody sees, in real time.
type HostConfig struct {
	// Stdin is read as the program reads it. Default: empty.
	Stdin io.Reader
	// Stdout and Stderr are written to while the machine waits. Default: dropped.
	Stdout, Stderr io.Writer

	// Listen is asked for a listener when the program listens on a port. An error is
	// logged, and nobody can connect. Default: no port is reachable.
	Listen func(port uint16) (net.Listener, error)
	// ListenPacket is asked for when the program binds a port for datagrams, or sends one
	// from it to somewhere outside. Default: datagrams are dropped.
	ListenPacket func(port uint16) (net.PacketConn, error)
	// Dial connects the program to what is outside. Default: it finds nothing reachable.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Disk is given what the machine wants done on its shared disk, in order, and does not
	// wait; answer takes the events that come of it, from any goroutine. Package shareddisk
	// has one. It is required if the machine's Config.Shared is set.
	Disk func(r DiskRequest, answer func(event []byte))

	// Record is where the log goes. Default: nothing is recorded.
	Record io.Writer
	// Interval is after how many instructions the log has a digest. Default: DefaultInterval.
	Interval uint64

	// Trace is called every 10 million instructions or so, between two steps. Default: nothing.
	Trace func(*Machine)

	// Logger is told what fails outside. Default: nobody.
	Logger hclog.Logger
}

const (
	hostTurn    = 2_000_000 // instructions between two looks at the clock
	hostTrace   = 10_000_000
	hostLag     = time.Millisecond
	hostConns   = 4096 // connections at once; more are closed at once
	inputWindow = 64 << 10
)

// A host drives a machine. One goroutine owns the machine; the others, one for each
// source of events, hand those to it.
type host struct {
	cfg    HostConfig
	m      *Machine
	run    func(until uint64) uint64
	inject func(event []byte) error

	ctx    context.Context
	events chan []byte
	tasks  sync.WaitGroup

	// Of the goroutine that owns the machine.
	conns     map[uint64]*hostConn
	nextConn  uint64
	listeners map[uint16]net.Listener
	packets   map[uint16]net.PacketConn
	input     chan int // bytes of standard input that may be read more

	fresh chan *hostConn // connections that were accepted or dialed
}

// Drive runs a machine in real time, until the program has exited or ctx has ended.
// It returns the exit status. Everything that it has started has ended when it
// returns, except a Read of Stdin that nobody interrupts. The error is ctx's, or one
// of recording or of writing to Stdout or Stderr.
func Drive(ctx context.Context, m *Machine, cfg HostConfig) (status int, err error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	ctx, cancel := context.WithCancel(ctx)
	h := &host{
		cfg: cfg, m: m, run: m.Run, inject: m.Inject, ctx: ctx, events: make(chan []byte, 64), fresh: make(chan *hostConn, 16),
		conns: make(map[uint64]*hostConn), nextConn: 1 << 32, listeners: make(map[uint16]net.Listener), packets: make(map[uint16]net.PacketConn),
		input: make(chan int, 1024),
	}
	// The machine looks for the end of ctx by being interrupted.
	stopWatch := context.AfterFunc(ctx, m.Interrupt)
	defer func() {
		stopWatch()
		cancel()
		h.closeAll()
		h.tasks.Wait()
	}()
	var rec *Recorder
	if cfg.Record != nil {
		if rec, err = NewRecorder(m, cfg.Record, cfg.Interval); err != nil {
			return 0, err
		}
		h.run, h.inject = rec.Run, rec.Inject
	}
	h.readInput()
	err = h.loop(ctx)
	if rec != nil {
		err = errors.Join(err, rec.Close())
	}
	status, _ = m.Exited()
	return status, err
}

// loop alternates between running the machine and telling it what has happened.
func (h *host) loop(ctx context.Context) error {
	start, traced := time.Now().Add(-h.m.Now()), uint64(0)
	for {
		if at := h.m.Position(); h.cfg.Trace != nil && at >= traced+hostTrace {
			h.cfg.Trace(h.m)
			traced = at
		}
		if err := h.outputs(); err != nil {
			return err
		}
		if _, exited := h.m.Exited(); exited {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := h.arrived(); err != nil {
			return err
		}
		ahead := h.m.Now() - time.Since(start)
		if ahead < -hostLag {
			if err := h.inject(SkipEvent(-ahead)); err != nil {
				return err
			}
		}
		wake, idle := h.m.Idle()
		if !idle {
			h.run(h.m.Position() + hostTurn)
			continue
		}
		if err := h.wait(ctx, wake, ahead, start); err != nil {
			return err
		}
	}
}

// wait waits for an event or for the time that an idle machine waits for.
func (h *host) wait(ctx context.Context, wake, ahead time.Duration, start time.Time) error {
	var timer <-chan time.Time
	if wake >= 0 {
		t := time.NewTimer(wake + max(ahead, 0))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-timer:
		if missing := max(time.Since(start)-h.m.Now(), wake); missing > 0 {
			return h.inject(SkipEvent(missing))
		}
	case e := <-h.events:
		return h.event(e)
	case c := <-h.fresh:
		return h.connected(c)
	case <-ctx.Done():
	}
	return nil
}

// arrived injects all events that have come in.
func (h *host) arrived() error {
	for {
		select {
		case e := <-h.events:
			if err := h.event(e); err != nil {
				return err
			}
		case c := <-h.fresh:
			if err := h.connected(c); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// event injects one. One that the machine refuses, because the connection it is about
// has changed meanwhile, is logged.
func (h *host) event(e []byte) error {
	err := h.inject(e)
	if errors.Is(err, ErrBadEvent) {
		h.cfg.Logger.Warn("an event was refused", "error", err)
		return nil
	}
	return err
}

// send hands an event to the goroutine that owns the machine.
func (h *host) send(e []byte) bool {
	select {
	case h.events <- e:
		h.m.Interrupt()
		return true
	case <-h.ctx.Done():
		return false
	}
}

// outputs does what the machine wants done outside.
func (h *host) outputs() error {
	for {
		_, b, ok := h.m.NextOutput()
		if !ok {
			return nil
		}
		o, err := ParseOutput(b)
		if err != nil {
			return err
		}
		if err := h.output(o); err != nil {
			return err
		}
	}
}

func (h *host) output(o Output) error {
	switch o.Kind {
	case OutputData:
		if o.Conn >= firstConn {
			if c := h.conns[o.Conn]; c != nil {
				c.queue(o.Data)
			}
			return nil
		}
		w := h.cfg.Stdout
		if o.Conn == 2 {
			w = h.cfg.Stderr
		}
		if w == nil {
			return nil
		}
		if _, err := w.Write(o.Data); err != nil {
			return fmt.Errorf("rv64: writing the program's output: %w", err)
		}
	case OutputWindow:
		if o.Conn == 0 {
			select {
			case h.input <- int(o.Number):
			default: // the reader has ended
			}
		} else if c := h.conns[o.Conn]; c != nil {
			c.grant(int(o.Number))
		}
	case OutputListen:
		h.listen(uint16(o.Conn))
	case OutputUnlisten:
		if l := h.listeners[uint16(o.Conn)]; l != nil {
			l.Close()
			delete(h.listeners, uint16(o.Conn))
		}
	case OutputDial:
		h.dial(o)
	case OutputShutdown, OutputClose:
		if c := h.conns[o.Conn]; c != nil {
			c.end(o.Kind == OutputClose)
			if o.Kind == OutputClose {
				delete(h.conns, o.Conn)
			}
		}
	case OutputBind, OutputUnbind, OutputPacket:
		h.packet(o)
	case OutputDisk:
		r, err := ParseDiskRequest(o.Data)
		if err != nil {
			return err
		}
		if h.cfg.Disk == nil {
			return errors.New("rv64: the machine has a shared disk, and HostConfig.Disk is missing")
		}
		h.cfg.Disk(r, func(event []byte) { h.send(event) })
	}
	return nil
}

// readInput begins to read standard input, never more than the program's window.
func (h *host) readInput() {
	if h.cfg.Stdin == nil {
		h.tasks.Go(func() { h.send(InputEndEvent()) })
		return
	}
	go func() {
		window, b := inputWindow, make([]byte, inputWindow)
		for {
			for window == 0 {
				select {
				case n := <-h.input:
					window += n
				case <-h.ctx.Done():
					return
				}
			}
			n, err := h.cfg.Stdin.Read(b[:window])
			if n > 0 && !h.send(InputEvent(b[:n])) {
				return
			}
			window -= n
			if err != nil {
				h.send(InputEndEvent())
				return
			}
			for more := true; more; {
				select {
				case n := <-h.input:
					window += n
				default:
					more = false
				}
			}
		}
	}()
}
