package rv64

import (
	"bufio"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// operandsOf gives the numbers of an instruction as it is written for an assembler:
// registers and immediates in the order of the text.
func operandsOf(t *testing.T, text string) (name string, args []int64) {
	t.Helper()
	name, rest, _ := strings.Cut(text, " ")
	for _, field := range strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(",()", r) }) {
		switch {
		case field == "sp":
			args = append(args, 2)
		case csrNumbers[field] != 0:
			args = append(args, csrNumbers[field])
		case roundingNames[field] != 0:
			args = append(args, roundingNames[field]-1)
		default:
			v, err := strconv.ParseInt(strings.TrimLeft(strings.TrimPrefix(field, "."), "xf+"), 0, 64)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			args = append(args, v)
		}
	}
	return name, args
}

var (
	csrNumbers    = map[string]int64{"fflags": 1, "frm": 2, "fcsr": 3, "cycle": 0xc00, "time": 0xc01, "instret": 0xc02}
	roundingNames = map[string]int64{"rne": 1, "rtz": 2, "rdn": 3, "rup": 4, "rmm": 5, "dyn": 8}
	// What compressed instructions stand for, in the operands of the wide one.
	compressedForms = map[string]func(a []int64) (string, []int64){
		"c.addi4spn": func(a []int64) (string, []int64) { return "addi", a },
		"c.addi16sp": func(a []int64) (string, []int64) { return "addi", []int64{2, 2, a[1]} },
		"c.nop":      func([]int64) (string, []int64) { return "addi", []int64{0, 0, 0} },
		"c.li":       func(a []int64) (string, []int64) { return "addi", []int64{a[0], 0, a[1]} },
		"c.j":        func(a []int64) (string, []int64) { return "jal", []int64{0, a[0]} },
		"c.beqz":     func(a []int64) (string, []int64) { return "beq", []int64{a[0], 0, a[1]} },
		"c.bnez":     func(a []int64) (string, []int64) { return "bne", []int64{a[0], 0, a[1]} },
		"c.jr":       func(a []int64) (string, []int64) { return "jalr", []int64{0, 0, a[0]} },
		"c.jalr":     func(a []int64) (string, []int64) { return "jalr", []int64{1, 0, a[0]} },
		"c.mv":       func(a []int64) (string, []int64) { return "add", []int64{a[0], 0, a[1]} },
		"c.lui": func(a []int64) (string, []int64) {
			return "lui", []int64{a[0], a[1] & 0xfffff}
		},
	}
)

func wideForm(name string, args []int64) (string, []int64) {
	if form := compressedForms[name]; form != nil {
		return form(args)
	}
	name, compressed := strings.CutPrefix(name, "c.")
	if !compressed {
		return name, args
	}
	if strings.HasSuffix(name, "sp") { // of a load or store
		return strings.TrimSuffix(name, "sp"), args
	}
	if strings.ContainsAny(name, "ls") && len(args) == 3 { // by a register
		return name, args
	}
	if len(args) == 2 {
		return name, []int64{args[0], args[0], args[1]}
	}
	return name, args
}

