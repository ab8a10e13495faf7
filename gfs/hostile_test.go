// This file lets strangers talk to a cluster that has work to do. It must not notice.
//
//lint:bubble
package gfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/rpc"
)

// undisturbed writes and reads while strangers do what they do.
func undisturbed(t *testing.T, strangers func(r *rig)) {
	t.Helper()
	paper(t, gfstest.Config{}, func(r *rig) {
		r.keep("good", 300_000)
		f := r.create("busy")
		stop, done := make(chan struct{}), make(chan int64)
		go func() {
			off := int64(0)
			for {
				select {
				case <-stop:
					done <- off
					return
				case <-time.After(25 * time.Millisecond):
				}
				if _, err := f.WriteAt(random(uint64(off), 1000), off); err != nil {
					t.Errorf("a write beside strangers: %v", err)
				}
				off += 1000
			}
		}()
		strangers(r)
		time.Sleep(5 * time.Second)
		close(stop)
		written := <-done
		b, err := r.client.ReadFile(r.ctx, "busy")
		r.must(err)
		if int64(len(b)) != written || written < 100_000 {
			t.Errorf("%d bytes are there, %d were written", len(b), written)
		}
		for off := int64(0); off < written; off += 1000 {
			if !bytes.Equal(b[off:off+1000], random(uint64(off), 1000)) {
				t.Fatalf("what was written at %d has changed", off)
			}
		}
		r.check()
		if list, err := r.client.Servers(r.ctx); err != nil || len(list) != 3 || !list[0].Alive || !list[1].Alive || !list[2].Alive {
			t.Errorf("the chunkservers are %+v, %v", list, err)
		}
		if err := r.c.Master().CheckInvariants(); err != nil {
			t.Error(err)
		}
		if names, err := r.client.ReadDir(r.ctx, "."); err != nil || len(names) != 2 {
			t.Errorf("strangers have left %v, %v", names, err)
		}
	})
}

// Whoever does not speak the protocol is hung up on, and costs one connection.
func TestGarbageOnEveryPort(t *testing.T) {
	undisturbed(t, func(r *rig) {
		all := map[string][]byte{
			"noise":  random(61, 64<<10),
			"almost": append([]byte("trilith\x00"), bytes.Repeat([]byte{255}, 2000)...),
			"silent": nil,
		}
		maps.Insert(all, testutil.Greetings())
		for name, garbage := range all {
			for _, addr := range []string{"master:1", "chunk0:1", "chunk1:1", "chunk2:1"} {
				conn, err := r.c.Network().Host("stranger").Dial(r.ctx, addr)
				r.must(err)
				_, _ = conn.Write(garbage) // which may be cut short
				_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %s does not hang up", name, addr)
				}
				_ = conn.Close()
			}
		}
	})
}

// bare is a message that is its own encoding.
type bare []byte

func (b *bare) AppendBinary(dst []byte) ([]byte, error) { return append(dst, *b...), nil }

func (b *bare) UnmarshalBinary(src []byte) error {
	*b = bytes.Clone(src)
	return nil
}

// stranger returns a function that calls a server.
func (r *rig) stranger(addr string) func(method string, message []byte) error {
	r.Helper()
	client, err := rpc.NewClient(rpc.ClientConfig{Transport: r.c.Network().Host("stranger"), Addrs: []string{addr}})
	r.must(err)
	r.Cleanup(func() { _ = client.Close() })
	return func(method string, message []byte) error {
		req := bare(message)
		ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
		defer cancel()
		_, err := rpc.Call[bare](ctx, client, method, &req)
		return err
	}
}

// hostileTo makes hostile calls: they are answered with errors, and nothing else happens.
func (r *rig) hostileTo(addr string, calls []gfs.HostileCall) {
	r.Helper()
	call := r.stranger(addr)
	for _, c := range calls {
		err := call(c.Method, c.Message)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			r.Errorf("%s: %s(%.100x) is not answered", addr, c.Method, c.Message)
		case errors.Is(err, rpc.ErrPanic):
			r.Errorf("%s: %s(%.100x) panics: %v", addr, c.Method, c.Message, err)
		case err == nil && !c.Harmless:
			r.Errorf("%s: %s(%.100x) is taken", addr, c.Method, c.Message)
		}
	}
}

// Messages that cannot be decoded, and such that can but speak of what there is not, are
// answered with errors, or have no effect.
func TestHostileMessages(t *testing.T) {
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	undecodable := [][]byte{
		bytes.Repeat([]byte{0xff}, 100), // numbers without an end
		bytes.Repeat(huge, 40),          // counts of 2⁶⁴-1
	}
	undisturbed(t, func(r *rig) {
		master, chunkserver := gfs.Methods()
		for addr, methods := range map[string][]string{"master:1": master, "chunk0:1": chunkserver} {
			call := r.stranger(addr)
			for _, method := range methods {
				for _, b := range undecodable {
					if err := call(method, b); !errors.Is(err, rpc.ErrMessage) {
						t.Errorf("%s: %s(%x): %v, want %v", addr, method, b[:20], err, rpc.ErrMessage)
					}
				}
			}
		}
		r.hostileTo("master:1", gfs.HostileToMaster())
		v := r.chunk("good", 0)
		for i := range r.servers {
			st := r.c.Chunkserver(i).Status()
			r.hostileTo(fmt.Sprintf("chunk%d:1", i), gfs.HostileToChunkserver(v.Handle, st.Server))
			if after := r.c.Chunkserver(i).Status(); after.Epoch != st.Epoch || after.Replicas != st.Replicas || after.Suspect+after.Corrupt > 0 {
				t.Errorf("chunkserver %d has changed: %+v, before %+v", i, after, st)
			}
		}
	})
}
