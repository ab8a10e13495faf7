//lint:bubble
package vmft_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/trilith-go/trilith/vmft"
)

// A cellCall is what was asked of a cell of the server, a cellReply what came of it.
type cellCall struct {
	name  string
	write bool
	by    string // of a write: who writes, and which one it is
	value string // that is written, as its hash
}

type cellReply struct {
	lost    bool // no answer came: what the server has printed tells what has become of it
	version uint64
	token   string
	value   string
}

// cells is how a cell behaves, seen from outside. A state is what a read returns.
var cells = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make(map[string][]porcupine.Operation)
		for _, op := range history {
			name := op.Input.(cellCall).name
			parts[name] = append(parts[name], op)
		}
		var out [][]porcupine.Operation
		for _, part := range parts {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return cellReply{value: digest(nil)} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(cellReply), input.(cellCall), output.(cellReply)
		if in.write {
			return out.version == s.version+1, cellReply{version: out.version, token: out.token, value: in.value}
		}
		return out == s, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

func digest(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// A load is clients of the server (testdata/guests/server), each of which goes through one
// connection after the other, and checks all that it is told.
type load struct {
	client *vmft.Client
	nodes  []*vmft.Node // for what is said of a failure
	over   atomic.Bool
	flying atomic.Int64 // requests that were begun, and not answered

	mu      sync.Mutex // guards what follows
	failure error
	history []porcupine.Operation
	kinds   map[string]int // what was done, how often
	bytes   int64
}

// loadPatience is how long a client waits for an answer.
const loadPatience = 15 * time.Second

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = err
	}
}

func (l *load) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

func (l *load) done(kind string, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kinds[kind]++
	l.bytes += int64(size)
}

// start starts clients. The function that it returns waits until they have ended.
func (l *load) start(seed uint64, clients int) (wait func()) {
	l.kinds = make(map[string]int)
	var work sync.WaitGroup
	for i := range clients {
		work.Go(func() {
			c := &loadClient{load: l, number: i, files: make(map[string]string), rng: rand.New(rand.NewPCG(seed, uint64(100+i)))}
			for !l.over.Load() && l.failed() == nil {
				if err := c.connection(); err != nil {
					l.fail(fmt.Errorf("client %d at %v: %w", i, time.Now().Format("05.000000"), err))
				}
			}
		})
	}
	return work.Wait
}

// check sees that all that clients have seen together is linearizable. What the server has
// printed tells of each write, by its name: of those without an answer whether they were done.
func (l *load) check(printed map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var history []porcupine.Operation
	for _, op := range l.history {
		in, out := op.Input.(cellCall), op.Output.(cellReply)
		if in.write {
			var did cellReply
			name := ""
			_, err := fmt.Sscanf(printed[in.by], "%s %d %s", &name, &did.version, &did.token)
			switch {
			case err != nil && out.lost: // it never came
				continue
			case err != nil, name != in.name, !out.lost && did != out:
				return fmt.Errorf("a write to %s was answered by %+v, and %q was printed", in.name, out, printed[in.by])
			}
			op.Output = did
		}
		history = append(history, op)
	}
	if result, _ := porcupine.CheckOperationsVerbose(cells, history, time.Minute); result != porcupine.Ok {
		return fmt.Errorf("the history of %d requests to cells is not linearizable (%v)", len(l.history), result)
	}
	return nil
}

type loadClient struct {
	*load
	number int
	writes int
	files  map[string]string // what files have, as hashes
	rng    *rand.Rand
}

func (c *loadClient) pause(most time.Duration) { time.Sleep(time.Duration(c.rng.Int64N(int64(most)))) }

func (c *loadClient) random(most int) []byte {
	b := make([]byte, c.rng.IntN(most))
	for i := range b {
		b[i] = byte(c.rng.Uint32())
	}
	return b
}

