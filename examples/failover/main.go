package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/nodes"
	"github.com/trilith-go/trilith/vmft"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return local.Program{Name: "failover", Usage: "failover [flags]", Define: func(f *flag.FlagSet) func([]string) error {
		var o options
		o.define(f)
		return func(args []string) error {
			set := make(map[string]bool)
			f.Visit(func(f *flag.Flag) { set[f.Name] = true })
			if err := o.check(args, set); err != nil {
				return err
			}
			if o.node != "" {
				return o.serve(ctx, stdin, stdout)
			}
			return o.show(ctx, stdout, stderr)
		}
	}}.Run(args, stderr)
}

// options are the flags.
type options struct {
	length  time.Duration
	every   time.Duration
	memory  bool
	dir     string
	clients int

	node   string
	peers  string
	others []string // peers, parsed
	lock   string
	status string
	child  bool
}

func (o *options) define(f *flag.FlagSet) {
	f.DurationVar(&o.length, "for", 15*time.Second, "how long to go on")
	f.DurationVar(&o.every, "every", 3*time.Second, "kill the primary every so often")
	f.BoolVar(&o.memory, "memory", false, "run all nodes in this process, on a network in memory")
	f.StringVar(&o.dir, "dir", "", "keep journals, and the lock, below this `directory`; with -node: the journal of that node (default: logs are kept in memory)")
	f.IntVar(&o.clients, "clients", 16, "how many clients count")
	f.StringVar(&o.node, "node", "", "run one node only, at this `address`, host:port")
	f.StringVar(&o.peers, "peers", "", "with -node: the `addresses` of the other nodes, separated by commas")
	f.StringVar(&o.lock, "lock", "", "with -node: a `directory` that all nodes share, which decides who is the primary")
	f.StringVar(&o.status, "status", "", "with -node: serve the node's status page at this `address`, host:port")
	f.BoolVar(&o.child, "child", false, "with -node: print events as JSON, and end when stdin does")
}

const maxClients = 10_000

// check finds what is wrong with the flags that were set.
func (o *options) check(args []string, set map[string]bool) error {
	if len(args) > 0 {
		return local.BadUsage("unexpected argument %q; everything is a flag", args[0])
	}
	if o.node != "" {
		for _, name := range []string{"for", "every", "memory", "clients"} {
			if set[name] {
				return local.BadUsage("-%s is of no use with -node", name)
			}
		}
		if o.lock == "" {
			return local.BadUsage("-node needs -lock")
		}
		if o.peers != "" {
			o.others = strings.Split(o.peers, ",")
		}
		if slices.Contains(o.others, "") {
			return local.BadUsage("-peers %q: an address is empty", o.peers)
		}
		return nil
	}
	for _, name := range []string{"peers", "lock", "status", "child"} {
		if set[name] {
			return local.BadUsage("-%s is of no use without -node", name)
		}
	}
	switch {
	case o.length <= 0:
		return local.BadUsage("-for %v: must be positive", o.length)
	case o.every <= 0:
		return local.BadUsage("-every %v: must be positive", o.every)
	case o.every >= o.length:
		return local.BadUsage("-every %v: nobody would be killed in %v; -for must be longer", o.every, o.length)
	case o.clients < 1 || o.clients > maxClients:
		return local.BadUsage("-clients %d: must be 1 to %d", o.clients, maxClients)
	case o.memory && o.dir != "":
		return local.BadUsage("-dir is of no use with -memory")
	}
	return nil
}

// open makes the group that the flags ask for.
func (o *options) open(stderr io.Writer) (*nodes.Group, error) {
	if o.memory {
		return nodes.InMemory(func(ctx context.Context, cfg vmft.Config) (*vmft.Node, error) {
			cfg.Machine = newStore()
			return vmft.Start(ctx, cfg)
		}, nil)
	}
	dir, keep := o.dir, func() error { return nil }
	if dir != "" {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
		if err := local.CheckEmpty(dir); err != nil {
			return nil, local.BadUsage("-dir: %s is not empty; choose another directory, or remove what is in it", dir)
		}
	} else {
		temp, err := os.MkdirTemp("", "failover-")
		if err != nil {
			return nil, err
		}
		dir, keep = temp, func() error { return os.RemoveAll(temp) }
	}
	g, err := nodes.Processes(stderr, func(i int, addr string, addrs []string) []string {
		args := []string{"-child", "-node", addr, "-peers", strings.Join(addrs, ","), "-lock", filepath.Join(dir, "lock")}
		if o.dir != "" {
			args = append(args, "-dir", filepath.Join(dir, fmt.Sprintf("node%d", i+1)))
		}
		return args
	}, keep)
	if err != nil {
		return nil, errors.Join(err, keep())
	}
	g.Durable = o.dir != ""
	return g, nil
}
