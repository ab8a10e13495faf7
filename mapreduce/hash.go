package mapreduce

import (
	"encoding/binary"
	"math/bits"
)

// Three odd constants with as many ones as zeros and no pattern.
const (
	hashM1 = 0xa0761d6478bd642f
	hashM2 = 0xe7037ed1a0b428db
	hashM3 = 0x8ebc6af09c88c6e3
)

// hashKey hashes an encoded key. It decides which partition a key belongs to, so
// it is a part of what the output of a job is, the same on every machine and in
// every version. It is not made to withstand keys chosen to collide.
func hashKey(b []byte) uint64 {
	h := uint64(len(b)) * hashM1
	for len(b) > 8 {
		h = hashMix(h^binary.LittleEndian.Uint64(b), hashM2)
		b = b[8:]
	}
	return hashMix(hashMix(h^shortBits(b), hashM3), hashM1)
}

// shortBits returns up to 8 bytes as a number. Of two slices of one length, it is
// equal only if they are.
func shortBits(b []byte) uint64 {
	switch n := len(b); {
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n > 0:
		return uint64(b[0]) | uint64(b[n>>1])<<8 | uint64(b[n-1])<<16
	}
	return 0
}

// hashMix folds the 128-bit product of its arguments. A factor of zero would
// swallow the other, so it is kept apart.
func hashMix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^hashM3, b)
	return hi ^ lo ^ a
}

// hashRange maps a hash onto 0 … n-1, evenly, by its upper bits.
func hashRange(h uint64, n int) int {
	hi, _ := bits.Mul64(h, uint64(n))
	return int(hi)
}