// encodingOrder gives what decode has found in the order of the text.
func encodingOrder(in inst) []int64 {
	rd, rs1, rs2, rs3, imm := int64(in.rd), int64(in.rs1), int64(in.rs2), int64(in.rs3), in.imm
	switch o := in.op; {
	case o == opLUI, o == opAUIPC:
		return []int64{rd, imm >> 12 & 0xfffff}
	case o == opJAL:
		return []int64{rd, imm}
	case o == opJALR, o >= opLB && o <= opLWU, o == opFLW, o == opFLD:
		return []int64{rd, imm, rs1}
	case o >= opSB && o <= opSD, o == opFSW, o == opFSD:
		return []int64{rs2, imm, rs1}
	case o.branch():
		return []int64{rs1, rs2, imm}
	case o >= opFENCE && o <= opEBREAK:
		return nil
	case o >= opCSRRW && o <= opCSRRCI:
		return []int64{rd, imm, rs1}
	case o == opLRW, o == opLRD:
		return []int64{rd, rs1}
	case o >= opLRW && o < opFLW:
		return []int64{rd, rs2, rs1}
	case o >= opFMADDS && o <= opFNMADDS, o >= opFMADDD && o <= opFNMADDD:
		return []int64{rd, rs1, rs2, rs3, imm}
	case o == opFSQRTS, o == opFSQRTD, o >= opFCVTSD:
		return []int64{rd, rs1, imm}
	case o.rounded():
		return []int64{rd, rs1, rs2, imm}
	case o >= opFMVXW && o <= opFMVDX, o == opFCLASSS, o == opFCLASSD,
		o >= opCLZ && o <= opCPOPW, o >= opSEXTB && o <= opZEXTH, o == opORCB, o == opREV8:
		return []int64{rd, rs1}
	case o >= opADDI && o <= opSRAI, o >= opADDIW && o <= opSRAIW, o == opSLLIUW, o == opRORI, o == opRORIW,
		o == opBCLRI, o == opBEXTI, o == opBINVI, o == opBSETI:
		return []int64{rd, rs1, imm}
	}
	return []int64{rd, rs1, rs2}
}

// The file holds what the GNU assembler makes of every instruction, with the edges
// of its operands.
func TestDecodeWhatAnAssemblerEncodes(t *testing.T) {
	file, err := os.Open("testdata/decode.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := make(map[op]bool)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		hex, text, _ := strings.Cut(lines.Text(), "\t")
		w, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		in := decode(uint32(w))
		name, want := wideForm(operandsOf(t, text))
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, ".aqrl"), ".aq"), ".rl")
		got := encodingOrder(in)
		if len(got) == len(want)+1 && in.op.rounded() {
			got = got[:len(want)] // the mode of what is exact anyway is not written
		}
		if in.op.String() != name || len(got) != len(want) {
			t.Errorf("%s: decoded %s as %v %d", hex, text, in.op, got)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: decoded %s as %v %d", hex, text, in.op, got)
				break
			}
		}
		if want := map[bool]uint8{true: 2, false: 4}[len(hex) == 4]; in.size != want {
			t.Errorf("%s: %s has %d bytes", hex, text, in.size)
		}
		seen[in.op] = true
	}
	for o := opLUI; o < opCount; o++ {
		if !seen[o] {
			t.Errorf("no example of %v", o)
		}
	}
}

func TestReservedEncodingsAreIllegal(t *testing.T) {
	for _, w := range []uint32{
		0, 0xffffffff, 0x0000001f, 0x00003063, 0x00002063, 0x00007003, 0x00004023, 0x00002067, 0x0000200f,
		0x02001013 | 1<<31, 0x0200101b, 0x4000101b, 0x00004073, 0x0000002f, 0x1010202f, 0x00005053 | 0x02000000, 0x04000053, 0xf0001053, 0x10200073, 0x30200073,
		0x8000, 0x6101 &^ 0x7c, 0x6081 &^ 0x107c, 0x9c41, 0x9c61, 0x8002, 0x4002, 0x6002, 0x2001,
	} {
		if in := decode(w); in.op != opIllegal || in.imm == 0 && w != 0 {
			t.Errorf("%08x is %v, imm %x; it is reserved", w, in.op, in.imm)
		}
	}
}

func TestDecodeTakesAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	legal := 0
	for range 1 << 20 {
		in := decode(rng.Uint32())
		if in.op >= opCount || in.rd > 31 || in.rs1 > 31 || in.rs2 > 31 || in.rs3 > 31 {
			t.Fatalf("%+v", in)
		}
		if in.op != opIllegal {
			legal++
		}
	}
	if legal < 1<<18 {
		t.Errorf("only %d of 2^20 words are legal", legal)
	}
}
