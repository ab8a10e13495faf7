package main

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/trilith-go/trilith/mapreduce"
)

const (
	// unit is the mean of all ranks: they are integers.
	unit = 1_000_000_000
	// Of its rank, a package hands on dampedParts in allParts.
	dampedParts, allParts = 85, 100

	// Counters: of packages, and of the ranks of those that import nothing.
	packagesCounter = "packages"
	sunkCounter     = "sunk"
	// sunkArg is what each package gets of the latter, in the next run.
	sunkArg = "sunk"
)

// links writes a line for each package: its name, its first rank and its imports.
var links = mapreduce.Job[string, string, string]{
	Name:  "links",
	Input: wholeFiles{},
	Map: func(_ *mapreduce.Task, file mapreduce.Record, emit func(string, string)) error {
		pkg, ok := packageOf(file.File)
		if !ok {
			return nil
		}
		imports, err := importsOf(file.File, file.Value)
		if err != nil {
			return err
		}
		emit(pkg, "") // it is one, whatever it imports
		for _, name := range imports {
			emit(pkg, name)
			emit(name, "")
		}
		return nil
	},
	Reduce: func(t *mapreduce.Task, _ string, names iter.Seq[string], emit func(string)) error {
		imports := slices.Compact(slices.Sorted(names))
		n := node{rank: unit, imports: slices.DeleteFunc(imports, func(name string) bool { return name == "" })}
		n.count(t)
		emit(n.String())
		return nil
	},
}

// rank computes new ranks of what the last job has written.
var rank = mapreduce.Job[string, string, string]{
	Name: "rank",
	Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(string, string)) error {
		pkg, n, err := parseNode(line.Text())
		if err != nil {
			return err
		}
		emit(pkg, node{imports: n.imports}.String())
		share := node{rank: n.share()}.String()
		for _, name := range n.imports {
			emit(name, share)
		}
		return nil
	},
	Reduce: func(t *mapreduce.Task, _ string, parts iter.Seq[string], emit func(string)) error {
		sunk, err := strconv.ParseInt(t.Arg(sunkArg), 10, 64)
		if err != nil {
			return fmt.Errorf("the argument %q: %w", sunkArg, err)
		}
		n := node{rank: base + sunk}
		for part := range parts {
			if err := n.add(part); err != nil {
				return err
			}
		}
		n.count(t)
		emit(n.String())
		return nil
	},
}

// base is the rank of a package to which nobody hands on anything.
const base = unit * (allParts - dampedParts) / allParts

// order writes the packages in the order of their ranks, the first one first.
var order = mapreduce.Job[int64, string, string]{
	Name: "order",
	Map: func(_ *mapreduce.Task, line mapreduce.Record, emit func(int64, string)) error {
		pkg, n, err := parseNode(line.Text())
		if err != nil {
			return err
		}
		emit(-n.rank, pkg)
		return nil
	},
	Reduce: func(_ *mapreduce.Task, _ int64, pkgs iter.Seq[string], emit func(string)) error {
		for _, pkg := range slices.Sorted(pkgs) {
			emit(pkg)
		}
		return nil
	},
	Format: func(dst []byte, negated int64, pkg string) []byte { return fmt.Appendf(dst, "%d\t%s\n", -negated, pkg) },
}

// node is a package, or a part of what is known of it: its rank and its imports, in a
// line of text with spaces between them.
type node struct {
	rank    int64
	imports []string
}

func (n node) String() string {
	return strings.Join(append([]string{strconv.FormatInt(n.rank, 10)}, n.imports...), " ")
}

// add adds a part.
func (n *node) add(text string) error {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return fmt.Errorf("%q has no rank", text)
	}
	rank, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return err
	}
	n.rank += rank
	n.imports = append(n.imports, fields[1:]...)
	return nil
}

// parseNode reads a line that links or rank has written.
func parseNode(line string) (pkg string, n node, err error) {
	pkg, text, _ := strings.Cut(line, "\t")
	return pkg, n, n.add(text)
}

// share returns what each of its imports gets of a package's rank.
func (n *node) share() int64 {
	if len(n.imports) == 0 {
		return 0
	}
	return damped(n.rank) / int64(len(n.imports))
}

// damped returns the part of a rank that is handed on.
func damped(rank int64) int64 { return rank * dampedParts / allParts }

// count counts a package.
func (n *node) count(t *mapreduce.Task) {
	t.Counter(packagesCounter).Add(1)
	if len(n.imports) == 0 {
		t.Counter(sunkCounter).Add(n.rank)
	}
}
