// Stress exercises the runtime: goroutines, the garbage collector, timers,
// preemption, signals and panics.
package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"time"
)

type node struct {
	left, right *node
	v           [10]int
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: tree(depth - 1), right: tree(depth - 1)}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func main() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	jobs, total := make(chan int), 0
	for range 8 {
		wg.Go(func() {
			for range jobs {
				n := tree(5).count()
				mu.Lock()
				total += n
				mu.Unlock()
			}
		})
	}
	for i := range 20 {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	fmt.Println("nodes", total)

	start := time.Now()
	time.Sleep(50 * time.Millisecond)
	ticker := time.NewTicker(10 * time.Millisecond)
	for range 3 {
		<-ticker.C
	}
	fmt.Println("slept", time.Since(start) >= 80*time.Millisecond)

	go func() {
		for x := 0; ; x++ { // only a signal takes the processor from it
			if x < 0 {
				fmt.Println(x)
			}
		}
	}()
	runtime.GC()
	time.Sleep(2 * time.Millisecond)

	m := make(map[string]int)
	for i := range 500 {
		m[fmt.Sprint(i%331)] += i
	}
	order := sha256.New()
	for k := range m { // in an order that depends on the randomness
		order.Write([]byte(k))
	}
	fmt.Printf("%d keys in the order %x, chance %d\n", len(m), order.Sum(nil)[:4], rand.IntN(1000000))

	if err := os.WriteFile("/tmp/x", []byte("hello"), 0o600); err != nil {
		fmt.Println(err)
	}
	b, err := os.ReadFile("/tmp/x")
	fmt.Println(string(b), err)
	func() {
		defer func() { fmt.Println(recover()) }()
		var p *int
		*p = 1
	}()
	os.Exit(7)
}
