package vmft_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
	"github.com/trilith-go/trilith/transport/transporttest"
	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest"
)

// kept returns a function that opens the same arbiter for the same name.
func kept(make func() vmft.Arbiter) func(t *testing.T, name string) vmft.Arbiter {
	var mu sync.Mutex
	all := map[string]vmft.Arbiter{}
	return func(_ *testing.T, name string) vmft.Arbiter {
		mu.Lock()
		defer mu.Unlock()
		if all[name] == nil {
			all[name] = make()
		}
		return all[name]
	}
}

func TestMemoryArbiter(t *testing.T) { vmfttest.TestArbiter(t, kept(vmft.MemoryArbiter)) }

func TestDirArbiter(t *testing.T) {
	dir := t.TempDir()
	vmfttest.TestArbiter(t, func(_ *testing.T, name string) vmft.Arbiter {
		return vmft.DirArbiter(filepath.Join(dir, name))
	})
}

func TestRPCArbiter(t *testing.T) {
	network := transporttest.NewNetwork(t, transport.NetworkConfig{})
	var mu sync.Mutex
	addrs := map[string]string{}
	vmfttest.TestArbiter(t, func(t *testing.T, name string) vmft.Arbiter {
		mu.Lock()
		defer mu.Unlock()
		if addrs[name] == "" {
			s, err := rpc.NewServer(rpc.ServerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			vmft.ServeArbiter(s, vmft.MemoryArbiter())
			addr, err := s.Listen(t.Context(), network.Host("arbiter"), ":0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			addrs[name] = addr.String()
		}
		c, err := rpc.NewClient(rpc.ClientConfig{Transport: network.Host("node"), Addrs: []string{addrs[name]}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return vmft.RPCArbiter(c)
	})
}

// Storage that is not mounted is not an empty chain.
func TestDirArbiterUnmounted(t *testing.T) {
	a := vmft.DirArbiter(filepath.Join(t.TempDir(), "mnt", "lock"))
	if _, err := a.Newest(context.Background()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the newest record below a directory that is not there: %v", err)
	}
	if _, err := a.Claim(context.Background(), vmft.Record{Epoch: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a claim below a directory that is not there: %v", err)
	}
}
