package journal

import (
	"fmt"
	"testing"

	"github.com/trilith-go/trilith/internal/vfs"
)

// BenchmarkAppend appends to memory, and syncs as the buffer fills.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("size%d", size), func(b *testing.B) {
			j, err := Open(Config{Dir: b.TempDir()}, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			record := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.Append(record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSync appends one record and syncs it. Its limit is
// BenchmarkSyncOfAFile.
func BenchmarkSync(b *testing.B) {
	j, err := Open(Config{Dir: b.TempDir()}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	record := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := j.Append(record); err != nil {
			b.Fatal(err)
		}
		if _, err := j.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSyncOfAFile is what the disk allows: one write and one sync, of a file
// that grows, and where zeros have been synced.
func BenchmarkSyncOfAFile(b *testing.B) {
	for _, ahead := range []int{0, 1 << 20} {
		b.Run(fmt.Sprintf("ahead%d", ahead), func(b *testing.B) {
			f, err := vfs.Create(vfs.OS(), b.TempDir()+"/file")
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(make([]byte, ahead)); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			record := make([]byte, 64+2*recordHeaderSize)
			for at := 0; b.Loop(); at += len(record) {
				if ahead > 0 && at+len(record) > ahead {
					at = 0
				}
				if _, err := f.WriteAt(record, int64(at)); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen reads a log of 256 MiB back.
func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{64, 16 << 10} {
		b.Run(fmt.Sprintf("size%d", size), func(b *testing.B) {
			const total = 256 << 20
			cfg := Config{Dir: b.TempDir()}
			j, err := Open(cfg, nil)
			if err != nil {
				b.Fatal(err)
			}
			record := make([]byte, size)
			for n := 0; n < total; n += size {
				if _, err := j.Append(record); err != nil {
					b.Fatal(err)
				}
			}
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(total)
			for b.Loop() {
				j, err := Open(cfg, nil)
				if err != nil {
					b.Fatal(err)
				}
				_ = j.Close()
			}
		})
	}
}
