package main

import (
	"fmt"
	"strings"
)

// A template is the text of one instruction: $A and $B are its operands, $I its
// immediate, $IN the instruction, and $K which of the sequence it is.
type template struct {
	before  string // what is done
	value   string // then goes into the integer register rd, if it is not empty
	leaves  bool   // nothing comes after it
	several bool   // it stands for several instructions
}

// order is that of the cases.
var order []string

var templates = func() map[string]template {
	all := make(map[string]template)
	add := func(name string, t template) {
		order = append(order, name)
		all[name] = t
	}
	for line := range strings.Lines(strings.TrimSpace(values)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		add(name, template{value: value})
	}
	for line := range strings.Lines(strings.TrimSpace(divisions)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		add(name, template{before: "if $B == 0 { " + slow + "}", value: value})
	}
	for line := range strings.Lines(strings.TrimSpace(loads)) {
		f := strings.Fields(line)
		value := strings.Join(f[2:], " ")
		if strings.HasPrefix(f[0], "f") {
			add(f[0], template{before: access("read", f[1]) + "f[$IN.rd] = " + value})
		} else {
			add(f[0], template{before: access("read", f[1]) + "q$K := " + value + "\n", value: "q$K"})
		}
	}
	for line := range strings.Lines(strings.TrimSpace(stores)) {
		f := strings.Fields(line)
		add(f[0], template{before: access("write", f[1]) + strings.Join(f[2:], " ")})
	}
	for line := range strings.Lines(strings.TrimSpace(branches)) {
		name, condition, _ := strings.Cut(strings.TrimSpace(line), " ")
		add(name, template{before: "if " + condition + " { in = &w[$K]; goto taken }"})
	}
	for line := range strings.Lines(strings.TrimSpace(floats)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		add(name, template{before: text})
	}
	for name, half := range map[string]string{"mulhu": "h$K", "mulhsu": "h$K - uint64(int64($A)>>63)&$B", "mulh": "h$K - uint64(int64($A)>>63)&$B - uint64(int64($B)>>63)&$A"} {
		all[name] = template{before: "h$K, _ := bits.Mul64($A, $B)", value: half}
	}
	order = append(order, "mulhu", "mulhsu", "mulh", "ret", "jalr")
	all["ret"] = template{before: target + found, leaves: true}
	all["jalr"] = template{before: target + "x[$IN.rd] = uint64($IN.imm) << 16 >> 16\n" + found, leaves: true}
	all["sum"] = template{value: "$A + $B + $I", several: true}
	all["ifequal"] = template{before: "if ($A == $B) != ($IN.rd != 0) { in = &w[$K]; goto taken }", several: true}
	all["ifless"] = template{before: "if ($A ^ uint64($IN.rs3)<<56 < $B ^ uint64($IN.rs3)<<56) != ($IN.rd != 0) { in = &w[$K]; goto taken }", several: true}
	return all
}()

// several names, for an instruction, the template that stands for it and others.
var several = map[string]string{
	"lui": "sum", "addi": "sum", "add": "sum",
	"beq": "ifequal", "bne": "ifequal",
	"blt": "ifless", "bge": "ifless", "bltu": "ifless", "bgeu": "ifless",
}

const (
	target = "target := ($A + uint64($IN.imm>>48)) &^ 1\n"
	found  = `left -= uint64($IN.n)
	j := &e.jump[target>>1&jumpMask]
	if j.pc != target || left < blockLength {
		c.pc = target
		return in, left, exitJump
	}
	in = (*inst)(unsafe.Add(base, j.at))
	continue`
)

const slow = "in = &w[$K]; goto slow\n"

func access(cache, size string) string {
	mask := map[string]string{"1": "pageMask", "2": "(pageMask&^1)", "4": "(pageMask&^3)", "8": "(pageMask&^7)"}[size]
	return fmt.Sprintf(`addr$K := $A + $I
	t$K := &%s[addr$K>>pageShift&tlbMask]
	if t$K.tag != addr$K&^%s { %s }
	p$K := unsafe.Add(t$K.page, addr$K&pageMask)
	`, cache, mask, slow)
}
