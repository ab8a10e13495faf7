package rv64

// An op is an operation of the instruction set, or one that the block engine has
// made of two.
type op uint16

// Operations of the instruction set, by extension.
const (
	opIllegal op = iota

	opLUI // also AUIPC and JAL's links once decoded into blocks
	opAUIPC
	opJAL
	opJALR
	opBEQ
	opBNE
	opBLT
	opBGE
	opBLTU
	opBGEU
	opLB
	opLH
	opLW
	opLD
	opLBU
	opLHU
	opLWU
	opSB
	opSH
	opSW
	opSD
	opADDI
	opSLTI
	opSLTIU
	opXORI
	opORI
	opANDI
	opSLLI
	opSRLI
	opSRAI
	opADD
	opSUB
	opSLL
	opSLT
	opSLTU
	opXOR
	opSRL
	opSRA
	opOR
	opAND
	opADDIW
	opSLLIW
	opSRLIW
	opSRAIW
	opADDW
	opSUBW
	opSLLW
	opSRLW
	opSRAW
	opFENCE
	opFENCEI
	opECALL
	opEBREAK

	// M
	opMUL
	opMULH
	opMULHSU
	opMULHU
	opDIV
	opDIVU
	opREM
	opREMU
	opMULW
	opDIVW
	opDIVUW
	opREMW
	opREMUW

	// Zba
	opADDUW
	opSH1ADD
	opSH2ADD
	opSH3ADD
	opSH1ADDUW
	opSH2ADDUW
	opSH3ADDUW
	opSLLIUW

	// Zbb
	opANDN
	opORN
	opXNOR
	opCLZ
	opCLZW
	opCTZ
	opCTZW
	opCPOP
	opCPOPW
	opMAX
	opMAXU
	opMIN
	opMINU
	opSEXTB
	opSEXTH
	opZEXTH
	opROL
	opROLW
	opROR
	opRORI
	opRORIW
	opRORW
	opORCB
	opREV8

	// Zbs
	opBCLR
	opBCLRI
	opBEXT
	opBEXTI
	opBINV
	opBINVI
	opBSET
	opBSETI

	// Zicsr
	opCSRRW
	opCSRRS
	opCSRRC
	opCSRRWI
	opCSRRSI
	opCSRRCI

	// A. Those of words come before those of double words, in one order.
	opLRW
	opSCW
	opAMOSWAPW
	opAMOADDW
	opAMOXORW
	opAMOANDW
	opAMOORW
	opAMOMINW
	opAMOMAXW
	opAMOMINUW
	opAMOMAXUW
	opLRD
	opSCD
	opAMOSWAPD
	opAMOADDD
	opAMOXORD
	opAMOANDD
	opAMOORD
	opAMOMIND
	opAMOMAXD
	opAMOMINUD
	opAMOMAXUD

	// F and D
	opFLW
	opFSW
	opFLD
	opFSD
	opFADDS
	opFSUBS
	opFMULS
	opFDIVS
	opFSQRTS
	opFMADDS
	opFMSUBS
	opFNMSUBS
	opFNMADDS
	opFADDD
	opFSUBD
	opFMULD
	opFDIVD
	opFSQRTD
	opFMADDD
	opFMSUBD
	opFNMSUBD
	opFNMADDD
	opFSGNJS
	opFSGNJNS
	opFSGNJXS
	opFMINS
	opFMAXS
	opFEQS
	opFLTS
	opFLES
	opFCLASSS
	opFSGNJD
	opFSGNJND
	opFSGNJXD
	opFMIND
	opFMAXD
	opFEQD
	opFLTD
	opFLED
	opFCLASSD
	opFMVXW
	opFMVWX
	opFMVXD
	opFMVDX
	opFCVTSD
	opFCVTDS
	opFCVTWS
	opFCVTWUS
	opFCVTLS
	opFCVTLUS
	opFCVTWD
	opFCVTWUD
	opFCVTLD
	opFCVTLUD
	opFCVTSW
	opFCVTSWU
	opFCVTSL
	opFCVTSLU
	opFCVTDW
	opFCVTDWU
	opFCVTDL
	opFCVTDLU

	opCount // how many there are in the instruction set
)

