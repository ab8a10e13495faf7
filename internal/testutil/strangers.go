package testutil

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
)

// Greetings are what others say first to whatever accepts them, with names, in a
// fixed order.
func Greetings() iter.Seq2[string, []byte] {
	return inOrder([]stranger{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")},
		{"SSH", []byte("SSH-2.0-OpenSSH_9.6\r\n")},
		{"TLS", clientHello()},
		{"zeros", make([]byte, 4096)},
		{"ones", bytes.Repeat([]byte{0xff}, 4096)},
	})
}

// Lengths are lengths of what can't be there, in every way in which our formats write
// one, each behind the same head: what a format has before a length.
func Lengths(head ...byte) iter.Seq2[string, []byte] {
	var (
		order  = binary.LittleEndian
		net    = binary.BigEndian
		behind = func(b ...byte) []byte { return slices.Concat(head, b) }
	)
	return inOrder([]stranger{
		{"a varint of 2³¹", behind(binary.AppendUvarint(nil, 1<<31)...)},
		{"a varint of 2⁶³", behind(binary.AppendUvarint(nil, 1<<63)...)},
		{"a varint of 2⁶⁴-1", behind(binary.AppendUvarint(nil, 1<<64-1)...)},
		{"a varint without an end", behind(bytes.Repeat([]byte{0xff}, 20)...)},
		{"2³¹ of 32 bits", behind(order.AppendUint32(nil, 1<<31)...)},
		{"2³¹ of 64 bits", behind(order.AppendUint64(nil, 1<<31)...)},
		{"2⁶³ of 64 bits", behind(order.AppendUint64(nil, 1<<63)...)},
		{"2³¹ of 32 bits, highest first", behind(net.AppendUint32(nil, 1<<31)...)},
		{"2⁶³ of 64 bits, highest first", behind(net.AppendUint64(nil, 1<<63)...)},
	})
}

// Strangers are what every decoder is shown first: nothing, what others say and
// lengths of what can't be there. Their order is fixed, so that a number of a fuzz
// target's seeds means the same in each run.
func Strangers() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, all := range []iter.Seq2[string, []byte]{inOrder([]stranger{{"nothing", nil}}), Greetings(), Lengths()} {
			for name, b := range all {
				if !yield(name, b) {
					return
				}
			}
		}
	}
}

type stranger struct {
	name string
	b    []byte
}

func inOrder(all []stranger) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, s := range all {
			if !yield(s.name, s.b) {
				return
			}
		}
	}
}

// clientHello is what a TLS client says first, whole, but with a random value that is
// none, for the bytes to be the same in each run.
func clientHello() []byte {
	block := func(size int, b ...byte) []byte { // behind a length of size bytes
		length := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
		return append(length[4-size:], b...)
	}
	name := append([]byte{0}, block(2, []byte("localhost")...)...)
	hello := slices.Concat(
		[]byte{3, 3},                     // TLS 1.2, as 1.3 says too
		bytes.Repeat([]byte{0xa5}, 32),   // the random value
		block(1, make([]byte, 32)...),    // a session
		block(2, 0x13, 0x01, 0x13, 0x02), // cipher suites
		block(1, 0),                      // no compression
		block(2, slices.Concat( // extensions
			[]byte{0, 0}, block(2, block(2, name...)...), // the server's name
			[]byte{0, 43}, block(2, block(1, 3, 4)...), // versions: 1.3
		)...),
	)
	return append([]byte{22, 3, 1}, block(2, append([]byte{1}, block(3, hello...)...)...)...)
}