func (c *loadClient) dial(port uint16) (*vmft.Stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loadPatience)
	defer cancel()
	s, err := vmft.DialStream(ctx, c.client, port)
	if err != nil {
		return nil, err
	}
	return s, s.SetDeadline(time.Now().Add(4 * loadPatience))
}

// connection is one from its beginning to its end.
func (c *loadClient) connection() (err error) {
	c.pause(20 * time.Millisecond)
	port := uint16(80)
	switch c.rng.IntN(12) {
	case 0:
		port = 7
	case 1:
		port = 9
	case 2:
		port = 19
	}
	s, err := c.dial(port)
	if err != nil {
		return err
	}
	defer s.Close()
	defer func() {
		if err != nil && c.failed() == nil {
			err = fmt.Errorf("%w\n%s", err, s.Describe(c.nodes))
		}
	}()
	switch port {
	case 7:
		size := c.rng.IntN(60_000)
		defer c.done("echo", size)
		return echoAll(s, c.rng, size, func() { c.pause(2 * time.Millisecond) })
	case 9: // it is not read to the end
		b := c.random(100_000)
		if _, err := s.Write(b); err != nil {
			return err
		}
		c.done("discard", len(b))
		return nil
	case 19:
		return c.generated(s)
	}
	in := bufio.NewReader(s)
	for range 1 + c.rng.IntN(8) {
		if c.over.Load() {
			return nil
		}
		gone, err := c.request(s, in)
		if err != nil || gone {
			return err
		}
		c.pause(10 * time.Millisecond)
	}
	return nil
}

// generated reads some of what never ends, slowly, and goes away.
func (c *loadClient) generated(s *vmft.Stream) error {
	b := make([]byte, 10_000+c.rng.IntN(100_000))
	for at := 0; at < len(b); {
		n, err := s.Read(b[at:min(len(b), at+1+c.rng.IntN(30_000))])
		if err != nil {
			return err
		}
		at += n
		c.pause(5 * time.Millisecond)
	}
	c.done("generate", len(b))
	if c.rng.IntN(2) == 0 {
		_ = s.Reset() // never fails
	}
	return placedAs(b)
}

// placedAs compares bytes with what the server sends at their places.
func placedAs(b []byte) error {
	for i, got := range b {
		if want := byte(i*31 + i>>8); got != want {
			return fmt.Errorf("byte %d of %d is %x instead of %x", i, len(b), got, want)
		}
	}
	return nil
}

// request makes one, and reports whether the client has gone away with it.
func (c *loadClient) request(s *vmft.Stream, in *bufio.Reader) (gone bool, err error) {
	c.flying.Add(1)
	defer c.flying.Add(-1)
	if err := s.SetDeadline(time.Now().Add(loadPatience)); err != nil {
		return true, err
	}
	switch k := c.rng.IntN(100); {
	case k < 45:
		return c.write(s, in)
	case k < 75:
		return false, c.read(s, in)
	case k < 80:
		return false, c.file(s, in)
	case k < 88:
		body := c.random(40_000)
		if c.rng.IntN(10) == 0 {
			body = c.random(300_000)
		}
		got, err := c.do(s, in, "POST", "/sum", body)
		if want := fmt.Sprintf("%s %d", digest(body), len(body)); err == nil && string(got) != want {
			err = fmt.Errorf("the sum of %d bytes is %.100q instead of %.100q", len(body), got, want)
		}
		c.done("sum", len(body))
		return false, err
	default:
		n := c.rng.IntN(150_000)
		got, err := c.do(s, in, "GET", fmt.Sprintf("/bytes/%d", n), nil)
		if err == nil && len(got) != n {
			err = fmt.Errorf("%d bytes instead of %d", len(got), n)
		}
		c.done("bytes", n)
		return false, errors.Join(err, placedAs(got))
	}
}

func (c *loadClient) cell() string { return fmt.Sprintf("c%d", c.rng.IntN(4)) }

