package main

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
)

// transactions are on a table of pages in a file on a shared disk: each reads two pages at
// random, and every tenth writes one, and has it synced. A few are under way at a
// time, each on a thread of its own.
const (
	transactions = 400 // of one round
	terminals    = 8   // that have one under way
	pageBytes    = 8 << 10
	tablePages   = 2 << 10
)

var table *os.File

func fail(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// makeTable fills the table.
func makeTable() {
	f, err := os.Create("/shared/table")
	fail(err)
	b := make([]byte, 64*pageBytes)
	for i := range b {
		b[i] = byte(i * 31)
	}
	for at := int64(0); at < tablePages*pageBytes; at += int64(len(b)) {
		_, err := f.WriteAt(b, at)
		fail(err)
	}
	fail(f.Sync())
	table = f
}

// transact does a round. Its result depends on none but itself.
func transact() uint64 {
	if table == nil {
		runtime.GOMAXPROCS(terminals + 1) // one that waits for the disk keeps no other from running
		makeTable()
	}
	var work sync.WaitGroup
	for n := range terminals {
		work.Add(1)
		go func() {
			defer work.Done()
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			page := make([]byte, pageBytes)
			for i := range transactions / terminals {
				sum := uint32(0)
				for range 2 {
					_, err := table.ReadAt(page, rng.Int64N(tablePages)*pageBytes)
					fail(err)
					sum ^= crc32.ChecksumIEEE(page)
				}
				if i%10 == 0 {
					page[0] = byte(sum)
					_, err := table.WriteAt(page, rng.Int64N(tablePages)*pageBytes)
					fail(err)
					fail(table.Sync())
				}
			}
		}()
	}
	work.Wait()
	return transactions
}
