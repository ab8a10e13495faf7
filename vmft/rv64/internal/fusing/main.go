// Fusing writes run_table.go and run_tree.go of the virtual machine: two functions that
// execute decoded blocks, with the text for each operation and for each sequence of
// fused.txt. It is run by go generate in the directory of the machine.
//
// It also chooses the sequences, by what programs execute:
//
//	go test -run TestProfile -profile profile.txt .
//	go run ./internal/fusing -choose profile.txt
//	go generate .
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"log"
	"os"
	"strconv"
	"strings"
)

func main() {
	log.SetFlags(0)
	profile := flag.String("choose", "", "choose the sequences of fused.txt by the profile in this `file`")
	n := flag.Int("n", 300, "with -choose: how many")
	longest := flag.Int("longest", 10, "with -choose: of how many instructions at most, half as many for those in which none stands for several")
	flag.Parse()
	var err error
	if *profile != "" {
		err = choose("fused.txt", *profile, *n, *longest)
	} else {
		err = generate("fused.txt")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// generate writes run_table.go, run_tree.go and fused.go.
func generate(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	all, err := readSequences(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	ops, err := operations()
	if err != nil {
		return err
	}
	for name, text := range files(all, ops) {
		b, err := format.Source([]byte(text))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(name, b, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// files returns the text of each file that is generated.
func files(all []sequence, ops []string) map[string]string {
	leaves := leavesOf(all, ops)
	var table, tree writer
	table.line(head, "executeByTable", "one jump through a table")
	table.table(leaves)
	table.WriteString(tail)
	tree.line(head, "executeByTree", "comparisons, of few for what is frequent")
	tree.tree(leaves)
	tree.WriteString(tail)
	return map[string]string{"run_table.go": table.String(), "run_tree.go": tree.String(), "fused.go": writeTable(all)}
}

// A part is one instruction of a sequence.
type part struct {
	name string // as the assembler has it
	a, b int    // how many parts before gave its first and second operand; 0: any register
}

// A sequence is one operation: a line of fused.txt. One of a single instruction is
// there for its weight.
type sequence struct {
	parts  []part
	weight float64
}

func readSequences(text string) (all []sequence, err error) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var s sequence
		if s.weight, err = strconv.ParseFloat(words[0], 64); err != nil {
			return nil, fmt.Errorf("want a weight, have %q", line)
		}
		if s.parts, err = readParts(words[1:]); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// readParts reads what title writes.
func readParts(words []string) (parts []part, err error) {
	for _, word := range words {
		fields := strings.Split(word, ":")
		p := part{name: fields[0]}
		for _, f := range fields[1:] {
			distance, err := strconv.Atoi(f[1:])
			if err != nil {
				return nil, fmt.Errorf("what is %q?", word)
			}
			switch f[0] {
			case 'a':
				p.a = distance
			case 'b':
				p.b = distance
			}
		}
		if _, ok := templates[p.name]; !ok {
			return nil, fmt.Errorf("no instruction %s", p.name)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// constant is the name of the operation's constant.
func constant(name string) string {
	return "op" + strings.ToUpper(strings.ReplaceAll(name, ".", ""))
}

// A writer puts the text of a file together.
type writer struct{ bytes.Buffer }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// leavesOf returns what is done for each operation.
func leavesOf(all []sequence, ops []string) (leaves []leaf) {
	weights := make(map[string]float64)
	bodies := map[string]func(w *writer){
		"opGather": func(w *writer) { w.WriteString(gather) },
		"opJump":   func(w *writer) { w.line("goto taken") },
	}
	for _, name := range order {
		bodies[constant(name)] = func(w *writer) { w.sequence([]part{{name: name}}) }
	}
	for _, s := range all {
		if len(s.parts) == 1 {
			weights[constant(s.parts[0].name)] = s.weight
		}
	}
	slow := false
	for _, name := range ops[:len(ops)-1] {
		body := bodies[name]
		switch {
		case body != nil:
			leaves, slow = append(leaves, leaf{name, weights[name], body, false}), false
		case !slow:
			leaves, slow = append(leaves, leaf{name, 0, func(w *writer) { w.line("goto slow") }, true}), true
		}
	}
	for i, s := range fused(all) {
		leaves = append(leaves, leaf{fmt.Sprintf("opFused + %d", i), s.weight, func(w *writer) {
			w.line("// %s", title(s.parts))
			w.sequence(s.parts)
		}, false})
	}
	return leaves
}

// fused are the sequences of more than one instruction.
func fused(all []sequence) (list []sequence) {
	for _, s := range all {
		if len(s.parts) > 1 {
			list = append(list, s)
		}
	}
	return list
}

// title writes a sequence as fused.txt has it.
func title(s []part) string {
	var words []string
	for _, p := range s {
		word := p.name
		if p.a > 0 {
			word += fmt.Sprint(":a", p.a)
		}
		if p.b > 0 {
			word += fmt.Sprint(":b", p.b)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func writeTable(all []sequence) string {
	var w writer
	w.line("// Code generated by internal/fusing from fused.txt; DO NOT EDIT.\n\npackage rv64\n\n// sequences are what is fused: opFused is the first of them.")
	w.line("var sequences = [...]sequence{")
	for _, s := range fused(all) {
		var parts []string
		for _, p := range s.parts {
			parts = append(parts, fmt.Sprintf("{%s, %d, %d}", constant(p.name), p.a, p.b))
		}
		w.line("{%s},", strings.Join(parts, ", "))
	}
	w.line("}")
	return w.String()
}

// sequence writes the body of a case.
func (w *writer) sequence(s []part) {
	for k, p := range s {
		in := fmt.Sprintf("w[%d]", k)
		keep := used(s, k)
		t := templates[p.name]
		r := strings.NewReplacer(
			"$IN", in, "$K", fmt.Sprint(k),
			"$A", operand(p.a, k, "x["+in+".rs1]"), "$B", operand(p.b, k, "x["+in+".rs2]"),
			"$I", "uint64("+in+".imm)",
		)
		switch {
		case t.value != "":
			w.line("%s", r.Replace(t.before))
			if keep {
				w.line("v%d := %s\nx[%s.rd] = v%d", k, r.Replace(t.value), in, k)
			} else {
				w.line("x[%s.rd] = %s", in, r.Replace(t.value))
			}
		default:
			w.line("%s", r.Replace(t.before))
		}
		if t.leaves {
			return
		}
	}
	w.line("in = &w[%d]\ncontinue", len(s))
}

// used reports whether a later part takes the result of part k from it.
func used(s []part, k int) bool {
	for i, p := range s {
		if p.a > 0 && i-p.a == k || p.b > 0 && i-p.b == k {
			return true
		}
	}
	return false
}

func operand(distance, k int, register string) string {
	if distance > 0 {
		return fmt.Sprintf("v%d", k-distance)
	}
	return register
}
