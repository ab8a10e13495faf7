package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/trilith-go/trilith/gfs"
)

// This file is a load of the namespace of which every answer is held against a model.

// pathDir is where the paths are.
const pathDir = "ns"

// A pathHistory is what clients have done to a few paths, and what they saw.
type pathHistory struct {
	began time.Time

	mu   sync.Mutex // guards what follows
	ops  []porcupine.Operation
	made uint32 // files so far: each has permission bits of its own, by which it is known
}

type pathKind int

const (
	pathCreate pathKind = iota
	pathRemove
	pathRename
	pathStat
	pathKinds
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

// after returns the state after an operation that succeeds.
func (in pathIn) after(s pathState) pathState {
	if in.kind == pathStat {
		return s
	}
	after := maps.Clone(s)
	switch in.kind {
	case pathCreate:
		after[in.from] = in.file
	case pathRename:
		after[in.to] = after[in.from]
		delete(after, in.from)
	default:
		delete(after, in.from)
	}
	return after
}

// outcomes returns the states that an operation may leave, if it returned out.
func (in pathIn) outcomes(s pathState, out pathOut) []pathState {
	wrong := in.errors(s)
	switch {
	case out.unknown && len(wrong) == 0:
		return []pathState{s, in.after(s)}
	case out.unknown:
		return []pathState{s}
	case len(wrong) > 0 || out.err != nil:
		if slices.ContainsFunc(wrong, func(e error) bool { return errors.Is(out.err, e) }) {
			return []pathState{s}
		}
		return nil
	case in.kind == pathStat && s[in.from] != out.file:
		return nil
	}
	return []pathState{in.after(s)}
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

// A pathLoad is one client.
type pathLoad struct {
	t       *testing.T
	id      int
	client  *gfs.Client
	rng     *rand.Rand
	history *pathHistory
}

// run works until stop is closed.
func (l *pathLoad) run(stop <-chan struct{}) {
	defer l.client.Close()
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(l.rng.Int64N(int64(100 * time.Millisecond)))):
		}
		l.step()
	}
}

func (l *pathLoad) step() {
	name := func() string { return path.Join(pathDir, string(rune('a'+l.rng.IntN(3)))) }
	in := pathIn{kind: pathKind(l.rng.IntN(int(pathKinds))), from: name()}
	h := l.history
	switch in.kind {
	case pathCreate:
		h.mu.Lock()
		h.made++
		in.file = h.made & 0o777
		h.mu.Unlock()
	case pathRename:
		for in.to = in.from; in.to == in.from; {
			in.to = name()
		}
	}
	begin := time.Since(h.began)
	out := l.do(in)
	end := int64(time.Since(h.began))
	if out.unknown {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: l.id, Input: in, Call: int64(begin), Output: out, Return: end})
}

// do carries an operation out.
func (l *pathLoad) do(in pathIn) (out pathOut) {
	ctx := l.t.Context()
	switch in.kind {
	case pathCreate:
		var f *gfs.File
		if f, out.err = l.client.OpenFile(ctx, in.from, gfs.OpenOptions{Create: true, Exclusive: true, Perm: fs.FileMode(in.file)}); out.err == nil {
			out.err = f.Close()
		}
	case pathRemove:
		out.err = l.client.Remove(ctx, in.from)
	case pathRename:
		out.err = l.client.Rename(ctx, in.from, in.to)
	default:
		var info *gfs.Info
		if info, out.err = l.client.Stat(ctx, in.from); out.err == nil {
			out.file = uint32(info.Mode().Perm())
		}
	}
	if out.err != nil && !errors.Is(out.err, fs.ErrExist) && !errors.Is(out.err, fs.ErrNotExist) {
		l.t.Errorf("walker %d: %+v: %v", l.id, in, out.err)
		out.unknown = true
	}
	return out
}

// check looks for an order that explains what was seen.
func (h *pathHistory) check(t *testing.T) {
	t.Helper()
	if got := porcupine.CheckOperationsTimeout(pathModel.ToModel(), h.ops, 0); got != porcupine.Ok {
		var all []string
		for _, op := range h.ops {
			all = append(all, fmt.Sprintf("%d %v–%v %s", op.ClientId, time.Duration(op.Call), time.Duration(op.Return), pathModel.DescribeOperation(op.Input, op.Output)))
		}
		t.Errorf("the namespace is not linearizable (%v):\n%s", got, strings.Join(all, "\n"))
	}
}
