package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/examples/internal/guest"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/nodes"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return local.Program{Name: "ftvm", Usage: "ftvm [flags] [program or package] [args]", Define: func(f *flag.FlagSet) func([]string) error {
		var o options
		o.define(f)
		return func(args []string) error {
			set := make(map[string]bool)
			f.Visit(func(f *flag.Flag) { set[f.Name] = true })
			o.args = args
			if err := o.check(set); err != nil {
				return err
			}
			switch {
			case o.node != "":
				return o.serve(ctx, stdin, stdout, stderr)
			case o.connect != "":
				return o.sidecar(ctx, stdout, stderr)
			}
			return o.show(ctx, stdout, stderr)
		}
	}}.Run(args, stderr)
}

// options are the command line.
type options struct {
	memory  bool
	chaos   time.Duration
	length  time.Duration
	forward string
	port    uint
	size    int64
	shared  string
	reads   string
	mode    bool // state transfer
	args    []string

	node    string
	peers   string
	others  []string // peers or connect, parsed
	lock    string
	status  string
	child   bool
	connect string
}

func (o *options) define(f *flag.FlagSet) {
	f.BoolVar(&o.memory, "memory", false, "run all nodes in this process, on a network in memory")
	f.DurationVar(&o.chaos, "chaos", 0, "kill the primary every so often (default: never)")
	f.DurationVar(&o.length, "for", 0, "how long to go on (default: until interrupted)")
	f.StringVar(&o.forward, "forward", "127.0.0.1:8080", "the `address` at which plain clients reach the program")
	f.UintVar(&o.port, "port", 8080, "the port that the program listens on")
	f.Int64Var(&o.size, "size", 256, "what the program may use of memory, in `MiB`")
	f.StringVar(&o.shared, "shared", "", "a shared disk, which the program finds at "+guestDisk+": a `directory` that all nodes reach, gfs:address/directory, or gfs for one of this program's own")
	f.StringVar(&o.reads, "reads", "logged", "how the backup learns what is read from the shared disk: `logged`, or backup: it reads too")
	f.BoolVar(&o.mode, "transfer", false, "keep the backup by sending what has changed in the machine, rather than what it is told (on all nodes alike)")
	f.StringVar(&o.node, "node", "", "run one node only, at this `address`, host:port")
	f.StringVar(&o.peers, "peers", "", "with -node: the `addresses` of the other nodes, separated by commas")
	f.StringVar(&o.lock, "lock", "", "with -node: a `directory` that all nodes share, which decides who is the primary")
	f.StringVar(&o.status, "status", "", "with -node: the `address` of the node's status page (default: none)")
	f.BoolVar(&o.child, "child", false, "with -node: print events as JSON, and end when stdin does")
	f.StringVar(&o.connect, "connect", "", "run the sidecar only, for nodes at these `addresses`, separated by commas")
}

// check finds what is wrong with the command line.
func (o *options) check(set map[string]bool) error {
	useless := func(why string, names ...string) error {
		for _, name := range names {
			if set[name] {
				return local.BadUsage("-%s is of no use %s", name, why)
			}
		}
		return nil
	}
	var err error
	switch {
	case o.node != "" && o.connect != "":
		return local.BadUsage("-node and -connect are different processes: give one of them")
	case o.node != "":
		err = useless("with -node", "memory", "chaos", "for", "forward", "port")
		if err == nil {
			err = o.checkNode()
		}
	case o.connect != "":
		err = useless("with -connect", "memory", "chaos", "for", "size", "transfer", "shared", "reads", "peers", "lock", "status", "child")
		if err == nil && len(o.args) > 0 {
			err = local.BadUsage("unexpected argument %q: the program runs on the nodes", o.args[0])
		}
		if err == nil {
			o.others, err = addresses("connect", o.connect)
		}
	default:
		err = useless("without -node", "peers", "lock", "status", "child")
	}
	switch {
	case err != nil:
		return err
	case o.chaos < 0:
		return local.BadUsage("-chaos %v: must be positive", o.chaos)
	case o.length < 0:
		return local.BadUsage("-for %v: must be positive", o.length)
	case !local.Listenable(o.forward):
		return local.BadUsage("-forward is %q, not host:port; the host may be missing", o.forward)
	case o.port < 1 || o.port > 65535:
		return local.BadUsage("-port %d: must be 1 to 65535", o.port)
	case o.size < 16 || o.size > 1<<17:
		return local.BadUsage("-size %d: must be 16 to 131072", o.size)
	}
	return o.checkShared()
}

