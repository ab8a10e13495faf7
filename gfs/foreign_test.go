package gfs_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

// A chunkserver that is given the address of another cluster's master keeps its replicas:
// that master would take them all for garbage. Directories of other roles are refused, as
// is a shadow whose chunks would be of another size.
//
//lint:bubble
func TestForeignDirectories(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		network, err := transport.NewNetwork(transport.NetworkConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer network.Close()
		dir := t.TempDir()
		lead := func(host string) *gfs.Master {
			m, err := gfs.StartMaster(t.Context(), gfs.MasterConfig{Transport: network.Host(host), Addr: host + ":1", Dir: dir + "/" + host, ChunkSize: 1 << 20, Replication: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			return m
		}
		serve := func(master, dir string) (*gfs.Chunkserver, error) {
			return gfs.StartChunkserver(t.Context(), gfs.ChunkserverConfig{Transport: network.Host("s"), Addr: "s:1", Dir: dir, Masters: []string{master}})
		}
		mine, other := lead("mine"), lead("other")
		s, err := serve(mine.Addr(), dir+"/disk")
		if err != nil {
			t.Fatal(err)
		}
		client, err := gfs.Dial(t.Context(), gfs.ClientConfig{Transport: network.Host("c"), Masters: []string{mine.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.WriteFile(t.Context(), "f", []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		s.Close()

		if s, err = serve(other.Addr(), dir+"/disk"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if st := s.Status(); st.Replicas != 1 || st.Server != 0 {
			t.Errorf("at another cluster's master it has %d replicas, and is number %d", st.Replicas, st.Server)
		}
		s.Close()
		if s, err = serve(mine.Addr(), dir+"/disk"); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got, err := client.ReadFile(t.Context(), "f"); err != nil || string(got) != "mine" {
			t.Errorf("back at its own: %q, %v", got, err)
		}

		other.Close()
		if _, err := serve(mine.Addr(), dir+"/other"); !errors.Is(err, gfs.ErrConfig) || !strings.Contains(err.Error(), "directory of a master") {
			t.Errorf("a chunkserver in the directory of a master: %v", err)
		}
		m, err := gfs.StartMaster(t.Context(), gfs.MasterConfig{Transport: network.Host("x"), Addr: "x:1", Dir: dir + "/disk"})
		if !errors.Is(err, gfs.ErrConfig) || !strings.Contains(err.Error(), "directory of a chunkserver") {
			t.Errorf("a master in the directory of a chunkserver: %v, %v", m, err)
		}
		shadow, err := gfs.StartMaster(t.Context(), gfs.MasterConfig{Transport: network.Host("y"), Addr: "y:1", Follow: []string{mine.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		defer shadow.Close()
		if err := shadow.Wait(t.Context()); !errors.Is(err, gfs.ErrConfig) {
			t.Errorf("a shadow of another chunk size ends with %v", err)
		}
		if err := client.Forget(t.Context(), 1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("a chunkserver that is alive can be forgotten: %v", err)
		}
	})
}
