// Guest uses a shared disk in the ways that programs use disks.
//
//	guest all      does everything once, and says what it finds
//	guest look     says what is on the disk
//	guest log N    appends N records to a log, syncs each, and says each that is safe
//	guest stubborn N  does so too, and does again what could not be synced
//	guest fill     writes until the disk is full, and then removes
//	guest read N   writes 1 MiB and reads it again N times
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// root is where it works: on the shared disk, or, to compare, on the local one.
var root = os.Getenv("ROOT")

func main() {
	defer func() {
		if r := recover(); r != nil {
			fmt.Println("failed:", r)
			os.Exit(1)
		}
	}()
	n := 0
	if len(os.Args) > 2 {
		n, _ = strconv.Atoi(os.Args[2])
	}
	switch os.Args[1] {
	case "all":
		all()
	case "look":
	case "log":
		record(n)
		return
	case "stubborn":
		stubborn(n)
		return
	case "fill":
		fill()
		return
	case "read":
		read(n)
		return
	}
	look()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func in(name string) string { return filepath.Join(root, name) }

func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*seed + i>>9)
	}
	return b
}

func all() {
	// A file as a whole, and its replacement by renaming.
	must(os.Mkdir(in("a"), 0o750))
	must(os.WriteFile(in("a/config.json"), []byte(`{"old":true}`), 0o600))
	b, err := json.Marshal(map[string]int{"one": 1, "two": 2})
	must(err)
	must(os.WriteFile(in("a/config.json.tmp"), b, 0o640))
	must(os.Rename(in("a/config.json.tmp"), in("a/config.json")))

	// A large one, with holes, cut off and grown again.
	f, err := os.Create(in("large"))
	must(err)
	_, err = f.WriteAt(pattern(700_000, 3), 1_000_000)
	must(err)
	_, err = f.WriteAt([]byte("in the middle"), 500_000)
	must(err)
	must(f.Truncate(1_200_000))
	must(f.Truncate(1_500_000))
	_, err = f.Seek(0, io.SeekEnd)
	must(err)
	_, err = f.Write([]byte("the end"))
	must(err)
	got := make([]byte, 400_007)
	_, err = f.ReadAt(got, 1_100_000)
	must(err)
	want := append(pattern(700_000, 3)[100_000:200_000], make([]byte, 300_000)...)
	want = append(want, "the end"...)
	fmt.Println("cut and grown:", bytes.Equal(got, want))
	must(f.Sync())
	must(f.Close())

	// Appending by several at once: no record is torn or lost.
	var work sync.WaitGroup
	for i := range 4 {
		work.Add(1)
		go func() {
			defer work.Done()
			f, err := os.OpenFile(in("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
			must(err)
			defer f.Close()
			for j := range 5 {
				_, err := fmt.Fprintf(f, "record %d of %d\n", j, i)
				must(err)
			}
			must(f.Sync())
		}()
	}
	work.Wait()
	b, err = os.ReadFile(in("log"))
	must(err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(lines)
	fmt.Println("appended:", len(lines), len(slices.Compact(lines)), lines[0])

	// Names.
	must(os.Symlink("a/config.json", in("link")))
	must(os.Link(in("log"), in("a/log2")))
	must(os.WriteFile(in("gone"), pattern(300_000, 5), 0o644))
	f, err = os.Open(in("gone"))
	must(err)
	must(os.Remove(in("gone")))
	b, err = io.ReadAll(f)
	must(err)
	fmt.Println("without a name:", bytes.Equal(b, pattern(300_000, 5)))
	must(f.Close())
	must(os.Chmod(in("log"), 0o600))

	// What has been emptied, while it was long.
	must(os.WriteFile(in("short"), pattern(100_000, 7), 0o644))
	must(os.WriteFile(in("short"), []byte("short"), 0o644))
	f, err = os.OpenFile(in("short"), os.O_RDWR|os.O_SYNC, 0)
	must(err)
	_, err = f.WriteAt([]byte("!"), 20)
	must(err)
	must(f.Close())

	if root == "/shared" {
		elsewhere()
	}
	syscall.Sync()
}

// elsewhere is about what a shared disk can't do, and about copies from it and to it.
func elsewhere() {
	must(os.WriteFile("/tmp/x", []byte("x"), 0o644))
	fmt.Println("rename from another disk:", errors.Is(os.Rename("/tmp/x", in("x")), syscall.EXDEV))
	fmt.Println("link from another disk:", errors.Is(os.Link("/tmp/x", in("x")), syscall.EXDEV))
	f, err := os.Open(in("log"))
	must(err)
	_, err = syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_PRIVATE)
	fmt.Println("map:", err)
	to, err := os.Create("/tmp/copy")
	must(err)
	n, err := io.Copy(to, f)
	fmt.Println("copied to the local disk:", n, err)
	from, err := os.Open("/tmp/copy")
	must(err)
	to, err = os.Create(in("copy"))
	must(err)
	n, err = io.Copy(to, from)
	fmt.Println("and back:", n, err, to.Close())
	fmt.Println("remove what is mounted:", os.Remove(root) != nil)
	for _, f := range []*os.File{from, to} {
		f.Close()
	}
	must(os.Remove(in("copy")))
}

func look() {
	must(filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		must(err)
		info, err := e.Info()
		must(err)
		switch {
		case e.IsDir():
			fmt.Println(strings.TrimPrefix(path, root), info.Mode())
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			must(err)
			fmt.Println(strings.TrimPrefix(path, root), "->", to)
		default:
			b, err := os.ReadFile(path)
			must(err)
			if strings.HasSuffix(path, "log") || strings.HasSuffix(path, "log2") {
				lines := strings.SplitAfter(string(b), "\n") // their order is chance
				slices.Sort(lines)
				b = []byte(strings.Join(lines, ""))
			}
			fmt.Printf("%s %v %d %08x\n", strings.TrimPrefix(path, root), info.Mode(), len(b), crc32.ChecksumIEEE(b))
		}
		return nil
	}))
}

