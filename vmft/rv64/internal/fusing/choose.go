package main

import (
	"bufio"
	"cmp"
	"container/heap"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A piece is a line of code that was executed, with how often each of its
// instructions was, in parts of all that its program executed.
type piece struct {
	parts  []part
	counts []float64
	// starts are, for each instruction, the chosen sequences that start there.
	starts [][]start
}

// A start is a sequence at a place.
type start struct {
	which, length, cost int
}

// A place is where a candidate is found.
type place struct{ piece, at int }

// A candidate is a sequence that may be chosen.
type candidate struct {
	sequence
	places []place
	gain   float64 // as it was in a round, or at most
	round  int
}

type candidates []*candidate

func (c candidates) Len() int           { return len(c) }
func (c candidates) Less(i, j int) bool { return c[i].gain > c[j].gain }
func (c candidates) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)        { *c = append(*c, x.(*candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// What an operation costs and what a part that stands for several, and what is gained by
// a result that is passed on: as in fuse.go.
const (
	costDispatch = 8
	costSeveral  = 1
	gainPassed   = 2
)

// A chooser chooses sequences.
type chooser struct {
	pieces []*piece
	left   candidates
	chosen []sequence
}

// choose writes fused.txt anew: n sequences of at most so many instructions, chosen
// by a profile, which TestProfile of the machine writes. Each time that one is taken
// which saves the most in code that is divided as well as those before allow.
func choose(name, profile string, n, longest int) error {
	f, err := os.Open(profile)
	if err != nil {
		return err
	}
	defer f.Close()
	pieces, err := readProfile(f)
	if err != nil {
		return fmt.Errorf("%s: %w", profile, err)
	}
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	c := &chooser{pieces: pieces}
	c.find(longest)
	for len(c.chosen) < n && c.next() {
	}
	text := string(old[:strings.LastIndex(string(old), "#")])
	text += string(old[len(text):][:strings.IndexByte(string(old[len(text):]), '\n')]) + "\n\n" + c.text()
	return os.WriteFile(name, []byte(text), 0o666)
}

// readProfile reads the lines "program NAME WEIGHT" and, after each, those of its
// pieces: instructions as title writes them, with "=count" after each.
func readProfile(r io.Reader) (all []*piece, err error) {
	var program []*piece
	weight, total := 0.0, 0.0
	scale := func() {
		for _, p := range program {
			for i := range p.counts {
				p.counts[i] *= weight / total
			}
		}
		all, program, total = append(all, program...), nil, 0
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 3 && words[0] == "program" {
			scale()
			if weight, err = strconv.ParseFloat(words[2], 64); err != nil {
				return nil, err
			}
			continue
		}
		for len(words) > 0 {
			p := &piece{}
			for len(words) > 0 {
				word, count, _ := strings.Cut(words[0], "=")
				words = words[1:]
				n, err := strconv.ParseFloat(count, 64)
				if err != nil {
					return nil, fmt.Errorf("no count in %q", lines.Text())
				}
				total += n
				parts, err := readParts([]string{word})
				if err != nil {
					break // it is no part of any sequence
				}
				p.parts, p.counts = append(p.parts, known(p.parts, parts[0])), append(p.counts, n)
			}
			if len(p.parts) > 0 {
				p.starts = make([][]start, len(p.parts))
				program = append(program, p)
			}
		}
	}
	scale()
	return frequent(all), lines.Err()
}

// known drops what a part says of its operands unless the generator can pass them on.
func known(before []part, p part) part {
	text := templates[p.name].before + templates[p.name].value
	passes := func(distance int, operand string) int {
		if distance == 0 || distance > len(before) || !strings.Contains(text, operand) || templates[before[len(before)-distance].name].value == "" {
			return 0
		}
		return distance
	}
	p.a, p.b = passes(p.a, "$A"), passes(p.b, "$B")
	return p
}

// frequent returns the pieces that together are nearly all that is executed.
func frequent(all []*piece) []*piece {
	weight := func(p *piece) (w float64) {
		for _, n := range p.counts {
			w += n
		}
		return w
	}
	slices.SortStableFunc(all, func(a, b *piece) int { return cmp.Compare(weight(b), weight(a)) })
	total, sum := 0.0, 0.0
	for _, p := range all {
		total += weight(p)
	}
	for i, p := range all {
		if sum += weight(p); sum > 0.985*total {
			return all[:i+1]
		}
	}
	return all
}

// find looks for all candidates.
func (c *chooser) find(longest int) {
	byNames := make(map[string][]place)
	for i, p := range c.pieces {
		for at := range p.parts {
			exact, general := p.parts[at].name, stands(p.parts[at].name)
			for length := 2; length <= longest && at+length <= len(p.parts) && !templates[p.parts[at+length-2].name].leaves; length++ {
				name := p.parts[at+length-1].name
				exact, general = exact+" "+name, general+" "+stands(name)
				byNames[general] = append(byNames[general], place{i, at})
				if exact != general && length <= longest/2 {
					byNames[exact] = append(byNames[exact], place{i, at})
				}
			}
		}
	}
	for _, names := range slices.Sorted(maps.Keys(byNames)) {
		places := byNames[names]
		plain, _ := readParts(strings.Fields(names))
		variants := map[string][]part{"": plain}
		for _, at := range places[:min(len(places), 1000)] {
			parts := c.within(at, plain)
			variants[title(parts)] = parts
		}
		for _, key := range slices.Sorted(maps.Keys(variants)) {
			v := &candidate{sequence: sequence{parts: variants[key]}, round: -1}
			for _, at := range places {
				if permits(v.parts, c.within(at, plain)) {
					v.places = append(v.places, at)
					counts := c.pieces[at.piece].counts[at.at:][:len(plain)]
					v.gain += float64(costDispatch-costOf(v.parts)) * counts[0]
					for _, n := range counts[1:] {
						v.gain += costDispatch * n
					}
				}
			}
			if v.gain > 1e-4 {
				c.left = append(c.left, v)
			}
		}
	}
	heap.Init(&c.left)
}

// within returns the instructions at a place, with the names of a sequence and without
// what they say of those before.
func (c *chooser) within(at place, names []part) []part {
	parts := slices.Clone(c.pieces[at.piece].parts[at.at:][:len(names)])
	for i := range parts {
		parts[i].name = names[i].name
		if parts[i].a > i {
			parts[i].a = 0
		}
		if parts[i].b > i {
			parts[i].b = 0
		}
	}
	return parts
}

// permits reports whether code is as a sequence wants it, which has the same names.
func permits(want, have []part) bool {
	for i, p := range want {
		if p.a > 0 && p.a != have[i].a || p.b > 0 && p.b != have[i].b {
			return false
		}
	}
	return true
}

// stands is the name of what stands for an instruction and others.
func stands(name string) string { return cmp.Or(several[name], name) }

// costOf is what a sequence costs.
func costOf(parts []part) int {
	cost := costDispatch
	for _, p := range parts {
		if p.a > 0 || p.b > 0 {
			cost -= gainPassed
		}
		if templates[p.name].several {
			cost += costSeveral
		}
	}
	return cost
}

// next chooses the best of what is left. It returns false if nothing gains.
func (c *chooser) next() bool {
	for len(c.left) > 0 {
		best := c.left[0]
		if best.round == len(c.chosen) {
			heap.Pop(&c.left)
			if best.gain <= 0 {
				return false
			}
			c.place(best)
			c.chosen = append(c.chosen, best.sequence)
			return true
		}
		before := c.cost(best.places)
		c.place(best)
		best.gain, best.round = before-c.cost(best.places), len(c.chosen)
		c.take(best)
		heap.Fix(&c.left, 0)
	}
	return false
}

func (c *chooser) place(v *candidate) {
	for _, at := range v.places {
		s := &c.pieces[at.piece].starts[at.at]
		*s = append(*s, start{len(c.chosen), len(v.parts), costOf(v.parts)})
	}
}

// take undoes the last place.
func (c *chooser) take(v *candidate) {
	for _, at := range v.places {
		s := &c.pieces[at.piece].starts[at.at]
		*s = (*s)[:len(*s)-1]
	}
}

// cost is that of the pieces of some places.
func (c *chooser) cost(places []place) (sum float64) {
	last := -1
	for _, at := range places {
		if at.piece != last {
			last = at.piece
			c.pieces[last].divide(func(i int, s start) {
				sum += float64(s.cost) * c.pieces[last].counts[i]
			})
		}
	}
	return sum
}

// divide divides a piece as fuse does, and calls f for each operation.
func (p *piece) divide(f func(i int, s start)) {
	cost := make([]int, len(p.parts)+1)
	choice := make([]start, len(p.parts))
	for i := len(p.parts) - 1; i >= 0; i-- {
		cost[i], choice[i] = costDispatch+cost[i+1], start{-1, 1, costDispatch}
		for _, s := range p.starts[i] {
			if n := s.cost + cost[i+s.length]; n < cost[i] {
				cost[i], choice[i] = n, s
			}
		}
	}
	for i := 0; i < len(p.parts); i += choice[i].length {
		f(i, choice[i])
	}
}

// text is what was chosen, each with its part in all that is executed, and those of
// single instructions.
func (c *chooser) text() string {
	single := make(map[string]*sequence)
	for _, p := range c.pieces {
		p.divide(func(i int, s start) {
			if s.which >= 0 {
				c.chosen[s.which].weight += p.counts[i]
				return
			}
			one := p.parts[i]
			if single[one.name] == nil {
				single[one.name] = &sequence{parts: []part{{name: one.name}}}
			}
			single[one.name].weight += p.counts[i]
		})
	}
	all := slices.Clone(c.chosen)
	for _, name := range slices.Sorted(maps.Keys(single)) {
		all = append(all, *single[name])
	}
	total := 0.0
	for _, s := range all {
		total += s.weight
	}
	slices.SortStableFunc(all, func(a, b sequence) int { return cmp.Compare(b.weight, a.weight) })
	var w writer
	for _, s := range all {
		w.line("%.0f %s", s.weight/total*1e5, title(s.parts))
	}
	return w.String()
}
