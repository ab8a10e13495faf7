package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trilith-go/trilith/examples/internal/nodes"
)

// show puts the group under load, and kills its primary again and again.
func (o *options) show(ctx context.Context, stdout, stderr io.Writer) (err error) {
	g, err := o.open(stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	s := &nodes.Scenes{Group: g, Out: stdout}
	if err := s.Form(ctx); err != nil {
		return err
	}
	load, err := newLoad(g.Clients, g.Addrs, o.clients)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, load.close()) }()
	s.Failed = load.failed
	began := time.Now()
	load.run(ctx)
	kills, err := s.Run(ctx, o.length, o.every, load)
	if stopped := load.stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return err
	}
	took, acked := time.Since(began), load.acked()
	if err := load.prove(ctx); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d clients, %d increments in %.1f s, %.0f a second, while the primary was killed %d times.\n",
		o.clients, acked, took.Seconds(), float64(acked)/took.Seconds(), kills)
	fmt.Fprintf(stdout, "Every increment that was acknowledged was applied exactly once: the counters are what their clients were told, %d in all.\n", acked)
	return nil
}
