package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
)

var duVerb = role{
	name: "du", usage: "[PATH...]", summary: "tells how much is in directories",
	define: verb(0, "", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			w := tabwriter.NewWriter(c.out.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "bytes\tstored\tfiles\tdirectories\tchunks\t\t")
			err := c.each(args, func(p string) error {
				u, err := c.client.Usage(c.ctx, p)
				if err == nil {
					fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t\t%s\n", u.Bytes, u.Stored, u.Files, u.Directories, u.Chunks, p)
				}
				return err
			})
			return errors.Join(err, w.Flush())
		}
	}),
}

var policyVerb = role{
	name: "policy", usage: "PATH", summary: "shows or sets what holds in a directory",
	details: `
Without flags it shows. With flags it sets what they say, and leaves the rest. What a
directory does not say comes from those above it; limits hold all at once.
`,
	define: verb(1, "the path", func(f *flag.FlagSet) verbFunc {
		var want gfs.Policy
		f.IntVar(&want.Replication, "replication", 0, "new files have so many `replicas`; 0: as above")
		f.DurationVar(&want.Retention, "retention", 0, "how long what is removed can be undeleted; 0: as above, negative: not at all")
		f.Int64Var(&want.MaxFiles, "max-files", 0, "the most `files` and directories that may be below; 0: no limit")
		f.Int64Var(&want.MaxChunks, "max-chunks", 0, "the most `chunks` that files below may have; 0: no limit")
		return func(c *verbCall, args []string) error {
			if len(args) > 1 {
				return local.BadUsage("unexpected argument %q", args[1])
			}
			p := clean(args[0])
			u, err := c.client.Usage(c.ctx, p)
			if err != nil {
				return err
			}
			next := u.Policy
			f.Visit(func(set *flag.Flag) {
				switch set.Name {
				case "replication":
					next.Replication = want.Replication
				case "retention":
					next.Retention = want.Retention
				case "max-files":
					next.MaxFiles = want.MaxFiles
				case "max-chunks":
					next.MaxChunks = want.MaxChunks
				}
			})
			if next != u.Policy {
				if err := c.client.SetPolicy(c.ctx, p, next); err != nil {
					return err
				}
			}
			fmt.Fprintf(c.out.stdout, "replication %d, retention %v, at most %d files and %d chunks (0: as above, or no limit)\n",
				next.Replication, next.Retention, next.MaxFiles, next.MaxChunks)
			return nil
		}
	}),
}

var fsckVerb = role{
	name: "fsck", usage: "[PATH]", summary: "finds chunks that lack replicas",
	details: `
It asks the master what it knows, and reads no data. It fails if a chunk has fewer
replicas than it should have; with -wait it waits until that is over. A chunkserver that
has just died counts until it is given up for dead: with -wait, fsck also waits until each
has been heard of again or is dead.
`,
	define: verb(0, "", func(f *flag.FlagSet) verbFunc {
		wait := f.Duration("wait", 0, "wait so long for repairs to be done")
		show := f.Int("show", 20, "show so many `chunks` at most")
		return func(c *verbCall, args []string) error {
			if len(args) > 1 {
				return local.BadUsage("unexpected argument %q", args[1])
			}
			p := "."
			if len(args) == 1 {
				p = clean(args[0])
			}
			var check gfs.Check
			begin := time.Now()
			err := c.poll(*wait, func() (done bool, err error) {
				silent := false
				if *wait > 0 {
					if silent, err = c.silentSince(begin); err != nil {
						return true, err
					}
				}
				check, err = c.client.Fsck(c.ctx, p)
				return err != nil || check.Short == 0 && !silent, err
			})
			if err != nil {
				return err
			}
			printCheck(c.out.stdout, check, *show)
			if check.Short > 0 {
				return fmt.Errorf("%d chunks lack replicas, %d of them have none", check.Short, check.Missing)
			}
			return nil
		}
	}),
}

// silentSince reports whether a chunkserver that counts as alive has not been heard of
// since a time: it may be dead.
func (c *verbCall) silentSince(at time.Time) (bool, error) {
	servers, err := c.client.Servers(c.ctx)
	since := time.Since(at)
	return slices.ContainsFunc(servers, func(s gfs.ServerInfo) bool { return s.Alive && s.Silent > since }), err
}

func printCheck(w io.Writer, check gfs.Check, show int) {
	for i, f := range check.Faults {
		if i == show {
			fmt.Fprintf(w, "and %d more\n", check.Short-int64(show))
			break
		}
		fmt.Fprintf(w, "%s: chunk %d (%x): %d of %d replicas\n", f.Path, f.Index, f.Handle, f.Have, f.Goal)
	}
	fmt.Fprintf(w, "%d files, %d chunks: %d short of replicas, %d with none; %d replicas to be deleted\n",
		check.Files, check.Chunks, check.Short, check.Missing, check.Garbage)
}

// poll calls f until it is done, or a time has passed, at the end of which that is no
// error.
func (c *verbCall) poll(within time.Duration, f func() (done bool, err error)) error {
	const often = 200 * time.Millisecond
	over := time.NewTimer(within)
	defer over.Stop()
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		if done, err := f(); done || err != nil || within <= 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-over.C:
			return nil
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

var serversVerb = role{
	name: "servers", usage: "", summary: "lists the chunkservers",
	define: verb(0, "", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			if len(args) > 0 {
				return local.BadUsage("unexpected argument %q", args[0])
			}
			servers, err := c.client.Servers(c.ctx)
			if err != nil {
				return err
			}
			return printServers(c.out.stdout, servers)
		}
	}),
}

