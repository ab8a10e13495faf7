package gfs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/trilith-go/trilith/gfs"
)

// A whole replicated file system in a process: with LocalConfig.Dir it is there again
// when the process is.
func ExampleStartLocal() {
	ctx := context.Background()
	cluster, err := gfs.StartLocal(ctx, gfs.LocalConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	client := cluster.Client()
	if err := client.WriteFile(ctx, "poems/barrow", []byte("so much depends upon\n"), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	text, err := client.ReadFile(ctx, "poems/barrow")
	fmt.Print(string(text), err, "\n")
	// Output:
	// so much depends upon
	// <nil>
}

func TestLocalKeepsItsFiles(t *testing.T) {
	cfg := gfs.LocalConfig{Dir: t.TempDir(), Hosts: []string{"a", "b"}, Master: gfs.MasterConfig{ChunkSize: 1 << 20, Cluster: "stones"}}
	for run := range 2 {
		l, err := gfs.StartLocal(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if run == 0 {
			err = l.Client().WriteFile(t.Context(), "f", []byte("kept"), 0o600)
		}
		if err != nil {
			t.Error(err)
		}
		if b, err := l.Client().ReadFile(t.Context(), "f"); err != nil || string(b) != "kept" {
			t.Errorf("in run %d the file is %q, %v", run, b, err)
		}
		if info, err := l.Client().Stat(t.Context(), "f"); err != nil || info.Replication() != 2 {
			t.Errorf("the file is %v, %v, want 2 replicas", info, err)
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestLocalSaysWhatIsWrong(t *testing.T) {
	for _, cfg := range []gfs.LocalConfig{
		{Hosts: []string{}},
		{Master: gfs.MasterConfig{ChunkSize: 1}},
		{Client: gfs.ClientConfig{Jitter: -1}},
	} {
		if l, err := gfs.StartLocal(t.Context(), cfg); !errors.Is(err, gfs.ErrConfig) {
			t.Errorf("%+v: %v, %v", cfg, l, err)
		}
	}
}
