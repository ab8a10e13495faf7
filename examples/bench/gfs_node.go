package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/transport"
)

// A gfsNode is a process of a cluster: a chunkserver of a master, or the master.
type gfsNode struct {
	Dir     string
	Master  string // "" in the master itself
	Slow    int    // how many times as long one answer in slowShare takes
	Rack    string // of a chunkserver
	Profile string // a file for a CPU profile, or ""
	Echo    bool   // it is no part of a cluster, but an echoServer

	// Of the master. 0 is what is so by default.
	Lease         time.Duration
	Heartbeat     time.Duration
	ServerTimeout time.Duration
	Near          bool // its first chunkserver is in nearRack

	// Of a master that is one of several. Its log is in memory.
	Listen string
	Log    string   // where its node listens, by which others follow its log; "": it is the only one
	Peers  []string // the nodes of the others
	Lock   string   // the directory in which it is decided who leads

	Masters []string // of a chunkserver that has several
}

// serve is main of the process. It prints the address, and ends when stdin does.
func (n *gfsNode) serve(ctx context.Context, stdin io.Reader, stdout io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	if n.Profile != "" {
		stop, err := startProfile(n.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	addr, server, err := n.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if _, err := fmt.Fprintln(stdout, addr); err != nil {
		return err
	}
	if err := server.Wait(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

type gfsServer interface {
	io.Closer
	Wait(ctx context.Context) error
}

func (n *gfsNode) start(ctx context.Context) (addr string, s gfsServer, err error) {
	const local = "127.0.0.1:0"
	if n.Echo {
		e, err := startEcho(ctx, local)
		if err != nil {
			return "", nil, err
		}
		return e.ln.Addr().String(), e, nil
	}
	if n.Log != "" {
		return n.startReplicated(ctx)
	}
	if n.Master == "" && n.Masters == nil {
		m, err := gfs.StartMaster(ctx, gfs.MasterConfig{
			Transport: &transport.TCP{}, Addr: local, Dir: n.Dir, Retention: -1, RepairRate: -1,
			Lease: n.Lease, Heartbeat: n.Heartbeat, ServerTimeout: n.ServerTimeout,
		})
		if err != nil {
			return "", nil, err
		}
		return m.Addr(), m, nil
	}
	var by transport.Transport = &transport.TCP{}
	if n.Slow > 1 {
		by = &slowTransport{by, n.Slow}
	}
	masters := n.Masters
	if masters == nil {
		masters = []string{n.Master}
	}
	c, err := gfs.StartChunkserver(ctx, gfs.ChunkserverConfig{
		Transport: by, Addr: local, Dir: n.Dir, Rack: n.Rack, Masters: masters, ScrubInterval: -1,
	})
	if err != nil {
		return "", nil, err
	}
	return c.Addr(), c, nil
}

// A slowTransport makes a server take some times as long for one answer in slowShare:
// whoever writes to a connection that it has accepted first waits in proportion to the time
// since there was something to read.
type slowTransport struct {
	transport.Transport
	times int
}

func (t *slowTransport) Listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := t.Transport.Listen(ctx, addr)
	return &slowListener{ln, t.times}, err
}

type slowListener struct {
	net.Listener
	times int
}

func (l *slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: conn, times: l.times, epoch: time.Now()}, nil
}

type slowConn struct {
	net.Conn
	times int
	epoch time.Time
	asked atomic.Int64 // when something was last read, since the epoch; 0: it was answered
	count atomic.Int64 // answers
}

func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.asked.Store(int64(time.Since(c.epoch)))
	return n, err
}

func (c *slowConn) Write(p []byte) (int, error) {
	const most = 100 * time.Millisecond     // an idle connection is not slow
	asked := time.Duration(c.asked.Swap(0)) // the rest of an answer does not wait again
	if asked > 0 && c.count.Add(1)%slowShare == 0 {
		took := time.Since(c.epoch) - asked
		time.Sleep(min(time.Duration(c.times-1)*took, most))
	}
	return c.Conn.Write(p)
}

// A gfsProcess is a process of a cluster that runs.
type gfsProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
	ended chan struct{} // closed when it has
}

// startNode starts a process and waits until it serves.
func startNode(ctx context.Context, n gfsNode) (*gfsProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(task{Node: &n})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, taskArg, string(arg))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &gfsProcess{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // it may have been killed
		close(p.ended)
	}()
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("a process has not begun to serve: %w", err)
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

// kill ends a process at once.
func (p *gfsProcess) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends a process in good order, or kills it.
func (p *gfsProcess) stop() {
	p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(cancelPatience):
		p.kill()
	}
}
