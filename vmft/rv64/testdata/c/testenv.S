# A program as the official tests of instructions are: no kernel, loaded at 0x80000000,
# control registers first, then MRET, code that it changes, and an end by ECALL (or,
# with DIRECT, by a store to tohost). STATUS is what the word tohost would be.
	.option norvc # what is copied has four bytes
	.section .text.init, "ax"
	.globl _start
_start:
	csrr a0, mhartid
1:	bnez a0, 1b
	la t0, 2f
	csrw mtvec, t0
	csrwi satp, 0
	csrw pmpaddr0, t0
	csrwi medeleg, 0
2:	csrr t1, mtvec
	bne t0, t1, bad
	csrsi mie, 8
	csrrci t1, mie, 8
	li t2, 8
	bne t1, t2, bad
	csrr t1, mie
	bnez t1, bad
	csrr t1, misa
	bgez t1, bad
	li t1, 0x2000
	csrs mstatus, t1
	csrwi fcsr, 0
	sfence.vma
	la t0, user
	csrw mepc, t0
	mret
	unimp

	.text
user:
	la a0, patch
	la a1, 3f
	lw a0, 0(a0)
	li a3, 0
	call 3f
	sw a0, 0(a1)
	fence.i
	call 3f
	li t0, 3
	bne a3, t0, bad
	la t1, fromhost
	sd a3, 0(t1)
	ld t2, 0(t1)
	bne a3, t2, bad
	amoadd.d t2, a3, (t1)
	bne a3, t2, bad
	fcvt.d.l fa0, a3
	fsd fa0, 0(t1)
#ifdef DIRECT
	li t0, STATUS
4:	la t1, tohost
	sw t0, 0(t1)
	sw zero, 4(t1)
	j 4b
#else
	li a0, STATUS & ~1
	li a7, 93
	ecall
#endif
	.balign 4
3:	addi a3, a3, 1
	ret
	.balign 4
patch:	addi a3, a3, 2
bad:	unimp

	.section .tohost, "aw", @progbits
	.balign 64
	.globl tohost
tohost:	.dword 0
	.balign 64
fromhost: .dword 0
