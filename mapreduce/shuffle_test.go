//lint:bubble
package mapreduce

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// newTestFetcher returns the fetcher of a reduce of two maps, on a network on which
// "peer:1" is both the coordinator and a worker.
func newTestFetcher(t *testing.T, locate func(ctx context.Context, req *locateReq) (*locateResp, error),
	fetch func(ctx context.Context, req *fetchReq, st *rpc.Stream) error) *fetcher {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	network, err := transport.NewNetwork(transport.NetworkConfig{Latency: transport.Constant(time.Millisecond)})
	must(err)
	server, err := rpc.NewServer(rpc.ServerConfig{})
	must(err)
	rpc.Handle(server, methodLocate, locate)
	rpc.HandleStream(server, methodFetch, fetch)
	_, err = server.Listen(t.Context(), network.Host("peer"), "peer:1")
	must(err)
	cfg := rpc.ClientConfig{Transport: network.Host("worker")}
	peers := newPeers(cfg)
	cfg.Addrs = []string{"peer:1"}
	client, err := rpc.NewClient(cfg)
	must(err)
	disk, err := openScratch(vfs.NewMemory(1), "/scratch")
	must(err)
	config, err := WorkerConfig{Transport: cfg.Transport, Addr: "worker:1", Coordinators: cfg.Addrs, Jobs: &Registry{}, FileSystem: newMemoryFiles()}.withDefaults()
	must(err)
	w := &Worker{cfg: config, addr: "worker:1", client: client, peers: peers, disk: disk, memory: newBudget(minSlotMemory, 1)}
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFetcher(w, &execution{assigned: &assigned{maps: 2}, t: &Task{}, job: &definition{}, ctx: ctx, stop: cancel})
	t.Cleanup(func() {
		cancel(nil)
		f.close()
		peers.close()
		_ = client.Close()
		_ = server.Close()
		_ = network.Close()
		disk.close()
	})
	return f
}

// sendPart sends the header of a region, of n bytes, and less than that.
func sendPart(st io.Writer, n int) error {
	_, err := st.Write(binary.LittleEndian.AppendUint64([]byte{fetchFound}, uint64(n)))
	if err == nil {
		_, err = st.Write(make([]byte, blockHeader-1))
	}
	return err
}

// While a worker is slow to send a region, the map is done again and has nothing for the
// reduce. When all is gathered, nothing is under way that would write to the spill file.
func TestGatherEndsWhatIsNotNeeded(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		sending := make(chan struct{})
		f := newTestFetcher(t, func(ctx context.Context, req *locateReq) (*locateResp, error) {
			switch req.since {
			case 0:
				return &locateResp{next: 2, changed: []location{
					{index: 0, attempt: Attempt{1, 1}, addr: "peer:1", size: sizeCode(1 << 20)},
					{index: 1, attempt: Attempt{1, 2}, addr: "peer:1"},
				}}, nil
			case 2:
				<-sending
				return &locateResp{next: 3, changed: []location{{index: 0, attempt: Attempt{1, 3}, addr: "peer:1"}}}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}, func(ctx context.Context, req *fetchReq, st *rpc.Stream) error {
			if err := sendPart(st, 1<<20); err != nil {
				return err
			}
			close(sending)
			<-ctx.Done()
			return ctx.Err()
		})
		if err := f.gather(); err != nil {
			t.Fatal(err)
		}
		if f.busy != 1 || len(f.results) != 1 {
			t.Errorf("%d fetches were begun, want 1; %d have ended", f.busy, len(f.results))
		}
	})
}

