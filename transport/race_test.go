package transport_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
)

// TestConcurrentReads: every byte goes to exactly one of many readers.
func TestConcurrentReads(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	client, server := join(t, n, "a", "b")
	const size = 32 << 20
	var mu sync.Mutex // guards total
	var total [256]int
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, 100_000)
			for {
				k, err := server.Read(buf)
				mu.Lock()
				for _, b := range buf[:k] {
					total[b]++
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	if _, err := client.Write(data); err != nil {
		t.Fatal(err)
	}
	client.Close()
	wg.Wait()
	for b, count := range total {
		if count != size/256 {
			t.Errorf("byte %d was read %d times, and written %d times", b, count, size/256)
		}
	}
}

// TestCloseWhileBytesAreCopied: connections that are closed or broken in the
// middle of large reads and writes never disturb others, with which they share
// buffers.
func TestCloseWhileBytesAreCopied(t *testing.T) {
	n := transporttest.NewNetwork(t, transport.NetworkConfig{})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(worker)))
			// Whether a connection gets as far as a reset is chance: more of them if few did.
			for round := 0; round < 400 || n.FaultCount(transport.FaultReset) < 20 && round < 4000; round++ {
				client, server, _, err := connect(t, n.Host("a"), n.Host("b"), ":0")
				if err != nil {
					t.Error(err)
					return
				}
				mark := byte(worker*64 + round%64)
				writes, limit, reset := r.IntN(10), r.IntN(1<<19), r.IntN(8) == 0
				var ends sync.WaitGroup
				ends.Go(func() {
					defer client.Close()
					data := bytes.Repeat([]byte{mark}, 64<<10)
					for range writes {
						if _, err := client.Write(data); err != nil {
							return
						}
					}
					if reset {
						n.Reset("a", "b") // hits the other workers too
					}
				})
				ends.Go(func() {
					defer server.Close()
					buf := make([]byte, 48<<10)
					for got := 0; got < limit; {
						k, err := server.Read(buf)
						if bytes.Count(buf[:k], []byte{mark}) != k {
							t.Error("bytes of another connection")
							return
						}
						if got += k; err != nil {
							return
						}
					}
				})
				ends.Wait()
			}
		})
	}
	wg.Wait()
	if n.FaultCount(transport.FaultReset) < 20 {
		t.Errorf("only %d resets", n.FaultCount(transport.FaultReset))
	}
}
