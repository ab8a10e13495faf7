package main

// The instructions that give a value.
const values = `
lui $I
addi $A + $I
slti truth(int64($A) < int64($I))
sltiu truth($A < $I)
xori $A ^ $I
ori $A | $I
andi $A & $I
slli $A << ($I & 63)
srli $A >> ($I & 63)
srai uint64(int64($A) >> ($I & 63))
add $A + $B
sub $A - $B
sll $A << ($B & 63)
slt truth(int64($A) < int64($B))
sltu truth($A < $B)
xor $A ^ $B
srl $A >> ($B & 63)
sra uint64(int64($A) >> ($B & 63))
or $A | $B
and $A & $B
addiw word($A + $I)
slliw word($A << ($I & 31))
srliw word(uint64(uint32($A) >> ($I & 31)))
sraiw uint64(int32($A) >> ($I & 31))
addw word($A + $B)
subw word($A - $B)
sllw word($A << ($B & 31))
srlw word(uint64(uint32($A) >> ($B & 31)))
sraw uint64(int32($A) >> ($B & 31))
mul $A * $B
mulw word($A * $B)
add.uw $B + uint64(uint32($A))
sh1add $B + $A<<1
sh2add $B + $A<<2
sh3add $B + $A<<3
sh1add.uw $B + uint64(uint32($A))<<1
sh2add.uw $B + uint64(uint32($A))<<2
sh3add.uw $B + uint64(uint32($A))<<3
slli.uw uint64(uint32($A)) << ($I & 63)
andn $A &^ $B
orn $A | ^$B
xnor ^($A ^ $B)
clz uint64(bits.LeadingZeros64($A))
clzw uint64(bits.LeadingZeros32(uint32($A)))
ctz uint64(bits.TrailingZeros64($A))
ctzw uint64(bits.TrailingZeros32(uint32($A)))
max uint64(max(int64($A), int64($B)))
maxu max($A, $B)
min uint64(min(int64($A), int64($B)))
minu min($A, $B)
sext.b uint64(int8($A))
sext.h uint64(int16($A))
zext.h uint64(uint16($A))
rol bits.RotateLeft64($A, int($B))
rolw word(uint64(bits.RotateLeft32(uint32($A), int($B))))
ror bits.RotateLeft64($A, -int($B))
rori bits.RotateLeft64($A, -int($I))
roriw word(uint64(bits.RotateLeft32(uint32($A), -int($I))))
rorw word(uint64(bits.RotateLeft32(uint32($A), -int($B))))
rev8 bits.ReverseBytes64($A)
bclr $A &^ (1 << ($B & 63))
bclri $A &^ (1 << ($I & 63))
bext $A >> ($B & 63) & 1
bexti $A >> ($I & 63) & 1
binv $A ^ 1<<($B&63)
binvi $A ^ 1<<($I&63)
bset $A | 1<<($B&63)
bseti $A | 1<<($I&63)
fmv.x.w word(f[$IN.rs1])
fmv.x.d f[$IN.rs1]
`

// Those that do so unless the second operand is zero.
const divisions = `
div uint64(int64($A) / int64($B))
divu $A / $B
rem uint64(int64($A) % int64($B))
remu $A % $B
`

// The loads: their size, and the value at p.
const loads = `
lb 1 uint64(int8(*(*byte)(p$K)))
lh 2 uint64(int16(get16(p$K)))
lw 4 word(uint64(get32(p$K)))
ld 8 get64(p$K)
lbu 1 uint64(*(*byte)(p$K))
lhu 2 uint64(get16(p$K))
lwu 4 uint64(get32(p$K))
flw 4 box(uint64(get32(p$K)))
fld 8 get64(p$K)
`

// The stores: their size, and how.
const stores = `
sb 1 *(*byte)(p$K) = byte($B)
sh 2 put16(p$K, uint16($B))
sw 4 put32(p$K, uint32($B))
sd 8 put64(p$K, $B)
fsw 4 put32(p$K, uint32(f[$IN.rs2]))
fsd 8 put64(p$K, f[$IN.rs2])
`

// The branches: when they are taken.
const branches = `
beq $A == $B
bne $A != $B
blt int64($A) < int64($B)
bge int64($A) >= int64($B)
bltu $A < $B
bgeu $A >= $B
`

