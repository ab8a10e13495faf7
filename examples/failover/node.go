package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/trilith-go/trilith/examples/internal/nodes"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// serve is what the process of one node does. It prints events, one a line, and ends with
// ctx, or when whoever has started it has gone.
func (o *options) serve(ctx context.Context, stdin io.Reader, stdout io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.child {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	}
	n, err := vmft.Start(ctx, vmft.Config{
		Transport: &transport.TCP{}, Addr: o.node, Peers: o.others, Arbiter: vmft.DirArbiter(o.lock), Dir: o.dir, Machine: newStore(),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if o.status != "" {
		page, err := net.Listen("tcp", o.status)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: n.StatusHandler(), ReadHeaderTimeout: time.Minute}
		defer server.Close()
		go func() { _ = server.Serve(page) }() // until it is closed
		fmt.Fprintf(stdout, "status page at http://%s/\n", page.Addr())
	}
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
	return n.Wait(ctx)
}