const mega = 1e6

func printServers(w io.Writer, servers []gfs.ServerInfo) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "id\taddress\track\tstate\treplicas\tused MB\tof MB\tuse\tread MB/s\twritten MB/s\theard of\t")
	for _, s := range servers {
		state := "alive"
		switch {
		case s.Awaited:
			state = "awaited"
		case !s.Alive:
			state = "dead"
		case s.Draining:
			state = "draining"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%.1f\t%.0f\t%.1f %%\t%.1f\t%.1f\t%v ago\t\n", s.ID, s.Addr, orDash(s.Rack), state, s.Chunks,
			float64(s.Used)/mega, float64(s.Capacity)/mega, 100*useOf(&s), float64(s.Read)/mega, float64(s.Written)/mega, s.Silent.Round(time.Second/10))
	}
	return t.Flush()
}

// useOf returns which part of a chunkserver's space is used.
func useOf(s *gfs.ServerInfo) float64 {
	if s.Capacity <= 0 {
		return 0
	}
	return float64(s.Used) / float64(s.Capacity)
}

var drainVerb = role{
	name: "drain", usage: "ID|ADDRESS", summary: "has a chunkserver emptied, to be stopped",
	details: `
It goes on to serve while what it holds is copied elsewhere; with -wait, drain waits for
that. It takes as many chunkservers as there are replicas, besides this one.
`,
	define: verb(1, "the id or the address of the chunkserver", func(f *flag.FlagSet) verbFunc {
		stop := f.Bool("stop", false, "stop draining it")
		forget := f.Bool("forget", false, "it is dead and will not come back: wait for it no more")
		wait := f.Duration("wait", 0, "wait so long for it to be empty")
		return func(c *verbCall, args []string) error {
			switch {
			case len(args) > 1:
				return local.BadUsage("unexpected argument %q", args[1])
			case *stop && *forget, *wait > 0 && (*stop || *forget):
				return local.BadUsage("only one of -stop, -forget and -wait can be given")
			}
			s, err := c.server(args[0])
			if err != nil {
				return err
			}
			switch {
			case *stop:
				return c.client.Undrain(c.ctx, s.ID)
			case *forget:
				return c.client.Forget(c.ctx, s.ID)
			}
			if err := c.client.Drain(c.ctx, s.ID); err != nil {
				return err
			}
			return c.drained(s.ID, *wait)
		}
	}),
}

// server returns the chunkserver with an id or address.
func (c *verbCall) server(arg string) (*gfs.ServerInfo, error) {
	servers, err := c.client.Servers(c.ctx)
	if err != nil {
		return nil, err
	}
	for i := range servers {
		if servers[i].Addr == arg || strconv.FormatUint(uint64(servers[i].ID), 10) == arg {
			return &servers[i], nil
		}
	}
	return nil, fmt.Errorf("there is no chunkserver %q; \"trilith fs servers\" lists them", arg)
}

// drained waits until a chunkserver has nothing any more.
func (c *verbCall) drained(id uint32, within time.Duration) error {
	left := int64(0)
	err := c.poll(within, func() (bool, error) {
		s, err := c.server(strconv.FormatUint(uint64(id), 10))
		if err != nil {
			return false, err
		}
		left = s.Chunks
		return left == 0, nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out.stdout, "chunkserver %d is being drained: %d replicas left\n", id, left)
	if left > 0 && within > 0 {
		return fmt.Errorf("%d replicas are still there after %v", left, within)
	}
	return nil
}

var rebalanceVerb = role{
	name: "rebalance", usage: "", summary: "shows how evenly chunkservers are filled",
	details: `
There is nothing to be started: the master moves replicas from fuller to emptier
chunkservers by itself, when nothing is to be repaired and their use differs by more
than a band. This shows the use, and what is on its way; with -wait it waits until
nothing is.
`,
	define: verb(0, "", func(f *flag.FlagSet) verbFunc {
		wait := f.Duration("wait", 0, "wait so long for moves and repairs to be done")
		return func(c *verbCall, args []string) error {
			if len(args) > 0 {
				return local.BadUsage("unexpected argument %q", args[0])
			}
			var info gfs.ClusterInfo
			err := c.poll(*wait, func() (done bool, err error) {
				info, err = c.client.Cluster(c.ctx)
				return err != nil || info.Queued+info.Repairs+info.Moves == 0, err
			})
			if err != nil {
				return err
			}
			servers, err := c.client.Servers(c.ctx)
			if err != nil {
				return err
			}
			if err := printServers(c.out.stdout, servers); err != nil {
				return err
			}
			low, mean, high := spread(servers)
			fmt.Fprintf(c.out.stdout, "use of those that take replicas: %.1f %% to %.1f %%, mean %.1f %%\n", 100*low, 100*high, 100*mean)
			fmt.Fprintf(c.out.stdout, "%d replicas are being moved, %d repaired, %d chunks wait for repair\n", info.Moves, info.Repairs, info.Queued)
			return nil
		}
	}),
}

// spread returns the least, the mean and the greatest use of the chunkservers that are
// alive and not being drained.
func spread(servers []gfs.ServerInfo) (low, mean, high float64) {
	var used, capacity int64
	low = math.Inf(1)
	for i := range servers {
		s := &servers[i]
		if !s.Alive || s.Draining {
			continue
		}
		use := useOf(s)
		low, high = min(low, use), max(high, use)
		used, capacity = used+s.Used, capacity+s.Capacity
	}
	if capacity == 0 {
		return 0, 0, 0
	}
	return low, float64(used) / float64(capacity), high
}