// write writes to a cell. One client in a while goes away before it has an answer, or before
// it has sent all.
func (c *loadClient) write(s *vmft.Stream, in *bufio.Reader) (gone bool, err error) {
	value := c.random(300)
	if c.rng.IntN(10) == 0 {
		value = c.random(60_000)
	}
	c.writes++
	op := cellCall{name: c.cell(), write: true, by: fmt.Sprintf("%d-%d", c.number, c.writes), value: digest(value)}
	began := time.Now()
	if c.rng.IntN(15) == 0 {
		head := fmt.Sprintf("PUT /cell/%s?by=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", op.name, op.by, len(value))
		sent := value
		whole := c.rng.IntN(2) == 0
		if !whole {
			sent = value[:len(value)/2]
		}
		if _, err := s.Write(append([]byte(head), sent...)); err != nil {
			return true, err
		}
		c.pause(20 * time.Millisecond)
		_ = s.Reset() // never fails
		if whole || len(value) == 0 {
			c.record(op, cellReply{lost: true}, began)
		}
		c.done("vanish", 0)
		return true, nil
	}
	got, err := c.do(s, in, "PUT", "/cell/"+op.name+"?by="+op.by, value)
	var r cellReply
	if err == nil {
		_, err = fmt.Sscanf(string(got), "%d %s", &r.version, &r.token)
	}
	if err != nil {
		return false, err
	}
	c.record(op, r, began)
	c.done("write", len(value))
	return false, nil
}

func (c *loadClient) read(s *vmft.Stream, in *bufio.Reader) error {
	op := cellCall{name: c.cell()}
	began := time.Now()
	got, err := c.do(s, in, "GET", "/cell/"+op.name, nil)
	if err != nil {
		return err
	}
	version, rest, _ := bytes.Cut(got, []byte(" "))
	token, value, ok := bytes.Cut(rest, []byte(" "))
	r := cellReply{token: string(token), value: digest(value)}
	if _, err := fmt.Sscanf(string(version), "%d", &r.version); err != nil || !ok {
		return fmt.Errorf("a cell is %.100q, %w", got, err)
	}
	c.record(op, r, began)
	c.done("read", len(value))
	return nil
}

// file writes to a file of its own, or reads one. The disk may be full: then nothing has changed.
func (c *loadClient) file(s *vmft.Stream, in *bufio.Reader) error {
	name := fmt.Sprintf("f%d-%d", c.number, c.rng.IntN(3))
	if has, ok := c.files[name]; ok && c.rng.IntN(2) == 0 {
		got, err := c.do(s, in, "GET", "/file/"+name, nil)
		if err == nil && digest(got) != has {
			err = fmt.Errorf("file %s has other %d bytes than were written", name, len(got))
		}
		c.done("file read", len(got))
		return err
	}
	value := c.random(20_000)
	_, err := c.do(s, in, "PUT", "/file/"+name, value)
	if err == nil {
		c.files[name] = digest(value)
		c.done("file", len(value))
	} else if strings.Contains(err.Error(), "507 ") {
		c.done("no room", 0)
		return nil
	}
	return err
}

func (c *loadClient) record(op cellCall, r cellReply, began time.Time) {
	o := porcupine.Operation{ClientId: c.number, Input: op, Output: r, Call: began.UnixNano(), Return: time.Now().UnixNano()}
	if r.lost {
		o.Return = 1 << 62
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = append(c.history, o)
}

// do does a request on a connection that is kept, and returns the body of what comes back.
func (c *loadClient) do(s *vmft.Stream, in *bufio.Reader, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(method, "http://server"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if err := req.Write(s); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.100s", resp.Status, got)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return got, nil
}

// loadReport says what a load has done.
func (l *load) report() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []string
	for _, kind := range []string{"write", "read", "sum", "bytes", "echo", "generate", "discard", "vanish", "file", "file read", "no room"} {
		parts = append(parts, fmt.Sprintf("%d %s", l.kinds[kind], kind))
	}
	return fmt.Sprintf("%s, %d bytes", strings.Join(parts, ", "), l.bytes)
}
