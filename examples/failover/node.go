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

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/vmft"
)

// An event is something that a node has seen or done.
type event struct {
	Node   string // its address
	At     time.Time
	Role   vmft.Role   // the new one, or ""
	Record vmft.Record // the newest of the chain, as the node knows it
	Note   string
	Ended  bool // there is no node any more
}

// lookEvery is how often a node's Status is looked at. What is in it has times of its own.
const lookEvery = 5 * time.Millisecond

// watch tells of what happens to a node, until it or ctx ends.
func watch(ctx context.Context, n *vmft.Node, tell func(event)) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var last vmft.Change
	var before vmft.Status
	for {
		s := n.Status()
		news := s.History
		for i := len(news) - 1; i >= 0; i-- {
			if news[i] == last {
				news = news[i+1:]
				break
			}
		}
		for _, c := range news {
			tell(event{Node: s.Addr, At: c.At, Record: c.Record, Note: c.Note})
			last = c
		}
		if waits := s.Arbiter != nil; waits != (before.Arbiter != nil) {
			note := "the lock is there again, or of no use any more"
			if waits {
				note = fmt.Sprintf("waits for the lock: %v", s.Arbiter)
			}
			tell(event{Node: s.Addr, At: time.Now(), Record: s.Newest, Note: note})
		}
		if s.Role != before.Role {
			tell(event{Node: s.Addr, At: time.Now(), Role: s.Role, Record: s.Newest})
		}
		if before = s; s.Role == vmft.RoleEnded {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// millis shows a time in milliseconds.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }

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
	watch(ctx, n, func(e event) {
		if !o.child {
			fmt.Fprintln(stdout, e.At.Format(time.TimeOnly), e.text())
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

// text says what has happened.
func (e event) text() string {
	switch {
	case e.Role != "":
		return "is " + article(e.Role)
	case e.Note != "":
		return e.Note
	}
	return e.Record.String()
}

func article(r vmft.Role) string {
	switch r {
	case vmft.RolePrimary, vmft.RoleBackup:
		return "the " + string(r)
	case vmft.RoleCandidate, vmft.RoleSpare:
		return "a " + string(r)
	}
	return string(r)
}
