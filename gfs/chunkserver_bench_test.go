package gfs

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

const benchPiece = 1 << 20

func benchStore(b *testing.B) *chunkStore {
	s, err := openChunkStore(chunkStoreConfig{fs: vfs.OS(), dir: b.TempDir(), boot: 1})
	storeMust(b, err)
	b.Cleanup(func() { s.close() })
	_, err = s.make(1, 1)
	storeMust(b, err)
	return s
}

func BenchmarkStoreRead(b *testing.B) {
	for _, n := range []int64{4 << 10, blockSize, benchPiece} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			s := benchStore(b)
			data := make([]byte, benchPiece)
			for off := int64(0); off < 16<<20; off += benchPiece {
				storeMust(b, s.write(1, 1, off, newBlob(data, off), DefaultChunkSize))
			}
			b.SetBytes(n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				r, err := s.readAt(1, 1, int64(i)*n%(16<<20), n)
				storeMust(b, err)
				r.free()
			}
		})
	}
}

func BenchmarkStoreWrite(b *testing.B) {
	for _, n := range []int64{4 << 10, blockSize, benchPiece} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			s := benchStore(b)
			blob := newBlob(make([]byte, n), 0)
			b.SetBytes(n)
			b.ReportAllocs()
			for i := range b.N {
				storeMust(b, s.write(1, 1, int64(i)*n%(64<<20), blob, DefaultChunkSize))
			}
		})
	}
}

func BenchmarkStoreAppend(b *testing.B) {
	for _, n := range []int64{100, 4000, 60000} {
		b.Run(fmt.Sprintf("%dB", n), func(b *testing.B) {
			s := benchStore(b)
			blob := newBlob(make([]byte, n), 0)
			b.SetBytes(n)
			b.ReportAllocs()
			for i := range b.N {
				off := int64(i) * n % (63 << 20)
				storeMust(b, s.write(1, 1, off, blob, DefaultChunkSize))
			}
		})
	}
}

// benchCluster starts three chunkservers on TCP.
func benchCluster(b *testing.B) (*testMaster, []location, func(ctx context.Context, addr string) (*rpc.Client, error)) {
	m := startTestMaster(b, transport.TCP{}, "127.0.0.1:0")
	m.size = DefaultChunkSize
	for range 3 {
		s, err := StartChunkserver(context.Background(), ChunkserverConfig{
			Transport: transport.TCP{}, Addr: "127.0.0.1:0", Dir: b.TempDir(), Masters: []string{m.addr}, Cluster: "test",
		})
		storeMust(b, err)
		b.Cleanup(func() { s.Close() })
	}
	b.Cleanup(m.close)
	testutil.Eventually(b, time.Minute, func() bool { return len(m.where()) == 3 }, "three servers are registered")
	return m, m.where(), func(_ context.Context, addr string) (*rpc.Client, error) { return m.client(addr), nil }
}

// BenchmarkChainWrite is one client that writes chunk after chunk, eight pieces of 1 MiB
// at a time.
func BenchmarkChainWrite(b *testing.B) {
	for _, mode := range []string{"write", "append"} {
		b.Run(mode, func(b *testing.B) { benchChain(b, mode == "append") })
	}
}

