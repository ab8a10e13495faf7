package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"sync"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/examples/internal/standby"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/vmft"
)

var arbiterRole = role{
	name:    "arbiter",
	summary: "decides which of several masters, or coordinators, leads",
	details: `
It is for machines that share no directory, and runs on one that neither of them is.
One arbiter decides for one group: masters and coordinators need one each. Its
directory must not be lost, and is for it alone. While it is away, those that lead go
on; what they cannot do meanwhile is to take over.
`,
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var a arbiterFlags
		a.clusterFlags.define(f)
		f.StringVar(&a.listen, "listen", "127.0.0.1:7109", "serve masters or coordinators at this `address`; port 0 is any")
		f.StringVar(&a.dir, "dir", "", "keep the decisions in this `directory` (required)")
		return a.run
	},
}

type arbiterFlags struct {
	clusterFlags
	listen string
	dir    string
}

func (a *arbiterFlags) run(ctx context.Context, args []string, out output) (err error) {
	switch {
	case len(args) > 0:
		return local.BadUsage("unexpected argument %q", args[0])
	case a.dir == "":
		return local.BadUsage("-dir is missing: the directory of the decisions")
	}
	cl, err := a.open("arbiter", true, out)
	if err != nil {
		return err
	}
	arbiter := vmft.DirArbiter(a.dir)
	if _, err := arbiter.Newest(ctx); err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Cluster: cl.id, Secret: cl.secret, Logger: cl.logger})
	if err != nil {
		return err
	}
	vmft.ServeArbiter(server, arbiter)
	addr, err := server.Listen(ctx, cl.transport, a.listen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	fmt.Fprintf(out.stdout, "arbiter at %s\n", addr)
	<-ctx.Done()
	fmt.Fprintln(out.stdout, "arbiter ends; until it is back nobody can take over")
	return nil
}

// node returns what a node of a role is configured with.
func (c *cluster) node(role, dir string) standby.Config {
	return standby.Config{What: role, Dir: dir, Transport: c.transport, Cluster: c.id, Secret: c.secret, Logger: c.logger}
}

// withNode adds the status page of a node, if there is one, to another page, below node/.
func withNode(page http.Handler, node *standby.Node) http.Handler {
	if node == nil {
		return page
	}
	mux := http.NewServeMux()
	mux.Handle("/node/", http.StripPrefix("/node", node.StatusHandler()))
	mux.Handle("/", page)
	return mux
}

// watchNode prints what becomes of a node, if there is one, until stop is called.
func watchNode(ctx context.Context, node *standby.Node, out output) (stop func()) {
	if node == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { node.Watch(ctx, out.stdout) })
	return func() {
		cancel()
		work.Wait()
	}
}