func record(n int) {
	f, err := os.OpenFile(in("journal"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	must(err)
	b, err := io.ReadAll(f)
	must(err)
	fmt.Println("there are", bytes.Count(b, []byte("\n")))
	for i := range n {
		_, err := fmt.Fprintf(f, "entry %d %s\n", i, strings.Repeat("x", i%50))
		must(err)
		must(f.Sync())
		fmt.Println("safe", i)
	}
	b, err = os.ReadFile(in("journal"))
	must(err)
	fmt.Printf("%d entries, %08x\n", bytes.Count(b, []byte("\n")), crc32.ChecksumIEEE(b))
}

// stubborn writes each record anew until it is safe: what has failed is as good as not there.
func stubborn(n int) {
	f, err := os.OpenFile(in("journal"), os.O_CREATE|os.O_RDWR, 0o644)
	must(err)
	for i := range n {
		for {
			_, err := f.WriteAt([]byte(fmt.Sprintf("entry %4d\n", i)), int64(i)*11)
			if err == nil {
				err = f.Sync()
			}
			if err == nil {
				break
			}
			fmt.Println("error", i)
		}
		fmt.Println("safe", i)
	}
}

func fill() {
	must(os.WriteFile(in("precious"), pattern(100_000, 11), 0o644))
	f, err := os.Create(in("filler"))
	must(err)
	for written := 0; ; {
		n, err := f.Write(pattern(200_000, 13))
		if err == nil {
			err = f.Sync()
		}
		if written += n; err != nil {
			fmt.Println("full:", errors.Is(err, syscall.ENOSPC), written > 0)
			break
		}
	}
	f.Close()
	must(os.Remove(in("filler")))
	d, err := os.Open(root)
	must(err)
	fmt.Println("removed:", d.Sync())
	var err2 error
	for range 20 { // the room comes back when the disk has been synced
		if err2 = os.WriteFile(in("after"), pattern(200_000, 17), 0o644); err2 == nil {
			break
		}
		d.Sync()
	}
	fmt.Println("written again:", err2, d.Sync())
	b, err := os.ReadFile(in("precious"))
	fmt.Println("precious:", err, bytes.Equal(b, pattern(100_000, 11)))
}

func read(n int) {
	f, err := os.Create(in("data"))
	must(err)
	b := pattern(1<<20, 19)
	_, err = f.Write(b)
	must(err)
	for i := range n {
		got := make([]byte, 64<<10)
		at := int64(i*7919) % (1<<20 - 64<<10)
		_, err := f.ReadAt(got, at)
		must(err)
		if !bytes.Equal(got, b[at:at+64<<10]) {
			panic(fmt.Sprint("other bytes at ", at))
		}
		copy(b[at:], strings.Repeat(string(rune('a'+i%26)), 1000)) // and changed at once
		_, err = f.WriteAt(b[at:at+1000], at)
		must(err)
	}
	fmt.Println("read", n)
}
