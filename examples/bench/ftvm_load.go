package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// An asker sends requests on one connection, one after the other.
type asker struct {
	conn net.Conn
	in   *bufio.Reader
}

func newAsker(conn net.Conn) *asker { return &asker{conn, bufio.NewReader(conn)} }

// askPatience is how long an answer may take.
const askPatience = time.Minute

func (a *asker) ask() error {
	if err := a.conn.SetDeadline(time.Now().Add(askPatience)); err != nil {
		return err
	}
	if _, err := io.WriteString(a.conn, "GET /x HTTP/1.1\r\nHost: guest\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	if err == nil && string(b) != "hello, /x\n" {
		err = fmt.Errorf("the answer is %q", b)
	}
	return err
}

// A served is what a server has answered.
type served struct {
	rate  float64 // a second
	count int
	took  histogram
}

// request has clients send requests for a while: each the next when it has the answer, or at
// a rate in all, if that is not 0. How long an answer takes counts from when it was due.
func request(ctx context.Context, addr string, turn time.Duration, rate float64) (served, error) {
	var mu sync.Mutex
	var all served
	var failed error
	var clients sync.WaitGroup
	start := time.Now()
	for i := range httpClients {
		clients.Go(func() {
			var took histogram
			n, err := requestOn(ctx, addr, start, turn, rate/httpClients, i, &took)
			mu.Lock()
			defer mu.Unlock()
			all.count += n
			all.took.merge(&took)
			if err != nil && failed == nil {
				failed = err
			}
		})
	}
	clients.Wait()
	all.rate = float64(all.count) / time.Since(start).Seconds()
	if failed == nil {
		failed = ctx.Err()
	}
	return all, failed
}

func requestOn(ctx context.Context, addr string, start time.Time, turn time.Duration, rate float64, client int, took *histogram) (n int, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	a := newAsker(conn)
	for ctx.Err() == nil {
		due := time.Now()
		if rate > 0 {
			due = start.Add(time.Duration((float64(n) + float64(client)/httpClients) / rate * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
		if due.Sub(start) >= turn {
			break
		}
		if err := a.ask(); err != nil {
			return n, err
		}
		took.add(time.Since(due))
		n++
	}
	return n, nil
}
