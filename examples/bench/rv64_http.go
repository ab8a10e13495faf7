package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/vmft/rv64"
)

// httpClients is how many clients send requests, one after the other each.
const httpClients = 8

// measureGuestHTTP counts the requests that a server in the machine answers.
func measureGuestHTTP(ctx context.Context, c *guestCell, turn time.Duration) ([]metric, error) {
	m, err := c.load("serve", "8080")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addr := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		_, err := rv64.Drive(ctx, m, rv64.HostConfig{Listen: func(uint16) (net.Listener, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err == nil {
				addr <- l.Addr().String()
			}
			return l, err
		}})
		ended <- err
	}()
	select {
	case a := <-addr:
		rate, err := requests(ctx, a, turn)
		cancel()
		<-ended
		return []metric{{"req/s", rate}}, err
	case err := <-ended:
		return nil, errors.Join(err, errors.New("the guest does not listen"))
	}
}

// measureNativeHTTP counts those that the same server answers on the host.
func measureNativeHTTP(ctx context.Context, c *guestCell, turn time.Duration) ([]metric, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // for a port that is free
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, c.native, "serve", strconv.Itoa(port))
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for tries := 0; ; tries++ {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		if tries == 100 {
			return nil, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	rate, err := requests(ctx, addr, turn)
	return []metric{{"req/s", rate}}, err
}

// requests sends as many as it can for a while.
func requests(ctx context.Context, addr string, turn time.Duration) (rate float64, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: httpClients}}
	defer client.CloseIdleConnections()
	var count atomic.Int64
	var clients sync.WaitGroup
	failed := make(chan error, httpClients)
	start := time.Now()
	for range httpClients {
		clients.Go(func() {
			for time.Since(start) < turn {
				req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/x", nil)
				if err != nil {
					failed <- err
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					failed <- err
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != "hello, /x\n" {
					failed <- fmt.Errorf("%q, %v", b, err)
					return
				}
				count.Add(1)
			}
		})
	}
	clients.Wait()
	select {
	case err = <-failed:
	default:
	}
	return float64(count.Load()) / time.Since(start).Seconds(), err
}
