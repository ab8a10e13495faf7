package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/examples/internal/guest"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/vmft/rv64"
)

func main() {
	status, err := run(local.Context(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	if err != nil {
		status = local.Status("rv64", "rv64 -help", err, os.Stderr)
	}
	os.Exit(status)
}

// options are the command line.
type options struct {
	record, replay string
	until          uint64
	trace          bool
	writeBack      bool
	ports          map[uint16]string // of the guest → where it is reached
	root, dir      string
	memory         int64
	args           []string
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{ports: make(map[uint16]string)}
	f := flag.NewFlagSet("rv64", flag.ContinueOnError)
	f.StringVar(&o.record, "record", "", "write a log of what happens to this `file`")
	f.StringVar(&o.replay, "replay", "", "replay the log in this `file`")
	f.Uint64Var(&o.until, "until", 0, "with -replay: stop before this `instruction`, and show where the guest is")
	f.BoolVar(&o.trace, "trace", false, "say every 10 million instructions where the guest is")
	f.StringVar(&o.root, "root", "", "the guest finds a copy of this `directory` as /")
	f.BoolVar(&o.writeBack, "write-back", false, "at the end, write what the guest has changed to the directory of -root")
	f.StringVar(&o.dir, "dir", "/", "the guest's working `directory`")
	f.Int64Var(&o.memory, "memory", 1024, "what the guest may use, in `MiB`")
	f.Func("listen", "`port:guestport` or address:port:guestport: reach the guest's port there; may be repeated", func(s string) error {
		i := strings.LastIndexByte(s, ':')
		guest, err := strconv.ParseUint(s[i+1:], 10, 16)
		if i < 0 || err != nil {
			return errors.New("want port:guestport")
		}
		addr := s[:i]
		if !strings.Contains(addr, ":") {
			addr = "127.0.0.1:" + addr
		}
		if _, port, err := net.SplitHostPort(addr); err != nil {
			return err
		} else if _, err := net.LookupPort("tcp", port); err != nil {
			return err
		}
		o.ports[uint16(guest)] = addr
		return nil
	})
	if err := local.Parse(f, args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "Usage: rv64 [flags] [program or package] [args]\n\nFlags:")
			f.SetOutput(stderr)
			f.PrintDefaults()
		}
		return nil, err
	}
	o.args = f.Args()
	switch {
	case o.replay != "" && (o.record != "" || len(o.args) > 0):
		return nil, local.BadUsage("-replay takes no program and goes with no -record: the log has the program")
	case o.writeBack && o.root == "":
		return nil, local.BadUsage("-write-back needs -root: that is where it writes")
	case o.until != 0 && o.replay == "":
		return nil, local.BadUsage("-until needs -replay")
	case o.memory < 1 || o.memory > 1<<17:
		return nil, local.BadUsage("-memory %d: must be 1 to 131072", o.memory)
	}
	return o, nil
}

// run is the program. It returns the guest's exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	o, err := parse(args, stderr)
	switch {
	case err != nil:
		return 0, err
	case o.replay != "":
		return o.replayLog(stdout, stderr)
	case len(o.args) == 0:
		return 0, demonstrate(ctx, stdout)
	}
	elf, err := guest.Program(ctx, o.args[0])
	if err != nil {
		return 0, err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "rv64", Output: stderr, Level: hclog.Warn})
	cfg := rv64.Config{
		Args: o.args, Dir: o.dir, Memory: o.memory << 20, Start: time.Now(), Logger: log,
		Env: []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp"},
	}
	if cfg.Seed, err = guest.Seed(); err != nil {
		return 0, err
	}
	if o.root != "" {
		cfg.Root = os.DirFS(o.root)
	}
	m, err := rv64.Load(elf, cfg)
	if err != nil {
		return 0, err
	}
	host := rv64.HostConfig{Stdin: stdin, Stdout: stdout, Stderr: stderr, Logger: log, Listen: o.listen, Dial: new(net.Dialer).DialContext}
	if o.trace {
		host.Trace = func(m *rv64.Machine) { fmt.Fprintln(stderr, where(m)) }
	}
	status, err := o.drive(ctx, m, host)
	if crash := m.Crash(); crash != nil {
		fmt.Fprintf(stderr, "the guest was killed: %v\n", crash)
		show(stderr, m)
	}
	if o.writeBack {
		err = errors.Join(err, m.Export(o.root))
	}
	return status, err
}

// drive runs the machine, and writes the log if there is to be one.
func (o *options) drive(ctx context.Context, m *rv64.Machine, host rv64.HostConfig) (int, error) {
	if o.record == "" {
		return rv64.Drive(ctx, m, host)
	}
	f, err := os.Create(o.record)
	if err != nil {
		return 0, err
	}
	host.Record = f
	status, err := rv64.Drive(ctx, m, host)
	return status, errors.Join(err, f.Close())
}

// listen opens what -listen says for a port of the guest.
func (o *options) listen(port uint16) (net.Listener, error) {
	if addr := o.ports[port]; addr != "" {
		return net.Listen("tcp", addr)
	}
	return nil, nil
}

func where(m *rv64.Machine) string {
	return fmt.Sprintf("%d: %v", m.Position(), m.Backtrace()[0])
}

// show prints registers and calls.
func show(w io.Writer, m *rv64.Machine) {
	fmt.Fprint(w, m.Registers())
	for _, f := range m.Backtrace() {
		fmt.Fprintln(w, f)
	}
}

// replayLog runs along a log.
func (o *options) replayLog(stdout, stderr io.Writer) (int, error) {
	f, err := os.Open(filepath.Clean(o.replay))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := rv64.NewReplayer(bufio.NewReaderSize(f, 1<<20), rv64.Config{})
	if err != nil {
		return 0, err
	}
	r.Output = func(out rv64.Output) {
		switch {
		case out.Kind == rv64.OutputData && out.Conn == 1:
			stdout.Write(out.Data)
		case out.Kind == rv64.OutputData && out.Conn == 2:
			stderr.Write(out.Data)
		}
	}
	const step = 10_000_000
	for m := r.Machine(); !r.Done() && (o.until == 0 || m.Position() < o.until); {
		next := m.Position() + step
		if o.until != 0 {
			next = min(next, o.until)
		}
		if _, err := r.Run(next); err != nil {
			return 0, err
		}
		if o.trace {
			fmt.Fprintln(stderr, where(m))
		}
	}
	m := r.Machine()
	fmt.Fprintf(stderr, "at instruction %d the state's hash is %x\n", m.Position(), m.Hash())
	if o.until != 0 {
		show(stderr, m)
	}
	status, _ := m.Exited()
	return status, nil
}
