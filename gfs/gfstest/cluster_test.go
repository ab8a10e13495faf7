package gfstest_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
)

// random returns n bytes that follow from a seed.
func random(seed uint64, n int) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	_, _ = rng.Read(b)
	return b
}

func TestClusterKeepsAFile(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := gfstest.Start(t, gfstest.Config{Chunkservers: 4})
		client := c.Client()
		data := random(1, 3_500_000)
		if err := client.WriteFile(context.Background(), "a/b", data, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := client.ReadFile(context.Background(), "a/b")
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		info, err := client.Stat(context.Background(), "a/b")
		if err != nil || info.Size() != int64(len(data)) {
			t.Errorf("stat: %v, %v", info, err)
		}
	})
}

func TestClusterAppends(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := gfstest.Start(t, gfstest.Config{})
		client := c.Client()
		f, err := client.Create(context.Background(), "log")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if _, err := f.Append(random(uint64(i), 100_000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		r, err := client.Open(context.Background(), "log")
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if !bytes.Contains(all, random(uint64(i), 100_000)) {
				t.Errorf("record %d is not there", i)
			}
		}
	})
}
