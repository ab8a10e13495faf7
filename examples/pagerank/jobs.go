package main

import (
	"fmt"
	"iter"
	"slices"
	"strconv"

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

// nodes is what the jobs hand on to each other: the packages by name.
var nodes mapreduce.PairFile[string, node]

// links writes a node for each package, with its first rank and its imports.
var links = mapreduce.Job[string, string, node]{
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
	Reduce: func(t *mapreduce.Task, _ string, names iter.Seq[string], emit func(node)) error {
		imports := slices.Compact(slices.Sorted(names))
		n := node{Rank: unit, Imports: slices.DeleteFunc(imports, func(name string) bool { return name == "" })}
		n.count(t)
		emit(n)
		return nil
	},
	Output: nodes,
}

// rank computes new ranks of what the last job has written. What it emits for a package
// are parts of its node, which add up.
var rank = mapreduce.Job[string, node, node]{
	Name:  "rank",
	Input: nodes,
	Map: mapreduce.MapPairs(nodes, func(_ *mapreduce.Task, pkg string, n node, emit func(string, node)) error {
		emit(pkg, node{Imports: n.Imports})
		share := node{Rank: n.share()}
		for _, name := range n.Imports {
			emit(name, share)
		}
		return nil
	}),
	Reduce: func(t *mapreduce.Task, _ string, parts iter.Seq[node], emit func(node)) error {
		sunk, err := strconv.ParseInt(t.Arg(sunkArg), 10, 64)
		if err != nil {
			return fmt.Errorf("the argument %q: %w", sunkArg, err)
		}
		n := node{Rank: base + sunk}
		for part := range parts {
			n.Rank += part.Rank
			n.Imports = append(n.Imports, part.Imports...)
		}
		n.count(t)
		emit(n)
		return nil
	},
	Output: nodes,
}

// base is the rank of a package to which nobody hands on anything.
const base = unit * (allParts - dampedParts) / allParts

// order writes the packages as text in the order of their ranks, the first one first.
var order = mapreduce.Job[int64, string, string]{
	Name:  "order",
	Input: nodes,
	Map: mapreduce.MapPairs(nodes, func(_ *mapreduce.Task, pkg string, n node, emit func(int64, string)) error {
		emit(n.Rank, pkg)
		return nil
	}),
	Keys: mapreduce.Descending[int64](nil),
	Reduce: func(_ *mapreduce.Task, _ int64, pkgs iter.Seq[string], emit func(string)) error {
		for _, pkg := range slices.Sorted(pkgs) {
			emit(pkg)
		}
		return nil
	},
}

// node is a package, or a part of what is known of it.
type node struct {
	Rank    int64
	Imports []string
}

// share returns what each of its imports gets of a package's rank.
func (n *node) share() int64 {
	if len(n.Imports) == 0 {
		return 0
	}
	return damped(n.Rank) / int64(len(n.Imports))
}

// damped returns the part of a rank that is handed on.
func damped(rank int64) int64 { return rank * dampedParts / allParts }

// count counts a package.
func (n *node) count(t *mapreduce.Task) {
	t.Counter(packagesCounter).Add(1)
	if len(n.Imports) == 0 {
		t.Counter(sunkCounter).Add(n.Rank)
	}
}
