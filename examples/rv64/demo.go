package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/trilith-go/trilith/examples/internal/guest"
	"github.com/trilith-go/trilith/vmft/rv64"
)

// demonstrate serves the guest that is shipped, records it, and replays the log.
func demonstrate(ctx context.Context, stdout io.Writer) error {
	elf, err := compileGuest(ctx)
	if err != nil {
		return err
	}
	cfg := rv64.Config{Args: []string{"guest"}, Start: time.Now()}
	if cfg.Seed, err = guest.Seed(); err != nil {
		return err
	}
	m, err := rv64.Load(elf, cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addr := make(chan string, 1)
	asked := make(chan error, 1)
	stdout = &shared{w: stdout}
	go func() { asked <- ask(ctx, addr, stdout) }()
	var log bytes.Buffer
	_, err = rv64.Drive(ctx, m, rv64.HostConfig{Stdout: stdout, Stderr: stdout, Record: &log, Interval: 10_000_000, Listen: func(uint16) (net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			addr <- l.Addr().String()
		}
		return l, err
	}})
	cancel()
	if err := errors.Join(err, <-asked); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "recorded %d instructions in a log of %d bytes; the state's hash is %x\n", m.Position(), log.Len(), m.Hash())

	r, err := rv64.NewReplayer(&log, rv64.Config{})
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := r.Run(m.Position()); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "replayed %d instructions in %v; the state's hash is %x\n", r.Machine().Position(), time.Since(began).Round(time.Millisecond), r.Machine().Hash())
	if r.Machine().Hash() != m.Hash() {
		return errors.New("the two differ")
	}
	return nil
}

// shared is a writer for the guest and for who asks it.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// ask sends the guest requests, the last of which ends it.
func ask(ctx context.Context, addr <-chan string, stdout io.Writer) error {
	var base string
	select {
	case a := <-addr:
		base = "http://" + a
	case <-ctx.Done():
		return ctx.Err()
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/count/ada", "/count/alan", "/count/ada", "/end"} {
		req, err := http.NewRequestWithContext(ctx, "GET", base+path, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "GET %s: %s", path, b)
	}
	return nil
}
