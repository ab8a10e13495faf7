package gfs

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// A dialer has one rpc.Client for each address that it was asked for, as masters,
// chunkservers and clients all talk to many chunkservers.
type dialer struct {
	cfg rpc.ClientConfig // without Addrs

	mu      sync.Mutex // guards what follows
	clients map[string]*dialed
	closed  bool
}

type dialed struct {
	client *rpc.Client
	used   time.Time
}

// Clients that nobody has asked for in dialIdle are closed when there are more than
// dialMost, so that a cluster whose servers come and go does not fill the table.
const (
	dialMost = 1024
	dialIdle = 10 * time.Minute
)

// newDialer returns a dialer. node is who this process is, for the other side to know.
func newDialer(t transport.Transport, cluster string, secret []byte, node string, limits rpc.Limits, log hclog.Logger) *dialer {
	return &dialer{
		cfg:     rpc.ClientConfig{Transport: t, Cluster: cluster, Secret: secret, Node: node, Limits: limits, Logger: log},
		clients: make(map[string]*dialed),
	}
}

// client returns the client of an address, which belongs to the dialer.
func (d *dialer) client(addr string) (*rpc.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if c := d.clients[addr]; c != nil {
		c.used = now
		return c.client, nil
	}
	if d.closed {
		return nil, ErrClosed
	}
	if len(d.clients) >= dialMost {
		// order-free: all that are idle go
		for addr, c := range d.clients {
			if now.Sub(c.used) > dialIdle {
				delete(d.clients, addr)
				go c.client.Close() // which takes leave of the other side
			}
		}
	}
	cfg := d.cfg
	cfg.Addrs = []string{addr}
	client, err := rpc.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	d.clients[addr] = &dialed{client: client, used: now}
	return client, nil
}

// close closes all clients.
func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	clients := d.clients
	d.clients = nil
	d.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { c.client.Close() })
	}
	wg.Wait()
}
