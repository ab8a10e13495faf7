package rv64

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A port is where a test reaches one of the program's.
type port struct {
	once sync.Once
	addr chan string
}

func newPort() *port { return &port{addr: make(chan string, 1)} }

func (p *port) listen(uint16) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		p.once.Do(func() { p.addr <- l.Addr().String() })
	}
	return l, err
}

func request(method, url string, body io.Reader) (string, error) {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// A server of net/http is reached over real sockets, its history recorded, and
// replayed on both engines: nothing differs.
func TestServeRecordReplay(t *testing.T) {
	m := load(t, guest(t, "serve"), Config{Args: []string{"serve", "x"}})
	var log, stdout bytes.Buffer
	p := newPort()
	ended := make(chan error, 1)
	go func() {
		_, err := Drive(context.Background(), m, HostConfig{Listen: p.listen, Stdout: &stdout, Stderr: &stdout, Record: &log, Interval: 10_000_000})
		ended <- err
	}()
	base := "http://" + <-p.addr
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for j := range 4 {
				data := bytes.Repeat([]byte{byte(i), byte(j)}, 1+i*j*1000)
				got, err := request("POST", base+"/sum", bytes.NewReader(data))
				if want := fmt.Sprintf("%d bytes, %x, <nil>", len(data), sha256.Sum256(data)); err != nil || !strings.Contains(got, want) {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	clients.Wait()
	if got, err := request("GET", base+"/big", nil); len(got) != 2_000_000 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := request("GET", base+"/end", nil); got != "bye\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if want := "listening\n32 requests, http: Server closed\n[x]\n"; stdout.String() != want {
		t.Errorf("the program says %q", stdout.String())
	}
	for _, stepper := range []bool{false, true} {
		if stepper && !*soak {
			continue
		}
		r, err := NewReplayer(bytes.NewReader(log.Bytes()), Config{Stepper: stepper})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Run(1 << 40); err != nil {
			t.Fatal(err)
		}
		if !r.Done() || r.Machine().Hash() != m.Hash() {
			t.Errorf("stepper %v: the replay ends at %d, not %d, or differs", stepper, r.Machine().Position(), m.Position())
		}
	}
	t.Logf("%d instructions, %d bytes of log", m.Position(), log.Len())
}

// Drive ends with its context, and leaves nothing behind.
func TestDriveIsCancelled(t *testing.T) {
	m := load(t, guest(t, "serve"), Config{})
	ctx, cancel := context.WithCancel(context.Background())
	p := newPort()
	ended := make(chan error, 1)
	go func() {
		_, err := Drive(ctx, m, HostConfig{Listen: p.listen})
		ended <- err
	}()
	addr := <-p.addr
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the port is still open")
	}
}
