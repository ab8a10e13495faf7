package rpc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestUvarint: ids are encoded and decoded as encoding/binary does it, wherever they
// stand in a buffer, with any bytes behind them.
func TestUvarint(t *testing.T) {
	const seed = 11
	rnd := rand.New(rand.NewPCG(seed, 0))
	check := func(v uint64) {
		t.Helper()
		want := binary.AppendUvarint([]byte("head"), v)
		if got := appendUvarint([]byte("head"), v); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %#x is encoded as %x, want %x", seed, v, got, want)
		}
		if n := uvarintLen(v); n != len(want)-4 {
			t.Fatalf("seed %d: the length of %#x is %d, want %d", seed, v, n, len(want)-4)
		}
		for behind := range 10 {
			b := want[4:]
			for range behind {
				b = append(b[:len(b):len(b)], byte(rnd.Uint32()))
			}
			if got, n := takeUvarint(b); got != v || n != len(want)-4 {
				t.Fatalf("seed %d: %x is decoded as %#x, %d bytes, want %#x", seed, b, got, n, v)
			}
			for cut := range len(want) - 4 {
				if _, n := takeUvarint(want[4:][:cut]); n != 0 {
					t.Fatalf("seed %d: %d bytes of %x are taken as %d", seed, cut, want[4:], n)
				}
			}
		}
	}
	for bit := range 64 {
		check(1 << bit)
		check(1<<bit - 1)
		for range 20 {
			check(rnd.Uint64() >> bit)
		}
	}
	check(1<<64 - 1)
	for range 1000 { // whatever it is, the same is made of it
		b := binary.LittleEndian.AppendUint64(nil, rnd.Uint64()|rnd.Uint64()|rnd.Uint64())
		b = append(b, byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32()))
		v, n := binary.Uvarint(b)
		if got, m := takeUvarint(b); got != v || m != n {
			t.Fatalf("seed %d: %x is decoded as %#x, %d bytes, want %#x, %d", seed, b, got, m, v, n)
		}
	}
}