// What works on floating-point numbers, as quick.go explains.
const floats = `
fmv.w.x f[$IN.rd] = box($A & 0xffffffff)
fmv.d.x f[$IN.rd] = $A
fsgnj.d f[$IN.rd] = f[$IN.rs1]&^(1<<63) | f[$IN.rs2]&(1<<63)
fsgnjn.d f[$IN.rd] = f[$IN.rs1]&^(1<<63) | ^f[$IN.rs2]&(1<<63)
fsgnjx.d f[$IN.rd] = f[$IN.rs1] ^ f[$IN.rs2]&(1<<63)
fadd.d a$K, b$K := math.Float64frombits(f[$IN.rs1]), math.Float64frombits(f[$IN.rs2]); s$K := a$K + b$K; if math.Float64bits(s$K)>>52&0x7ff == 0x7ff || c.fcsr&(7<<5|flagInexact) != flagInexact { in = &w[$K]; goto slow }; f[$IN.rd] = math.Float64bits(s$K)
fsub.d a$K, b$K := math.Float64frombits(f[$IN.rs1]), -math.Float64frombits(f[$IN.rs2]); s$K := a$K + b$K; if math.Float64bits(s$K)>>52&0x7ff == 0x7ff || c.fcsr&(7<<5|flagInexact) != flagInexact { in = &w[$K]; goto slow }; f[$IN.rd] = math.Float64bits(s$K)
fmul.d s$K := float64(math.Float64frombits(f[$IN.rs1]) * math.Float64frombits(f[$IN.rs2])); if c.fcsr&(7<<5|flagInexact) != flagInexact || math.Float64bits(s$K)>>52&0x7ff-2 >= 0x7fd { in = &w[$K]; goto slow }; f[$IN.rd] = math.Float64bits(s$K)
fdiv.d s$K := math.Float64frombits(f[$IN.rs1]) / math.Float64frombits(f[$IN.rs2]); if c.fcsr&(7<<5|flagInexact) != flagInexact || math.Float64bits(s$K)>>52&0x7ff-2 >= 0x7fd { in = &w[$K]; goto slow }; f[$IN.rd] = math.Float64bits(s$K)
fsqrt.d s$K := math.Sqrt(math.Float64frombits(f[$IN.rs1])); if c.fcsr&(7<<5|flagInexact) != flagInexact || math.Float64bits(s$K)>>52&0x7ff-2 >= 0x7fd { in = &w[$K]; goto slow }; f[$IN.rd] = math.Float64bits(s$K)
fmadd.d e.kept.in, e.kept.left = uintptr(unsafe.Pointer(in))-uintptr(base), left; s$K := math.FMA(math.Float64frombits(f[$IN.rs1]), math.Float64frombits(f[$IN.rs2]), math.Float64frombits(f[$IN.rs3])); in, left = (*inst)(unsafe.Add(base, e.kept.in)), e.kept.left; w = (*window)(unsafe.Pointer(in)); if c.fcsr&(7<<5|flagInexact) != flagInexact || math.Float64bits(s$K)>>52&0x7ff-2 >= 0x7fd { in = &w[$K]; goto slow }; f[$IN.rd] = math.Float64bits(s$K)
feq.d a$K, b$K := math.Float64frombits(f[$IN.rs1]), math.Float64frombits(f[$IN.rs2]); if a$K != a$K || b$K != b$K { in = &w[$K]; goto slow }; x[$IN.rd] = truth(a$K == b$K)
flt.d a$K, b$K := math.Float64frombits(f[$IN.rs1]), math.Float64frombits(f[$IN.rs2]); if a$K != a$K || b$K != b$K { in = &w[$K]; goto slow }; x[$IN.rd] = truth(a$K < b$K)
fle.d a$K, b$K := math.Float64frombits(f[$IN.rs1]), math.Float64frombits(f[$IN.rs2]); if a$K != a$K || b$K != b$K { in = &w[$K]; goto slow }; x[$IN.rd] = truth(a$K <= b$K)
fcvt.d.l i$K := int64($A); if i$K < -1<<53 || i$K > 1<<53 { in = &w[$K]; goto slow }; f[$IN.rd] = math.Float64bits(float64(i$K))
fcvt.d.w f[$IN.rd] = math.Float64bits(float64(int32($A)))
`

const head = `// Code generated by internal/fusing from fused.txt; DO NOT EDIT.

package rv64

import (
	"math"
	"math/bits"
	"unsafe"
)

// %s runs through blocks from in on, until it comes to something that is done
// elsewhere. left is how many instructions may be executed from the start of the block,
// which allows all of it; on return it is so for the block of the instruction returned.
//
// It is one function, and it calls nothing (but for math.FMA on hosts that can't), so
// that what it needs stays in the host's registers. Which operation it is, is found by
// %s.
func (e *blocks) %[1]s(c *cpu, in *inst, left uint64) (*inst, uint64, exit) {
	x, f, read, write := &c.x, &c.f, &c.mem.read, &c.mem.write
	base := unsafe.Pointer(unsafe.SliceData(e.code))
	for {
		w := (*window)(unsafe.Pointer(in))
`

const gather = `addr := x[in.rs1] + uint64(in.imm)
t := &read[addr>>pageShift&tlbMask]
if off := addr & pageMask; t.tag == addr&^pageMask && off <= pageSize-16 {
	p, shift := unsafe.Add(t.page, off&^7), off&7*8
	v := get64(p)>>shift | get64(unsafe.Add(p, 8))<<(64-shift)
	x[in.rd] = v
	x[w[1].rd] = v >> 56 << 56
	in = &w[gatherLength]
	continue
}
goto slow
`

const tail = `
	taken:
		// in is a branch that is taken.
		if link := uint32(in.imm); link != 0 && left >= uint64(in.n)+blockLength {
			left -= uint64(in.n)
			in = (*inst)(unsafe.Add(base, link))
			continue
		}
		return in, left, exitTaken

	slow:
		return in, left, exitSlow
	}
}
`
