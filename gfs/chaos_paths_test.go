package gfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/trilith-go/trilith/gfs"
)

// A pathHistory is what clients have done to a few paths, and what they saw.
type pathHistory struct {
	mu   sync.Mutex
	ops  []porcupine.Operation
	made uint32 // files so far: each has permission bits of its own, by which it is known
}

type pathKind int

const (
	pathCreate pathKind = iota
	pathRemove
	pathRename
	pathSnapshot
	pathStat
)

// A pathIn is an operation, a pathOut what it returned.
type pathIn struct {
	kind     pathKind
	from, to string
	file     uint32 // pathCreate
}

type pathOut struct {
	unknown bool // whether it was carried out, or will be
	err     error
	file    uint32 // pathStat
}

// pathState is which file is at which path.
type pathState map[string]uint32

// outcomes returns the states that an operation may leave, if it returned out.
func (in pathIn) outcomes(s pathState, out pathOut) []pathState {
	after, err := in.apply(s)
	switch {
	case out.unknown && err == nil:
		return []pathState{s, after}
	case out.unknown:
		return []pathState{s}
	case err != nil || out.err != nil:
		if slices.ContainsFunc(in.errors(s), func(e error) bool { return errors.Is(out.err, e) }) {
			return []pathState{s}
		}
		return nil
	case in.kind == pathStat && s[in.from] != out.file:
		return nil
	}
	return []pathState{after}
}

// errors returns the errors of which an operation returns one.
func (in pathIn) errors(s pathState) (all []error) {
	if _, ok := s[in.from]; !ok && in.kind != pathCreate {
		all = append(all, fs.ErrNotExist)
	}
	target := in.to
	if in.kind == pathCreate {
		target = in.from
	}
	if _, ok := s[target]; ok {
		all = append(all, fs.ErrExist)
	}
	return all
}

// apply returns the state after an operation, or why it cannot be.
func (in pathIn) apply(s pathState) (pathState, error) {
	if all := in.errors(s); len(all) > 0 {
		return s, all[0]
	}
	if in.kind == pathStat {
		return s, nil
	}
	after := maps.Clone(s)
	switch in.kind {
	case pathCreate:
		after[in.from] = in.file
	case pathRemove:
		delete(after, in.from)
	case pathRename:
		after[in.to] = after[in.from]
		delete(after, in.from)
	case pathSnapshot:
		after[in.to] = after[in.from]
	}
	return after, nil
}

var pathModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{pathState{}} },
	Step: func(state, input, output any) []any {
		var all []any
		for _, s := range input.(pathIn).outcomes(state.(pathState), output.(pathOut)) {
			all = append(all, s)
		}
		return all
	},
	Equal: func(a, b any) bool { return maps.Equal(a.(pathState), b.(pathState)) },
	DescribeOperation: func(input, output any) string {
		in, out := input.(pathIn), output.(pathOut)
		return fmt.Sprintf("%d %s %s %o: %v %v %o", in.kind, in.from, in.to, in.file, out.unknown, out.err, out.file)
	},
}

// pathOp does something to one or two of a few paths.
func (l *chaosLoad) pathOp() {
	name := func() string { return fmt.Sprintf("ns/%c", 'a'+l.rng.IntN(3)) }
	in := pathIn{kind: pathKind(l.rng.IntN(5)), from: name()}
	in.to = in.from
	for in.to == in.from {
		in.to = name()
	}
	h := l.paths
	if in.kind == pathCreate {
		h.mu.Lock()
		h.made++
		in.file = h.made
		h.mu.Unlock()
	}
	if in.kind != pathRename && in.kind != pathSnapshot {
		in.to = ""
	}
	begin := time.Since(l.model.began)
	out := in.do(l)
	end := time.Since(l.model.began)
	l.trace("client %d: %+v: %+v", l.id, in, out)
	if out.unknown {
		end = math.MaxInt64
	}
	h.mu.Lock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: l.id, Input: in, Call: int64(begin), Output: out, Return: int64(end)})
	h.mu.Unlock()
	l.count.add("path operations", 1)
}

// do carries an operation out.
func (in pathIn) do(l *chaosLoad) (out pathOut) {
	var err error
	switch in.kind {
	case pathCreate:
		var f *gfs.File
		f, err = l.client.OpenFile(l.ctx, in.from, gfs.OpenOptions{Create: true, Exclusive: true, Perm: fs.FileMode(in.file)})
		if err == nil {
			err = f.Close()
		}
	case pathRemove:
		err = l.client.Remove(l.ctx, in.from)
	case pathRename:
		err = l.client.Rename(l.ctx, in.from, in.to)
	case pathSnapshot:
		err = l.client.Snapshot(l.ctx, in.from, in.to)
	default:
		var info *gfs.Info
		if info, err = l.client.Stat(l.ctx, in.from); err == nil {
			out.file = uint32(info.Mode().Perm())
		}
	}
	out.err = err
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		out.unknown = true
		l.failed("path operation", err)
		l.count.add("unknown outcomes", 1)
	}
	return out
}

// check looks for an order that explains what was seen.
func (h *pathHistory) check(k *chaos) {
	k.Helper()
	if got := porcupine.CheckOperationsTimeout(pathModel.ToModel(), h.ops, 0); got != porcupine.Ok {
		var all []string
		for _, op := range h.ops {
			all = append(all, fmt.Sprintf("%d %v–%v %s", op.ClientId, time.Duration(op.Call), time.Duration(op.Return), pathModel.DescribeOperation(op.Input, op.Output)))
		}
		k.Errorf("the namespace is not linearizable (%v):\n%s", got, strings.Join(all, "\n"))
	}
}
