package mapreduce

import (
	"encoding/binary"
	"math"
)

const maxInt = math.MaxInt

// appendUvarints appends numbers, each as an unsigned varint.
func appendUvarints(dst []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}