// checkNode finds what is wrong with the flags of a node.
func (o *options) checkNode() (err error) {
	switch {
	case !local.Named(o.node):
		return local.BadUsage("-node is %q: it has to name the host and the port, by which the others find it", o.node)
	case o.lock == "":
		return local.BadUsage("-node needs -lock, the directory that decides who is the primary")
	case o.status != "" && !local.Listenable(o.status):
		return local.BadUsage("-status is %q, not host:port; the host may be missing", o.status)
	case o.peers == "":
		return nil
	}
	o.others, err = addresses("peers", o.peers)
	return err
}

// addresses reads a list of them.
func addresses(name, list string) ([]string, error) {
	all := strings.Split(list, ",")
	for _, addr := range all {
		if !local.Named(addr) {
			return nil, local.BadUsage("-%s is %q: %q is not host:port", name, list, addr)
		}
	}
	return all, nil
}

// sidecar carries connections to nodes that run elsewhere.
func (o *options) sidecar(ctx context.Context, stdout, stderr io.Writer) error {
	log := hclog.New(&hclog.LoggerOptions{Name: "ftvm", Output: stderr, Level: hclog.Warn})
	c, err := vmft.NewClient(rpc.ClientConfig{Transport: &transport.TCP{}, Addrs: o.others, Logger: log})
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := net.Listen("tcp", o.forward)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "connections to %s go to port %d of the program\n", l.Addr(), o.port)
	return ended(ctx, vmft.Forward(ctx, l, c, uint16(o.port)))
}

// ended returns err, unless it is that of an interrupt.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// show runs all nodes and the sidecar, and kills primaries if it is asked to.
func (o *options) show(ctx context.Context, stdout, stderr io.Writer) (err error) {
	stdout, stderr = nodes.Shared(stdout), nodes.Shared(stderr)
	if err := o.tryDisk(ctx, stderr); err != nil {
		return err
	}
	elf, err := o.program(ctx)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.forward)
	if err != nil {
		return err
	}
	defer l.Close()
	if o.shared == gfsItself {
		end, err2 := o.ownGFS(ctx, stdout)
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	g, err := o.open(ctx, elf, stdout, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	s := &nodes.Scenes{Group: g, Out: stdout}
	if err := s.Form(ctx); err != nil {
		return ended(ctx, err)
	}
	c, err := vmft.Dial(g.Clients, g.Addrs...)
	if err != nil {
		return err
	}
	defer c.Close()
	if len(o.args) == 0 {
		if err := listens(ctx, c, uint16(o.port)); err != nil {
			return ended(ctx, err)
		}
	}
	life, cancel := context.WithCancel(ctx)
	forwarded := make(chan error, 1)
	go func() { forwarded <- vmft.Forward(life, l, c, uint16(o.port)) }()
	defer func() { cancel(); <-forwarded }()
	fmt.Fprintf(stdout, "the program's port %d is reached at %s, as http://%s if it serves that\n\n", o.port, l.Addr(), l.Addr())

	w := newWitness(l.Addr().String(), len(o.args) == 0)
	w.kept = o.shared != ""
	s.Failed = w.failed
	w.start(life)
	kills, err := s.Run(ctx, o.length, o.chaos, w)
	if err == nil || ctx.Err() != nil {
		err = w.end()
	}
	if err != nil {
		return err
	}
	w.report(stdout, kills)
	return nil
}

// listens waits until the program listens on a port.
func listens(ctx context.Context, c *vmft.Client, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, nodes.Patience)
	defer cancel()
	for {
		s, err := vmft.DialStream(ctx, c, port)
		if err == nil {
			return s.Close()
		}
		if !errors.Is(err, vmft.ErrStreamRefused) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the program does not listen on port %d: %w", port, err)
		}
	}
}