var opNames = [...]string{
	"illegal", "lui", "auipc", "jal", "jalr", "beq", "bne", "blt", "bge", "bltu", "bgeu",
	"lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "sb", "sh", "sw", "sd",
	"addi", "slti", "sltiu", "xori", "ori", "andi", "slli", "srli", "srai",
	"add", "sub", "sll", "slt", "sltu", "xor", "srl", "sra", "or", "and",
	"addiw", "slliw", "srliw", "sraiw", "addw", "subw", "sllw", "srlw", "sraw",
	"fence", "fence.i", "ecall", "ebreak",
	"mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu", "mulw", "divw", "divuw", "remw", "remuw",
	"add.uw", "sh1add", "sh2add", "sh3add", "sh1add.uw", "sh2add.uw", "sh3add.uw", "slli.uw",
	"andn", "orn", "xnor", "clz", "clzw", "ctz", "ctzw", "cpop", "cpopw", "max", "maxu", "min", "minu",
	"sext.b", "sext.h", "zext.h", "rol", "rolw", "ror", "rori", "roriw", "rorw", "orc.b", "rev8",
	"bclr", "bclri", "bext", "bexti", "binv", "binvi", "bset", "bseti",
	"csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci",
	"lr.w", "sc.w", "amoswap.w", "amoadd.w", "amoxor.w", "amoand.w", "amoor.w", "amomin.w", "amomax.w", "amominu.w", "amomaxu.w",
	"lr.d", "sc.d", "amoswap.d", "amoadd.d", "amoxor.d", "amoand.d", "amoor.d", "amomin.d", "amomax.d", "amominu.d", "amomaxu.d",
	"flw", "fsw", "fld", "fsd",
	"fadd.s", "fsub.s", "fmul.s", "fdiv.s", "fsqrt.s", "fmadd.s", "fmsub.s", "fnmsub.s", "fnmadd.s",
	"fadd.d", "fsub.d", "fmul.d", "fdiv.d", "fsqrt.d", "fmadd.d", "fmsub.d", "fnmsub.d", "fnmadd.d",
	"fsgnj.s", "fsgnjn.s", "fsgnjx.s", "fmin.s", "fmax.s", "feq.s", "flt.s", "fle.s", "fclass.s",
	"fsgnj.d", "fsgnjn.d", "fsgnjx.d", "fmin.d", "fmax.d", "feq.d", "flt.d", "fle.d", "fclass.d",
	"fmv.x.w", "fmv.w.x", "fmv.x.d", "fmv.d.x", "fcvt.s.d", "fcvt.d.s",
	"fcvt.w.s", "fcvt.wu.s", "fcvt.l.s", "fcvt.lu.s", "fcvt.w.d", "fcvt.wu.d", "fcvt.l.d", "fcvt.lu.d",
	"fcvt.s.w", "fcvt.s.wu", "fcvt.s.l", "fcvt.s.lu", "fcvt.d.w", "fcvt.d.wu", "fcvt.d.l", "fcvt.d.lu",
}

func (o op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "fused"
}

// branch reports whether the operation is a conditional branch.
func (o op) branch() bool { return o >= opBEQ && o <= opBGEU }

// floating reports whether the operation depends on the rounding mode, which is
// then in the immediate.
func (o op) rounded() bool {
	return o >= opFADDS && o <= opFNMADDD || o >= opFCVTSD
}

// writesX reports whether the operation has an integer register as its destination.
func (o op) writesX() bool {
	switch {
	case o == opIllegal, o.branch(), o >= opSB && o <= opSD, o >= opFENCE && o <= opEBREAK:
		return false
	case o < opFLW:
		return true
	}
	switch o {
	case opFEQS, opFLTS, opFLES, opFCLASSS, opFEQD, opFLTD, opFLED, opFCLASSD, opFMVXW, opFMVXD:
		return true
	}
	return o >= opFCVTWS && o <= opFCVTLUD
}
