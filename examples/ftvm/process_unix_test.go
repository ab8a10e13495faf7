//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// process returns the one that was last said to be something.
func (s *screen) process(t *testing.T, role string) int {
	t.Helper()
	m := regexp.MustCompile(`\(process (\d+)\) is `+role).FindAllStringSubmatch(s.String(), -1)
	if len(m) == 0 {
		t.Fatalf("nobody is %s in\n%s", role, s)
	}
	pid, err := strconv.Atoi(m[len(m)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// customer is an HTTP client that keeps one connection, and holds the guest to its word.
type customer struct {
	url    string
	number int
	client *http.Client
	dials  atomic.Int64
	rounds atomic.Int64
}

func newCustomer(addr string, number int) *customer {
	c := &customer{url: "http://" + addr, number: number}
	c.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c.dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}}
	return c
}

func (c *customer) do(method, path, body string) (string, error) {
	req, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return strings.TrimSpace(string(b)), err
}

// shop asks for one thing after the other, until ctx ends, and checks all answers.
func (c *customer) shop(ctx context.Context) error {
	defer c.client.CloseIdleConnections()
	for n := 1; ctx.Err() == nil; n++ {
		key, value := fmt.Sprintf("/kv/%d-%d", c.number, n%7), fmt.Sprintf("%d of %d", n, c.number)
		if got, err := c.do("POST", fmt.Sprintf("/count/c%d", c.number), ""); err != nil || got != fmt.Sprint(n) {
			return fmt.Errorf("count %d is %q, %w", n, got, err)
		}
		if _, err := c.do("PUT", key, value); err != nil {
			return err
		}
		if got, err := c.do("GET", key, ""); err != nil || got != value {
			return fmt.Errorf("%s is %q instead of %q, %w", key, got, value, err)
		}
		c.rounds.Add(1)
	}
	return nil
}

// Real processes are killed by kill -9 and stopped by SIGSTOP, and not by the program: it
// tells what has happened, and connections of plain clients go on, with nothing lost that they
// were told. A primary that was stopped and goes on later does no harm.
func TestKilledByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs screen
	ended := make(chan int, 1)
	disk := t.TempDir()
	go func() {
		ended <- run(ctx, []string{"-forward", "127.0.0.1:0", "-shared", disk}, strings.NewReader(""), &out, &errs)
	}()
	addr := out.await(t, 0, `is reached at (\S+),`)[1]
	shopping, over := context.WithCancel(t.Context())
	defer over()
	customers := make([]*customer, 3)
	var work sync.WaitGroup
	for i := range customers {
		c := newCustomer(addr, i)
		customers[i] = c
		work.Go(func() {
			if err := c.shop(shopping); err != nil {
				t.Errorf("client %d after %d rounds: %v", i, c.rounds.Load(), err)
			}
		})
	}
	// goOn waits until every client has been served again.
	goOn := func() {
		t.Helper()
		for i, c := range customers {
			before := c.rounds.Load()
			testutil.Eventually(t, time.Minute, func() bool { return t.Failed() || c.rounds.Load() > before+2 }, fmt.Sprintf("that client %d is served", i))
		}
	}
	signal := func(pid int, s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	first := out.await(t, 0, `node 1 is \S+ \(process (\d+)\)`)
	pid, err := strconv.Atoi(first[1])
	if err != nil {
		t.Fatal(err)
	}
	goOn()

	at := len(out.String())
	signal(pid, syscall.SIGKILL)
	out.await(t, at, `(?s)fail-over \d+: node 1, the primary of epoch \d+, was killed.*: live\n.*a clone was made.*\) is the primary\n(.*\n)?\n`)
	goOn()

	at = len(out.String())
	stopped := out.process(t, "the primary")
	signal(stopped, syscall.SIGSTOP)
	out.await(t, at, `(?s)fail-over \d+: .* does not answer\n.*: live\n.*a clone was made.*\) is the primary\n(.*\n)?\n`) // by the spare
	goOn()
	if out.process(t, "the primary") == stopped || out.process(t, "the backup") == stopped {
		t.Errorf("who is stopped has a part in it:\n%s", &out)
	}
	signal(stopped, syscall.SIGCONT)
	goOn()

	at = len(out.String())
	signal(out.process(t, "the backup"), syscall.SIGKILL)
	out.await(t, at, `(?s)a backup or a spare was lost\n.*was killed.*\) is the primary\n(.*\n)?\n`)
	goOn()

	over()
	work.Wait()
	for i, c := range customers {
		if n := c.dials.Load(); n != 1 {
			t.Errorf("client %d has dialed %d times", i, n)
		}
	}
	cancel()
	if status := <-ended; status != 0 || !strings.Contains(out.String(), "no count was lost or done twice") {
		t.Errorf("status %d: %s\n%s", status, &errs, &out)
	}
	before := counter(t, out.String())
	if n, text := counted(t, "-for 100ms -shared "+disk); n <= before || !strings.Contains(text, fmt.Sprintf("the guest has %d counters", 1+len(customers))) {
		t.Errorf("the counter is at %d, after %d:\n%s", n, before, text)
	}
}

// The page of the guest goes on in a browser while one primary after the other is killed.
func TestPageTicks(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs screen
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, strings.Fields("-forward 127.0.0.1:0 -memory -chaos 500ms"), strings.NewReader(""), &out, &errs)
	}()
	addr := out.await(t, 0, `is reached at (\S+),`)[1]
	pauses := func() int { return strings.Count(out.String(), "a client saw a pause") }
	var page string
	before, after := pauses(), 0
	for range 10 { // until something has happened meanwhile: the browser's time goes by faster
		before = pauses()
		page = testutil.Browse(t, "http://"+addr+"/", 20*time.Second)
		if after = pauses(); after > before {
			break
		}
	}
	if m := regexp.MustCompile(`id="ticks">(\d+)<`).FindStringSubmatch(page); m == nil || !strings.Contains(page, `<p id="pause"></p>`) {
		t.Errorf("the page has become\n%s", page)
	} else {
		t.Logf("%s ticks, %d fail-overs", m[1], after-before)
	}
	if after == before {
		t.Error("nothing has happened while the page was looked at")
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s\n%s", status, &errs, &out)
	}
}
