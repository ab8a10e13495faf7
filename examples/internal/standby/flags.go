package standby

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// Flags are the flags of a process that stands by for others, or leads while others stand
// by for it.
type Flags struct {
	standby string
	node    string
	lock    string
	arbiter string
	peers   []string // of standby
}

// Names are the names of the flags.
var Names = []string{"standby", "node", "lock", "arbiter"}

// Define defines the flags. what is the process, as "master".
func (f *Flags) Define(set *flag.FlagSet, what string) {
	set.StringVar(&f.standby, "standby", "", "be one of several "+what+"s, of which one leads and the others stand by: the `addresses` of their nodes, host:port, separated by commas; this one's may be among them")
	set.StringVar(&f.node, "node", "", "with -standby: the `address` of this one's node, host:port, at which the others follow its log")
	set.StringVar(&f.lock, "lock", "", "with -standby: a `directory` that all "+what+"s reach, in which it is decided who leads; it must exist")
	set.StringVar(&f.arbiter, "arbiter", "", "with -standby: who leads is decided by the process \"trilith arbiter\" at this `address`, in place of -lock")
}

// On reports whether the process is one of several.
func (f *Flags) On() bool { return f.standby != "" }

// Check finds what is wrong with the flags.
func (f *Flags) Check() error {
	if !f.On() {
		for _, given := range []struct{ name, value string }{{"node", f.node}, {"lock", f.lock}, {"arbiter", f.arbiter}} {
			if given.value != "" {
				return local.BadUsage("-%s goes with -standby only", given.name)
			}
		}
		return nil
	}
	f.peers = nil
	for _, addr := range strings.Split(f.standby, ",") {
		if !local.Named(addr) {
			return local.BadUsage("-standby is %q: %q is not host:port", f.standby, addr)
		}
		if addr != f.node {
			f.peers = append(f.peers, addr)
		}
	}
	switch {
	case f.node == "":
		return local.BadUsage("-standby needs -node, the address of this process's own node")
	case !local.Named(f.node):
		return local.BadUsage("-node is %q: it has to name the host and the port, by which the others find it", f.node)
	case len(f.peers) == 0:
		return local.BadUsage("-standby names this process's own node alone: name those of the others")
	case f.lock == "" && f.arbiter == "":
		return local.BadUsage("-standby needs -lock or -arbiter, which decides who leads")
	case f.lock != "" && f.arbiter != "":
		return local.BadUsage("only one of -lock and -arbiter can be given")
	case f.arbiter != "" && !local.Named(f.arbiter):
		return local.BadUsage("-arbiter is %q, not host:port", f.arbiter)
	}
	return nil
}

// Config is what a node needs beside the flags.
type Config struct {
	// What the process is, as "master": the nodes of one kind have a chain of epochs of
	// their own below -lock.
	What string
	// Dir is the directory of the node's journal. Default: none.
	Dir       string
	Transport transport.Transport
	Cluster   string
	Secret    []byte
	Logger    hclog.Logger
}

// arbiterPatience is how long an arbiter may take to answer at the start.
const arbiterPatience = 5 * time.Second

// Start starts the node that runs a machine.
func (f *Flags) Start(ctx context.Context, cfg Config, machine vmft.Machine) (*Node, error) {
	arbiter, client, err := f.open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{lock: "-lock " + f.lock, client: client}
	if f.arbiter != "" {
		n.lock = "-arbiter " + f.arbiter
	}
	n.Node, err = vmft.Start(ctx, vmft.Config{
		Transport: cfg.Transport, Addr: f.node, Advertise: f.node, Peers: f.peers, Arbiter: arbiter, Machine: machine, Dir: cfg.Dir,
		Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger.Named("node"),
	})
	if err != nil {
		if client != nil {
			_ = client.Close() // the first error is the one that counts
		}
		return nil, err
	}
	return n, nil
}

// open returns the arbiter, which has to answer, and what closes it.
func (f *Flags) open(ctx context.Context, cfg Config) (vmft.Arbiter, io.Closer, error) {
	if f.lock != "" {
		info, err := os.Stat(f.lock)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, fmt.Errorf("-lock: %s is not there; it is on storage that all %ss reach, and has to be mounted, or made, before they start", f.lock, cfg.What)
		case err != nil:
			return nil, nil, fmt.Errorf("-lock: %w", err)
		case !info.IsDir():
			return nil, nil, fmt.Errorf("-lock: %s is not a directory", f.lock)
		}
		return vmft.DirArbiter(filepath.Join(f.lock, cfg.What)), nil, nil
	}
	client, err := rpc.NewClient(rpc.ClientConfig{
		Transport: cfg.Transport, Addrs: []string{f.arbiter}, Cluster: cfg.Cluster, Secret: cfg.Secret, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("-arbiter: %w", err)
	}
	arbiter := vmft.RPCArbiter(client)
	ctx, cancel := context.WithTimeout(ctx, arbiterPatience)
	defer cancel()
	if _, err := arbiter.Newest(ctx); err != nil {
		_ = client.Close() // nothing is in progress
		return nil, nil, fmt.Errorf("-arbiter: %s does not answer as one; start \"trilith arbiter\" there before: %w", f.arbiter, err)
	}
	return arbiter, client, nil
}
