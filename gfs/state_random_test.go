package gfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// stateRandom applies random commands to a state and to the model.
type stateRandom struct {
	*stateRig
	rng   *rand.Rand
	model *stateModel
	other *state // fed the same, restored now and then, never frozen otherwise
	long  bool
	done  map[string]int // commands that did something
}

// path draws a path: mostly one that is there, or was removed, or could be there.
func (r *stateRandom) path() string {
	if r.rng.IntN(3) > 0 {
		paths := r.model.below(".")
		return paths[r.rng.IntN(len(paths))]
	}
	var parts []string
	for range 1 + r.rng.IntN(3) {
		name := []string{"a", "b", "c", "a.b", "x\x01", "d"}[r.rng.IntN(6)]
		if r.long && r.rng.IntN(2) == 0 {
			name += strings.Repeat("-", 100) + fmt.Sprint(r.rng.IntN(40))
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, "/")
}

// child draws a new path in a directory that is there.
func (r *stateRandom) child() string {
	for range 10 {
		if p := r.path(); r.model.entries[p] != nil && r.model.entries[p].dir && !modelHidden(p) {
			name := []string{"e", "f", "g"}[r.rng.IntN(3)]
			if r.long {
				name += strings.Repeat("=", 80) + fmt.Sprint(r.rng.IntN(100))
			}
			return modelJoin(p, name)
		}
	}
	return r.path()
}

func (r *stateRandom) header() cmdHeader {
	h := r.head([]string{"ann", "bob", "super", "super"}[r.rng.IntN(4)])
	if r.rng.IntN(2) == 0 {
		h.who.groups = []string{"root", "staff"}[r.rng.IntN(2):]
	}
	return h
}

func (r *stateRandom) mode() uint32 {
	return []uint32{0o777, 0o755, 0o644, 0o700, 0o770, 0o007}[r.rng.IntN(6)]
}

// handle draws one that is there, or was reserved.
func (r *stateRandom) handle() handle { return handle(r.rng.Uint64N(uint64(r.model.nextHandle + 1))) }

// compare fails unless the state answered as the model does.
func (r *stateRandom) compare(what string, got, want any, err, wantErr error) {
	r.t.Helper()
	if wantErr == nil && err == nil {
		name, _, _ := strings.Cut(what, " ")
		r.done[name]++
		if got != want {
			r.t.Fatalf("%s: %+v, want %+v", what, got, want)
		}
		return
	}
	if wantErr == nil || !errors.Is(err, wantErr) {
		r.t.Fatalf("%s: error %v, want %v", what, err, wantErr)
	}
}

// run applies a command to both states.
func (r *stateRandom) run(cmd []byte) []byte {
	r.t.Helper()
	out := r.do(cmd)
	if got := r.other.Apply(r.index, r.at, cmd, nil); !bytes.Equal(got, out) {
		r.t.Fatalf("command %x: %x here, %x there", cmd, out, got)
	}
	return out
}

func (r *stateRandom) step() {
	h := r.header()
	switch r.rng.IntN(16) {
	case 0, 1, 2:
		c := cmdCreate{h, createReq{r.child(), r.mode(), uint8(r.rng.IntN(5)), r.rng.IntN(2) == 0, r.rng.IntN(2) == 0}}
		got, err := c.result(r.run(c.append(nil)))
		want, wantErr := r.model.create(&c)
		r.compare(fmt.Sprintf("create %+v", c), got, want, err, wantErr)
	case 3:
		c := cmdMkdir{h, mkdirReq{r.child(), r.mode(), r.rng.IntN(2) == 0}}
		got, err := c.result(r.run(c.append(nil)))
		want, wantErr := r.model.mkdir(&c)
		r.compare(fmt.Sprintf("mkdir %+v", c), got, want, err, wantErr)
	case 4, 5:
		c := cmdRemove{h, removeReq{r.path(), r.rng.IntN(2) == 0}}
		got, err := c.result(r.run(c.append(nil)))
		want, wantErr := r.model.remove(r.at, &c)
		r.compare(fmt.Sprintf("remove %+v", c), got, want, err, wantErr)
	case 6:
		c := cmdUndelete{h, undeleteReq{r.path(), ""}}
		if i := strings.LastIndex(c.path, hiddenMark); i >= 0 && r.rng.IntN(2) == 0 {
			c.path = c.path[:i]
		}
		if r.rng.IntN(2) == 0 {
			c.to = r.child()
		}
		got, err := c.result(r.run(c.append(nil)))
		want, wantErr := r.model.undelete(&c)
		r.compare(fmt.Sprintf("undelete %+v", c), got, want, err, wantErr)
	case 7:
		c := cmdRename{h, pairReq{r.path(), r.child()}}
		err, wantErr := c.result(r.run(c.append(nil))), r.model.rename(&c)
		r.compare(fmt.Sprintf("rename %+v", c), nil, nil, err, wantErr)
	case 8:
		c := cmdSnapshot{h, pairReq{r.path(), r.child()}}
		err, wantErr := c.result(r.run(c.append(nil))), r.model.snapshot(&c)
		r.compare(fmt.Sprintf("snapshot %+v", c), nil, nil, err, wantErr)
	default:
		r.stepMore(h)
	}
}

func (r *stateRandom) stepMore(h cmdHeader) {
	switch r.rng.IntN(8) {
	case 0:
		c := cmdSetAttr{h, setAttrReq{path: r.path(), all: r.rng.IntN(3) == 0, mode: -1, goal: uint8(r.rng.IntN(4))}}
		if r.rng.IntN(2) == 0 {
			c.mode = int64(r.mode())
		}
		if r.rng.IntN(3) == 0 {
			c.owner = []string{"ann", "bob", "eve"}[r.rng.IntN(3)]
		}
		if r.rng.IntN(3) == 0 {
			c.group = []string{"staff", "root"}[r.rng.IntN(2)]
		}
		if r.rng.IntN(3) == 0 {
			c.modTime = r.at.UnixNano()
		}
		err, wantErr := c.result(r.run(c.append(nil))), r.model.setAttr(&c)
		r.compare(fmt.Sprintf("setAttr %+v", c), nil, nil, err, wantErr)
	case 1:
		c := cmdSetPolicy{h, policyReq{path: r.path()}}
		if r.rng.IntN(3) > 0 {
			c.policy = policy{uint8(r.rng.IntN(4)), time.Duration(r.rng.IntN(400)-20) * time.Second, 0, uint64(r.rng.IntN(2) * 60)}
		}
		err, wantErr := c.result(r.run(c.append(nil))), r.model.setPolicy(&c)
		r.compare(fmt.Sprintf("setPolicy %+v", c), nil, nil, err, wantErr)
	case 2, 3:
		c := cmdAddChunk{cmdHeader: h, path: r.path(), index: r.index % 20, version: 1, last: r.rng.IntN(4) == 0}
		if r.rng.IntN(4) == 0 {
			c.index = r.rng.Uint64N(200)
		}
		if r.rng.IntN(2) == 0 {
			c.handle = r.handle()
		}
		got, err := c.result(r.run(c.append(nil)))
		want, wantErr := r.model.addChunk(&c)
		r.compare(fmt.Sprintf("addChunk %+v", c), got, want, err, wantErr)
	case 4:
		c := cmdFork{cmdHeader: h, path: r.path(), from: r.handle(), to: r.handle(), version: 7}
		if e := r.model.entries[c.path]; e != nil && len(e.handles) > 0 {
			for i := range 200 { // the first chunk of the file
				if e.handles[uint64(i)] != 0 {
					c.index, c.from = uint64(i), e.handles[uint64(i)]
					break
				}
			}
		}
		got, err := c.result(r.run(c.append(nil)))
		want, wantErr := r.model.fork(&c)
		r.compare(fmt.Sprintf("fork %+v", c), got, want, err, wantErr)
	case 5:
		c := cmdGrant{1, r.handle(), 1, 2}
		err, wantErr := c.result(r.run(c.append(nil))), r.model.grant(&c)
		r.compare(fmt.Sprintf("grant %+v", c), nil, nil, err, wantErr)
	case 6:
		c := cmdReserve{1, 1 + r.rng.Uint64N(4)}
		got, err := c.result(r.run(c.append(nil)))
		want := r.model.nextHandle
		r.model.nextHandle += handle(c.n)
		r.compare("reserve", got, want, err, nil)
	case 7:
		c := cmdCollect{1, maxCollect}
		got, err := c.result(r.run(c.append(nil)))
		r.compare("collect", got, collectResult{r.model.collect(r.at), 0}, err, nil)
	}
}

// same compares all that there is.
func (r *stateRandom) same() {
	r.t.Helper()
	data := r.s.data
	if data.ns.tree.count != len(r.model.entries) || data.chunks.count != len(r.model.chunks) {
		r.t.Fatalf("%d entries and %d chunks, want %d and %d", data.ns.tree.count, data.chunks.count, len(r.model.entries), len(r.model.chunks))
	}
	super := identity{super: true}
	for p, e := range r.model.entries {
		want := e.attributes
		want.path = p
		if want.dir {
			want.goal = 0
			if e.policy != nil {
				want.goal = e.policy.goal
			}
		}
		got, err := r.s.stat(super, p)
		if err != nil || !equalAttributes(&got, &want) {
			r.t.Fatalf("%s: %+v, %v, want %+v", p, got, err, want)
		}
		if e.dir {
			files, dirs, chunks := r.model.usage(p)
			u, err := r.s.usage(super, p)
			if err != nil || u.files != files || u.dirs != dirs || u.chunks != chunks {
				r.t.Fatalf("%s: %+v, %v, want %d, %d, %d", p, u, err, files, dirs, chunks)
			}
			r.listed(p)
			continue
		}
		_, chunks, found, err := r.s.lookup(super, p, e.id, 0, 1000)
		if err != nil || chunks != e.chunks || len(found) != len(e.handles) {
			r.t.Fatalf("%s: %d chunks, %v, %v, want %d, %v", p, chunks, found, err, e.chunks, e.handles)
		}
		for _, k := range found {
			if e.handles[k.index] != k.handle || r.model.chunks[k.handle].version != k.version {
				r.t.Fatalf("%s: chunk %+v, want %d", p, k, e.handles[k.index])
			}
		}
	}
	for h, want := range r.model.chunks {
		if got, ok := r.s.chunk(h); !ok || got != *want {
			r.t.Fatalf("chunk %d: %+v, want %+v", h, got, *want)
		}
	}
}

func equalAttributes(a, b *attributes) bool {
	x, y := *a, *b
	x.last, y.last = chunkInfo{}, chunkInfo{}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

// listed compares the list of a directory, in pages.
func (r *stateRandom) listed(dir string) {
	r.t.Helper()
	for _, deleted := range []bool{false, true} {
		var want, got []string
		for p, e := range r.model.entries {
			if p != "." && modelParent(p) == dir && e.hidden == deleted {
				want = append(want, modelName(p))
			}
		}
		slices.Sort(want)
		limit := 1 + r.rng.Uint64N(5)
		for after, more := "", true; more; {
			list, again, err := r.s.readDir(identity{super: true}, dir, after, limit, deleted)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, a := range list {
				got = append(got, a.path)
				after = a.path
			}
			more = again
		}
		if !slices.Equal(got, want) {
			r.t.Fatalf("%s: %q, want %q", dir, got, want)
		}
	}
}

// TestStateRandom compares states with the model, and with each other: one that is
// restored from an image again and again, and one that never is.
func TestStateRandom(t *testing.T) {
	t.Parallel()
	seeds := uint64(24)
	if testing.Short() {
		seeds = 6
	}
	done, ran := make(map[string]int), uint64(0)
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ran++
			r := &stateRandom{stateRig: newStateRig(t), rng: rand.New(rand.NewPCG(seed, 3)), model: newStateModel(), other: newState(), long: seed%4 == 1, done: done}
			r.other.Apply(0, r.at, (&cmdLead{1, DefaultChunkSize}).append(nil), nil)
			for i := range 500 {
				r.step()
				image := r.image()
				if i%20 == 0 {
					r.same()
				}
				if i%7 == 0 { // what is restored is the same, and goes on in the same way
					s := newState()
					if err := s.Restore(bytes.NewReader(image)); err != nil {
						t.Fatal(err)
					}
					r.s = s
					r.check()
					if again := r.image(); !bytes.Equal(again, image) {
						t.Fatalf("image %d differs after it was restored", i)
					}
				}
			}
			if !bytes.Equal(r.image(), stateImage(t, r.other)) {
				t.Fatal("two states that were fed the same have different images")
			}
		})
	}
	for _, name := range []string{
		"create", "mkdir", "remove", "undelete", "rename", "snapshot", "setAttr", "setPolicy", "addChunk", "fork", "grant", "collect",
	} {
		if ran == seeds && done[name] < int(seeds) {
			t.Errorf("%s did something only %d times", name, done[name])
		}
	}
}
