package gfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/transport"
)

// cluster starts a master and three chunkservers in this process, on a network in memory
// and a directory, and returns a client. (In a test, gfstest.Start does as much.)
func cluster() (client *gfs.Client, stop func()) {
	dir, err := os.MkdirTemp("", "gfs")
	if err != nil {
		log.Fatal(err)
	}
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	master, err := gfs.StartMaster(ctx, gfs.MasterConfig{Transport: network.Host("master"), Addr: ":1", Dir: filepath.Join(dir, "master")})
	if err != nil {
		log.Fatal(err)
	}
	masters := []string{"master:1"}
	var servers []*gfs.Chunkserver
	for i := range 3 {
		host := fmt.Sprintf("disk%d", i)
		s, err := gfs.StartChunkserver(ctx, gfs.ChunkserverConfig{
			Transport: network.Host(host), Addr: ":1", Advertise: host + ":1", Dir: filepath.Join(dir, host), Masters: masters,
		})
		if err != nil {
			log.Fatal(err)
		}
		servers = append(servers, s)
	}
	client, err = gfs.Dial(ctx, gfs.ClientConfig{Transport: network.Host("client"), Masters: masters})
	if err != nil {
		log.Fatal(err)
	}
	return client, func() {
		client.Close()
		for _, s := range servers {
			s.Close()
		}
		master.Close()
		network.Close()
		os.RemoveAll(dir)
	}
}

// A whole replicated file system in one process.
func ExampleStartMaster() {
	client, stop := cluster()
	defer stop()
	info, err := client.Cluster(context.Background())
	fmt.Println(info.ChunkSize, err)
	// Output: 67108864 <nil>
}

func ExampleClient() {
	client, stop := cluster()
	defer stop()
	ctx := context.Background()

	f, err := client.Create(ctx, "logs/today") // and the directory above it
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(f, "hello")
	if err := f.Close(); err != nil { // everything is on three disks
		log.Fatal(err)
	}
	data, err := client.ReadFile(ctx, "logs/today")
	fmt.Printf("%q %v\n", data, err)
	// Output: "hello\n" <nil>
}

// Many clients may append to one file at a time: each record is there as a whole, at the
// offset that is returned.
func ExampleClient_Append() {
	client, stop := cluster()
	defer stop()
	ctx := context.Background()
	f, err := client.OpenFile(ctx, "queue", gfs.OpenOptions{Create: true, Append: true})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for _, record := range []string{"first", "second"} {
		off, err := f.Append([]byte(record))
		fmt.Println(off, err)
	}
	// Output:
	// 0 <nil>
	// 5 <nil>
}

// An fs.FS for everything that takes one.
func ExampleClient_FS() {
	client, stop := cluster()
	defer stop()
	ctx := context.Background()
	for _, name := range []string{"web/index.html", "web/style.css"} {
		if err := client.WriteFile(ctx, name, []byte(name), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	names, err := fs.Glob(client.FS(), "web/*")
	fmt.Println(names, err)
	// Output: [web/index.html web/style.css] <nil>
}

// A snapshot costs nothing at first: chunks are copied when one of the two is changed.
func ExampleClient_Snapshot() {
	client, stop := cluster()
	defer stop()
	ctx := context.Background()
	if err := client.WriteFile(ctx, "table", []byte("old"), 0o644); err != nil {
		log.Fatal(err)
	}
	if err := client.Snapshot(ctx, "table", "backup"); err != nil {
		log.Fatal(err)
	}
	f, err := client.OpenFile(ctx, "table", gfs.OpenOptions{Write: true})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		log.Fatal(err)
	}
	f.Close()
	table, _ := client.ReadFile(ctx, "table")
	backup, _ := client.ReadFile(ctx, "backup")
	fmt.Printf("%s %s\n", table, backup)
	// Output: new old
}

// What was removed can be had back for three days.
func ExampleClient_Undelete() {
	client, stop := cluster()
	defer stop()
	ctx := context.Background()
	if err := client.WriteFile(ctx, "thesis", []byte("…"), 0o644); err != nil {
		log.Fatal(err)
	}
	if err := client.Remove(ctx, "thesis"); err != nil {
		log.Fatal(err)
	}
	_, err := client.Stat(ctx, "thesis")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	name, err := client.Undelete(ctx, "thesis", "")
	fmt.Println(name, err)
	// Output:
	// true
	// thesis <nil>
}

// Records that find themselves again among padding, pieces and duplicates.
func ExampleNewRecordReader() {
	client, stop := cluster()
	defer stop()
	ctx := context.Background()
	f, err := client.OpenFile(ctx, "events", gfs.OpenOptions{Create: true, Append: true})
	if err != nil {
		log.Fatal(err)
	}
	w := gfs.NewRecordWriter(f, gfs.RecordWriterConfig{})
	for _, event := range []string{"start", "stop"} {
		if err := w.Write([]byte(event)); err != nil {
			log.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		log.Fatal(err)
	}
	if f, err = client.Open(ctx, "events"); err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	r := gfs.NewRecordReader(f, gfs.RecordReaderConfig{})
	for {
		record, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(record.Data))
	}
	// Output:
	// start
	// stop
}