func benchChain(b *testing.B, appends bool) {
	m, at, dial := benchCluster(b)
	ctx := context.Background()
	c, err := openChain(ctx, dial, at)
	storeMust(b, err)
	defer c.close()
	primary := m.client(at[0].addr)
	data := make([]byte, benchPiece)
	const pieces = DefaultChunkSize / benchPiece
	b.SetBytes(benchPiece)
	b.ReportAllocs()
	b.ResetTimer()
	slots := make(chan struct{}, 8)
	var group sync.WaitGroup
	for i := range b.N {
		h := handle(1 + i/pieces)
		off := int64(i%pieces) * benchPiece
		if off == 0 {
			group.Wait()
			b.StopTimer()
			m.make(h, at...)
			if h > 4 {
				m.mu.Lock()
				m.chunks[h-4] = nil
				m.doomed = []doomed{{h - 4, 1}}
				m.mu.Unlock()
			}
			b.StartTimer()
		}
		id := dataID{client: 1, n: uint64(i)}
		slots <- struct{}{}
		storeMust(b, c.pushAt(ctx, id, data, off))
		group.Go(func() {
			defer func() { <-slots }()
			var err error
			if appends {
				_, err = rpc.Call[appendResp](ctx, primary, methodAppend, &appendReq{handle: h, version: 1, data: id, n: benchPiece})
			} else {
				_, err = rpc.Call[writeResp](ctx, primary, methodWrite, &writeReq{handle: h, version: 1, data: id, off: off, n: benchPiece})
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
}

// BenchmarkChainLimit is the bare program that does only this work: three hops of TCP in
// a chain, three files written, CRC32C on each.
func BenchmarkChainLimit(b *testing.B) {
	dir := b.TempDir()
	var group sync.WaitGroup
	next := ""
	for hop := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		storeMust(b, err)
		to := next
		next = ln.Addr().String()
		group.Go(func() {
			in, err := ln.Accept()
			storeMust(b, err)
			defer in.Close()
			var out net.Conn
			if to != "" {
				out, err = net.Dial("tcp", to)
				storeMust(b, err)
				defer out.Close()
			}
			buf := make([]byte, benchPiece)
			var f *os.File
			for i := 0; ; i++ {
				if _, err := io.ReadFull(in, buf); err != nil {
					return
				}
				if i%64 == 0 {
					if f != nil {
						f.Close()
						os.Remove(filepath.Join(dir, fmt.Sprint(hop, "-", i-4*64))) // as the chunkservers do
					}
					f, err = os.Create(filepath.Join(dir, fmt.Sprint(hop, "-", i)))
					storeMust(b, err)
				}
				for at := 0; at < len(buf); at += blockSize {
					crc32.Checksum(buf[at:at+blockSize], blockPoly)
				}
				if out != nil {
					if _, err := out.Write(buf); err != nil {
						return
					}
				}
				if _, err := f.Write(buf); err != nil {
					b.Error(err)
				}
			}
		})
		ln2 := ln
		b.Cleanup(func() { ln2.Close() })
	}
	conn, err := net.Dial("tcp", next)
	storeMust(b, err)
	data := make([]byte, benchPiece)
	b.SetBytes(benchPiece)
	b.ResetTimer()
	for range b.N {
		crc32.Checksum(data, blockPoly)
		if _, err := conn.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	conn.Close()
	group.Wait()
}

// BenchmarkServerRead reads pieces of 1 MiB, four at a time.
func BenchmarkServerRead(b *testing.B) {
	m, at, dial := benchCluster(b)
	ctx := context.Background()
	m.make(1, at...)
	c, err := openChain(ctx, dial, at)
	storeMust(b, err)
	defer c.close()
	data := make([]byte, benchPiece)
	const pieces = DefaultChunkSize / benchPiece
	for i := range pieces {
		id := dataID{client: 1, n: uint64(i)}
		storeMust(b, c.push(ctx, id, data))
		_, err = rpc.Call[writeResp](ctx, m.client(at[0].addr), methodWrite, &writeReq{handle: 1, version: 1, data: id, off: int64(i) * benchPiece, n: benchPiece})
		storeMust(b, err)
	}
	b.SetBytes(benchPiece)
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			buf := make([]byte, benchPiece)
			for i := w; i < b.N; i += 4 {
				resp := &readResp{Body: rpc.Body{Data: buf[:0]}}
				err := rpc.CallInto(ctx, m.client(at[0].addr), methodRead, &readReq{handle: 1, version: 1, off: int64(i%pieces) * benchPiece, n: benchPiece}, resp)
				if err != nil || len(resp.Data) != benchPiece {
					b.Error(len(resp.Data), err)
					return
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkReadLimit is one TCP stream from the page cache with CRC32C.
func BenchmarkReadLimit(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	storeMust(b, err)
	defer f.Close()
	_, err = f.Write(make([]byte, DefaultChunkSize))
	storeMust(b, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	storeMust(b, err)
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, benchPiece)
		for i := range b.N {
			if _, err := f.ReadAt(buf, int64(i)*benchPiece%DefaultChunkSize); err != nil {
				return
			}
			crc32.Checksum(buf, blockPoly)
			if _, err := conn.Write(buf); err != nil {
				return
			}
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	storeMust(b, err)
	defer conn.Close()
	buf := make([]byte, benchPiece)
	b.SetBytes(benchPiece)
	b.ResetTimer()
	for range b.N {
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
}