// program returns what the machine executes, which it can.
func (o *options) program(ctx context.Context) (elf []byte, err error) {
	if len(o.args) == 0 {
		elf, err = guest.Build(ctx, guestSource, "guest")
	} else {
		elf, err = guest.Program(ctx, o.args[0])
	}
	if err != nil {
		return nil, err
	}
	_, err = o.machine(elf, o.shared != "")
	return elf, err
}

// openMemory makes a group in this process, with a status page for each node.
func (o *options) openMemory(elf []byte, stdout, stderr io.Writer) (*nodes.Group, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	var pages pages
	server := &http.Server{Handler: &pages, ReadHeaderTimeout: pageTimeout}
	g, err := nodes.InMemory(func(ctx context.Context, cfg vmft.Config) (*vmft.Node, error) {
		disk, err := o.openDisk(ctx, stderr)
		if err != nil {
			return nil, err
		}
		n, err := o.startNode(ctx, cfg, elf, disk)
		if err == nil {
			pages.set(cfg.Addr, n.StatusHandler())
			go o.attend(context.WithoutCancel(ctx), n, disk, stdout, stderr)
		}
		return n, err
	}, server.Close)
	if err != nil {
		l.Close()
		return nil, err
	}
	go server.Serve(l)
	for i, addr := range g.Addrs {
		host, _, _ := net.SplitHostPort(addr) // it has a port
		fmt.Fprintf(stdout, "the status page of node %d is http://%s/%s/\n", i+1, l.Addr(), host)
	}
	return g, nil
}

// pages serves the status pages of the nodes in this process, each below the name of its host.
type pages struct{ hosts sync.Map }

func (p *pages) set(addr string, page http.Handler) {
	host, _, _ := net.SplitHostPort(addr) // it has a port
	p.hosts.Store(host, http.StripPrefix("/"+host, page))
}

// ServeHTTP implements http.Handler.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, slash := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	page, ok := p.hosts.Load(host)
	switch {
	case !ok:
		http.NotFound(w, r)
	case !slash:
		http.Redirect(w, r, r.URL.Path+"/", http.StatusMovedPermanently)
	default:
		page.(http.Handler).ServeHTTP(w, r)
	}
}

// open makes the group that the flags ask for.
func (o *options) open(ctx context.Context, elf []byte, stdout, stderr io.Writer) (*nodes.Group, error) {
	if o.memory {
		return o.openMemory(elf, stdout, stderr)
	}
	dir, err := os.MkdirTemp("", "ftvm-")
	if err != nil {
		return nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, elf, 0o700); err != nil {
		return nil, errors.Join(err, remove())
	}
	var pages []string
	g, err := nodes.Processes(stderr, func(i int, addr string, addrs []string) []string {
		args := []string{"-child", "-node", addr, "-peers", strings.Join(addrs, ","), "-lock", filepath.Join(dir, "lock"), "-size", fmt.Sprint(o.size)}
		if o.shared != "" {
			args = append(args, "-shared", o.shared, "-reads", o.reads)
		}
		if page, err := nodes.FreeAddr(append(pages, addrs...)); err == nil { // without one it does as well
			pages = append(pages, page)
			args = append(args, "-status", page)
		}
		if o.mode {
			args = append(args, "-transfer")
		}
		args = append(args, program)
		if len(o.args) > 0 {
			args = append(args, o.args[1:]...)
		}
		return args
	}, remove)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	for i, page := range pages {
		fmt.Fprintf(stdout, "the status page of node %d is http://%s\n", i+1, page)
	}
	return g, nil
}
