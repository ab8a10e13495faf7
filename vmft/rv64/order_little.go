//go:build !(armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64)

package rv64

import "unsafe"

// Aligned accesses to the guest's memory, which is little-endian as the host is.
// encoding/binary would do, were it inlined where these are needed.

func get16(p unsafe.Pointer) uint16 { return *(*uint16)(p) }
func get32(p unsafe.Pointer) uint32 { return *(*uint32)(p) }
func get64(p unsafe.Pointer) uint64 { return *(*uint64)(p) }

func put16(p unsafe.Pointer, v uint16) { *(*uint16)(p) = v }
func put32(p unsafe.Pointer, v uint32) { *(*uint32)(p) = v }
func put64(p unsafe.Pointer, v uint64) { *(*uint64)(p) = v }
