package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// troubles are what a machine and its threads can be plagued with. Each goes on for ever, and
// ends the program when something is not as it should be.
var troubles = map[string]func(){
	"spin": spin, "threads": threads, "timers": timers, "signals": signals, "disk": disk, "garbage": garbage,
}

var zeroTime time.Time

// spin keeps two goroutines busy that never call anything: only a preemption stops them.
func spin() {
	for i := range uint64(2) {
		go func() {
			for x := i; ; {
				for range 1 << 16 {
					x = x*6364136223846793005 + 1442695040888963407
				}
				if x == 0 { // it is not optimized away
					say("nothing")
				}
				rounds.Add(1)
			}
		}()
	}
}

// threads has a token go round between threads of the system.
func threads() {
	const n = 64
	ring := make([]chan int, n)
	for i := range ring {
		ring[i] = make(chan int)
	}
	for i := range ring {
		go func() {
			runtime.LockOSThread()
			for turn := range ring[i] {
				if turn%n != i {
					fail(fmt.Errorf("thread %d has turn %d", i, turn))
				}
				if i == 0 {
					rounds.Add(1)
					time.Sleep(time.Millisecond)
				}
				ring[(i+1)%n] <- turn + 1
			}
		}()
	}
	go func() { ring[0] <- 0 }()
}

// timers has hundreds of timers under way that are set, moved and stopped, and sees that none
// comes early or not at all.
func timers() {
	for i := range 20 {
		go func() {
			moved := make([]*time.Timer, 15)
			for j := range moved {
				moved[j] = time.AfterFunc(time.Hour, func() { fail(errors.New("a timer has fired an hour early")) })
			}
			for k := 0; ; k++ {
				d := time.Duration(1+(i*7+k*13)%20) * time.Millisecond
				began := time.Now()
				moved[k%len(moved)].Reset(time.Hour)
				select {
				case <-time.After(d):
				case <-time.After(time.Minute):
					fail(errors.New("a timer has not fired"))
				}
				if took := time.Since(began); took < d {
					fail(fmt.Errorf("a timer has fired after %v, not %v", took, d))
				}
				rounds.Add(1)
			}
		}()
	}
	ticker := time.NewTicker(2 * time.Millisecond)
	go func() {
		var last time.Time
		for {
			<-ticker.C // what it says may be late by any time
			now := time.Now()
			if now.Before(last) {
				fail(fmt.Errorf("%v comes after %v", now, last))
			}
			last = now
		}
	}()
}

// signals sends signals to itself, all of which come, and runs into faults.
func signals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2)
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		for i := 0; ; i++ {
			s := []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2}[i%2]
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				fail(err)
			}
			if got := <-c; got != s {
				fail(fmt.Errorf("signal %v came instead of %v", got, s))
			}
			if err := fault(); err == nil {
				fail(errors.New("a fault went unnoticed"))
			}
			rounds.Add(1)
			time.Sleep(time.Millisecond)
		}
	}()
}

// fault reads where nothing is, which is a signal.
func fault() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = r.(error)
		}
	}()
	var nowhere *cell
	_ = nowhere.value[rounds.Load()]
	return nil
}

// disk fills the disk, until there is no room, and makes room again.
func disk() {
	go func() {
		for k := 0; ; k++ {
			name := fmt.Sprintf("/tmp/ballast%d", k%3)
			f, err := os.Create(name)
			if err != nil && !errors.Is(err, syscall.ENOSPC) {
				fail(err)
			}
			total := 0
			for piece := make([]byte, 32<<10); err == nil; {
				var n int
				n, err = f.Write(piece)
				total += n
			}
			if !errors.Is(err, syscall.ENOSPC) {
				fail(err)
			}
			if f != nil {
				if info, err := f.Stat(); err != nil || info.Size() != int64(total) {
					fail(fmt.Errorf("%d bytes were written, the file has %v, %v", total, info, err))
				}
				f.Close()
				time.Sleep(20 * time.Millisecond) // as others find it
				if err := os.Remove(name); err != nil {
					fail(err)
				}
			}
			rounds.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

// garbage keeps the collector at work.
func garbage() {
	type node struct {
		next *node
		data [100]byte
	}
	for range 3 {
		go func() {
			for {
				var list *node
				for range 2000 {
					list = &node{next: list}
				}
				n := 0
				for ; list != nil; list = list.next {
					n++
				}
				if n != 2000 {
					fail(fmt.Errorf("%d of 2000 nodes are left", n))
				}
				rounds.Add(1)
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
}
