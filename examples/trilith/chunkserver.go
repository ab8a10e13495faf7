package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
)

var chunkserverRole = role{
	name:    "chunkserver",
	summary: "keeps replicas of the chunks of a gfs on a disk",
	details: `
Its directory can move to another machine or address. If it is lost, start the
chunkserver on an empty one: the master has what was on it copied from others.
`,
	define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var c chunkserverFlags
		c.clusterFlags.define(f)
		f.StringVar(&c.masters, "master", "", "report to the masters and shadows at these `addresses`, host:port, separated by commas (required)")
		f.StringVar(&c.dir, "dir", "", "keep the replicas in this `directory`, for this chunkserver alone (required)")
		f.StringVar(&c.listen, "listen", "127.0.0.1:0", "serve clients and other chunkservers at this `address`; port 0 is any")
		f.StringVar(&c.advertise, "advertise", "", "the `address` by which others reach it (default: that of -listen)")
		f.StringVar(&c.rack, "rack", "", "the `name` of the rack that the machine is in")
		f.StringVar(&c.zone, "zone", "", "the `name` of the zone that the rack is in")
		f.Int64Var(&c.capacity, "capacity", 0, "use so many `MiB` of the disk (default: all that is free)")
		f.DurationVar(&c.scrub, "scrub", gfs.DefaultScrubInterval, "read each replica that rests once in this `time`, and hold it against its checksums; negative: never")
		f.Int64Var(&c.buffer, "buffer", gfs.DefaultBufferBytes>>20, "use so many `MiB` of memory for data that is not written yet")
		return c.run
	},
}

type chunkserverFlags struct {
	clusterFlags
	masters   string
	dir       string
	listen    string
	advertise string
	rack      string
	zone      string
	capacity  int64
	buffer    int64
	scrub     time.Duration
}

func (c *chunkserverFlags) run(ctx context.Context, args []string, out output) (err error) {
	const least = 4 // MiB
	switch {
	case len(args) > 0:
		return local.BadUsage("unexpected argument %q", args[0])
	case c.masters == "":
		return local.BadUsage("-master is missing: the address of the master, host:port")
	case c.dir == "":
		return local.BadUsage("-dir is missing: the directory of the replicas")
	case c.capacity < 0:
		return local.BadUsage("-capacity is %d, it cannot be negative", c.capacity)
	case c.scrub == 0:
		return local.BadUsage("-scrub is 0s; it must be positive, or negative for never")
	case c.buffer < least:
		return local.BadUsage("-buffer is %d, it must be %d or more", c.buffer, least)
	}
	masters, err := addresses("master", c.masters)
	if err != nil {
		return err
	}
	cl, err := c.open("chunkserver", true, out)
	if err != nil {
		return err
	}
	server, err := gfs.StartChunkserver(ctx, gfs.ChunkserverConfig{
		Transport: cl.transport, Addr: c.listen, Advertise: c.advertise, Dir: c.dir, Masters: masters,
		Rack: c.rack, Zone: c.zone, Capacity: c.capacity << 20, BufferBytes: c.buffer << 20, ScrubInterval: c.scrub,
		Cluster: cl.id, Secret: cl.secret, Logger: cl.logger,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	fmt.Fprintf(out.stdout, "chunkserver at %s\n", server.Addr())
	if err := server.Wait(ctx); ctx.Err() == nil {
		return err
	}
	fmt.Fprintln(out.stdout, "chunkserver ends; start it again on its directory to have its replicas back")
	return nil
}
