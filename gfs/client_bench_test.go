package gfs

import (
	"fmt"
	"io"
	"testing"
)

// benchFile starts a cluster in memory with a file of a size.
func benchFile(b *testing.B, size int) (*fakeCluster, *Client) {
	b.Helper()
	k := newFake(b, 4, DefaultChunkSize)
	c := k.dial(ClientConfig{})
	if size > 0 {
		putFile(b, c, "f", make([]byte, size))
	}
	return k, c
}

const benchSize = 64 << 20

func BenchmarkClientRead(b *testing.B) {
	for _, size := range []int{32 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			_, c := benchFile(b, benchSize)
			p := make([]byte, size)
			f := openFile(b, c, "f")
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Seek(0, io.SeekStart); err != nil {
					b.Fatal(err)
				}
				for {
					if _, err := f.Read(p); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkClientWriteTo(b *testing.B) {
	_, c := benchFile(b, benchSize)
	f := openFile(b, c, "f")
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if _, err := f.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClientReadAt(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			_, c := benchFile(b, benchSize)
			p := make([]byte, size)
			f := openFile(b, c, "f")
			b.SetBytes(int64(size))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := f.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
				off = (off + int64(size)) % benchSize
			}
		})
	}
}

// BenchmarkClientReadLimit is what reading costs without the client: one call after the
// other into one buffer.
func BenchmarkClientReadLimit(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			k, c := benchFile(b, benchSize)
			chunk, h, _ := k.chunkOf("f", 0)
			info := &chunkInfo{handle: h, version: chunk.version, where: []location{k.servers[chunk.members[0]].loc}}
			read := hedgedRead{c: c, info: info}
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := read.one(b.Context(), candidate{location: info.where[0]}, p); err != nil {
					b.Fatal(err)
				}
				read.at = (read.at + int64(size)) % benchSize
			}
		})
	}
}

func BenchmarkClientWrite(b *testing.B) {
	for _, size := range []int{32 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			_, c := benchFile(b, 0)
			f := createFile(b, c, "f")
			p := make([]byte, size)
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Seek(0, io.SeekStart); err != nil {
					b.Fatal(err)
				}
				for range benchSize / size {
					if _, err := f.Write(p); err != nil {
						b.Fatal(err)
					}
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkClientAppend(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			_, c := benchFile(b, 0)
			f := createFile(b, c, "f")
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%1024 == 1023 { // memory is not what is measured
					b.StopTimer()
					f = createFile(b, c, fmt.Sprint("f", n))
					b.StartTimer()
				}
				if _, err := f.Append(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
