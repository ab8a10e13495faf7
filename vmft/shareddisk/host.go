package shareddisk

import (
	"context"
	"sync"

	"github.com/trilith-go/trilith/vmft/rv64"
)

// Host returns what a rv64.HostConfig has as its Disk, for a machine by itself, and what
// waits until all is durable and ends it. Answer is the same for all requests of a machine.
func (d *Disk) Host() (do func(r rv64.DiskRequest, answer func(event []byte)), end func(ctx context.Context) error) {
	term, cancel := context.WithCancel(context.Background())
	port := &hostPort{term: term}
	s := d.Serve(port, false)
	do = func(r rv64.DiskRequest, answer func(event []byte)) {
		port.mu.Lock()
		port.answer = answer
		port.mu.Unlock()
		s.Do(r, r.ID, false)
	}
	return do, func(ctx context.Context) error {
		err := s.Drain(ctx)
		cancel()
		s.Close()
		return err
	}
}

// A hostPort is the port of a machine that is not replicated.
type hostPort struct {
	term   context.Context
	mu     sync.Mutex // guards answer
	answer func(event []byte)
}

// Epoch implements Port.
func (*hostPort) Epoch() uint64 { return 1 }

// Term implements Port.
func (p *hostPort) Term() context.Context { return p.term }

// Complete implements Port.
func (p *hostPort) Complete(event []byte, _ ...uint64) error {
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	if event != nil && answer != nil {
		answer(event)
	}
	return nil
}

// CompleteFetched implements Port.
func (p *hostPort) CompleteFetched(event, _ []byte, numbers ...uint64) (<-chan struct{}, error) {
	done := make(chan struct{})
	close(done)
	return done, p.Complete(event, numbers...)
}
