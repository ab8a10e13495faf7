package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/trilith-go/trilith/mapreduce"
)

// statusPage serves the status page of a coordinator. A nil statusPage serves
// nothing.
type statusPage struct {
	listener net.Listener
	server   *http.Server
	stderr   io.Writer
}

// openStatusPage takes the address; it serves when there is something to show.
func openStatusPage(ctx context.Context, addr string, stderr io.Writer) (*statusPage, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("-status: %w", err)
	}
	const patience = 10 * time.Second
	return &statusPage{listener: l, server: &http.Server{ReadHeaderTimeout: patience}, stderr: stderr}, nil
}

// show begins to serve the page of a coordinator.
func (p *statusPage) show(c *mapreduce.Coordinator) {
	if p == nil {
		return
	}
	p.server.Handler = c.StatusHandler()
	fmt.Fprintf(p.stderr, "the status page is at http://%s/\n", p.listener.Addr())
	go func() { _ = p.server.Serve(p.listener) }() // until close
}

// linger goes on serving until the user interrupts.
func (p *statusPage) linger(ctx context.Context) error {
	if p == nil {
		return nil
	}
	fmt.Fprintln(p.stderr, "the status page stays until you interrupt")
	<-ctx.Done()
	return nil
}

func (p *statusPage) close() {
	if p != nil {
		_ = p.server.Close()
		_ = p.listener.Close() // which the server does not know if it never served
	}
}