// However often a worker breaks off in the middle of a region, the memory for it is
// taken once.
func TestFetchThatFailsGivesItsMemoryBack(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const tries, size = 20, 1 << 20
		data := regionOf(t, [][2]string{{"key", string(make([]byte, size))}})
		fetches := 0
		f := newTestFetcher(t, func(ctx context.Context, req *locateReq) (*locateResp, error) {
			if req.since == 0 {
				return &locateResp{next: 2, changed: []location{
					{index: 0, attempt: Attempt{1, 1}, addr: "peer:1", size: sizeCode(size)},
					{index: 1, attempt: Attempt{1, 2}, addr: "peer:1"},
				}}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}, func(ctx context.Context, req *fetchReq, st *rpc.Stream) error {
			if fetches++; fetches < tries {
				if err := sendPart(st, len(data)); err != nil {
					return err
				}
				return fmt.Errorf("the disk fails")
			}
			return sendRegion(st, &mapOutput{ends: []int64{int64(len(data))}, pieces: [][]byte{data}}, 0)
		})
		if err := f.gather(); err != nil {
			t.Fatal(err)
		}
		if fetches != tries {
			t.Errorf("%d fetches, want %d", fetches, tries)
		}
		if f.regions[0].file != nil || f.claimed > int64(len(data)) {
			t.Errorf("%d bytes of the pool are taken, for a region of %d", f.claimed, len(data))
		}
	})
}

// twoRegions returns the fetcher of a small region and of one for which there is no
// memory, of which the worker sends both.
func twoRegions(t *testing.T, small, large []byte) *fetcher {
	f := newTestFetcher(t, func(ctx context.Context, req *locateReq) (*locateResp, error) {
		if req.since == 0 {
			return &locateResp{next: 2, changed: []location{
				{index: 0, attempt: Attempt{1, 1}, addr: "peer:1", size: sizeCode(int64(len(small)))},
				{index: 1, attempt: Attempt{1, 2}, addr: "peer:1", size: sizeCode(int64(len(large)))},
			}}, nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}, func(_ context.Context, req *fetchReq, st *rpc.Stream) error {
		for _, a := range req.attempts {
			data := small
			if a.N == 2 {
				data = large
			}
			if err := sendRegion(st, &mapOutput{ends: []int64{int64(len(data))}, pieces: [][]byte{data}}, 0); err != nil {
				return err
			}
		}
		return nil
	})
	f.share, f.w.memory.pool = int64(len(small)), 0
	return f
}

// A region for which there is no memory goes to disk, and is what was sent.
func TestLargeRegionsGoToDisk(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		small := regionOf(t, [][2]string{{"key", "value"}})
		large := regionOf(t, [][2]string{{"key", string(make([]byte, 1<<20))}, {"other", "value"}})
		f := twoRegions(t, small, large)
		if err := f.gather(); err != nil {
			t.Fatal(err)
		}
		if r := f.regions[0]; r.file != nil || !bytes.Equal(bytes.Join(r.data, nil), small) {
			t.Errorf("the small region is %+v", r)
		}
		r := f.regions[1]
		if r.file == nil || r.data != nil || r.n != int64(len(large)) || f.claimed > 0 {
			t.Fatalf("the large region has %d bytes on disk, want %d; %d bytes are claimed", r.n, len(large), f.claimed)
		}
		got := make([]byte, r.n)
		if _, err := r.file.ReadAt(got, r.off); err != nil || !bytes.Equal(got, large) {
			t.Errorf("what is on disk is not what was sent: %v", err)
		}
	})
}

// A disk that is full where the reduce runs fails the attempt, with an error that says
// so: whoever sends the map output is not to blame for it.
func TestFullDiskOfAReduce(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite} {
		testutil.Bubble(t, func(t *testing.T) {
			small, large := regionOf(t, [][2]string{{"key", "value"}}), regionOf(t, [][2]string{{"key", string(make([]byte, 1<<20))}})
			f := twoRegions(t, small, large)
			f.w.disk.fs = vfs.Inject(f.w.disk.fs, func(call vfs.Call) vfs.Fault {
				if call.Op == op {
					return vfs.Fault{Err: vfs.ErrNoSpace}
				}
				return vfs.Fault{}
			})
			if err := f.gather(); !errors.Is(err, vfs.ErrNoSpace) {
				t.Errorf("%v on a full disk: %v", op, err)
			}
			if n := f.sources["peer:1"].failures; n > 0 {
				t.Errorf("%v on a full disk: %d failures of the worker that sent it", op, n)
			}
		})
	}
}
