package gfs

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"
	"time"
)

// stateRig applies commands to a state, each followed by a check of everything.
type stateRig struct {
	t     testing.TB
	s     *state
	index uint64
	at    time.Time
	quick bool // do not check
}

var stateStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newStateRig(t testing.TB) *stateRig {
	r := &stateRig{t: t, s: newState(), at: stateStart}
	if err := (&cmdLead{1, DefaultChunkSize}).result(r.do((&cmdLead{1, DefaultChunkSize}).append(nil))); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *stateRig) do(cmd []byte) []byte {
	r.index++
	r.at = r.at.Add(time.Second)
	out := r.s.Apply(r.index, r.at, cmd, nil)
	if !r.quick {
		r.check()
	}
	return out
}

func (r *stateRig) check() {
	r.t.Helper()
	if err := r.s.data.check(); err != nil {
		r.t.Fatalf("after command %d: %v", r.index, err)
	}
}

// head returns the header of a command of a user; "super" is a super user.
func (r *stateRig) head(user string, groups ...string) cmdHeader {
	return cmdHeader{epoch: 1, who: identity{user, groups, user == "super"}, when: r.at.UnixNano()}
}

func (r *stateRig) create(user, path string) error {
	c := cmdCreate{r.head(user), createReq{path: path, mode: 0o644, exclusive: true}}
	_, err := c.result(r.do(c.append(nil)))
	return err
}

func (r *stateRig) mkdir(user, path string) error {
	c := cmdMkdir{r.head(user), mkdirReq{path: path, mode: 0o755}}
	_, err := c.result(r.do(c.append(nil)))
	return err
}

func (r *stateRig) remove(user, path string, all bool) (string, error) {
	c := cmdRemove{r.head(user), removeReq{path, all}}
	return c.result(r.do(c.append(nil)))
}

func (r *stateRig) undelete(user, path, to string) (string, error) {
	c := cmdUndelete{r.head(user), undeleteReq{path, to}}
	return c.result(r.do(c.append(nil)))
}

func (r *stateRig) rename(user, from, to string) error {
	c := cmdRename{r.head(user), pairReq{from, to}}
	return c.result(r.do(c.append(nil)))
}

func (r *stateRig) snapshot(user, from, to string) error {
	c := cmdSnapshot{r.head(user), pairReq{from, to}}
	return c.result(r.do(c.append(nil)))
}

func (r *stateRig) addChunk(user, path string, index uint64) (chunkResult, error) {
	c := cmdAddChunk{cmdHeader: r.head(user), path: path, index: index, version: 1}
	return c.result(r.do(c.append(nil)))
}

func (r *stateRig) image() []byte {
	r.t.Helper()
	return stateImage(r.t, r.s)
}

func stateImage(t testing.TB, s *state) []byte {
	t.Helper()
	f, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (r *stateRig) want(err, want error) {
	r.t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		r.t.Fatalf("error %v, want %v", err, want)
	}
}

// TestStateFiles follows a file through its life.
func TestStateFiles(t *testing.T) {
	r := newStateRig(t)
	r.want(r.mkdir("ann", "home"), nil)
	r.want(r.create("ann", "home/a"), nil)
	r.want(r.create("ann", "home/a"), fs.ErrExist)
	r.want(r.create("ann", "no/a"), fs.ErrNotExist)
	r.want(r.create("ann", "home/a/b"), ErrNotDir)
	r.want(r.create("ann", "home"), ErrIsDir)
	r.want(r.create("bob", "home/b"), fs.ErrPermission)
	for i := range uint64(200) {
		got, err := r.addChunk("ann", "home/a", i)
		r.want(err, nil)
		if got.index != i || got.chunks != i+1 || got.existed {
			t.Fatalf("chunk %d: %+v", i, got)
		}
	}
	_, chunks, found, err := r.s.lookup(identity{user: "bob"}, "home/a", 0, 190, 20)
	r.want(err, nil)
	if chunks != 200 || len(found) != 10 || found[0].index != 190 || found[0].version != 1 {
		t.Fatalf("%d chunks, %+v", chunks, found)
	}
	r.want(r.snapshot("super", "home", "copy"), nil)
	hidden, err := r.remove("ann", "home/a", false)
	r.want(err, nil)
	a, err := r.s.stat(identity{user: "ann"}, hidden)
	r.want(err, nil)
	if a.deleted == 0 || a.chunks != 200 {
		t.Fatalf("%+v", a)
	}
	_, err = r.s.stat(identity{user: "ann"}, "home/a")
	r.want(err, fs.ErrNotExist)
	path, err := r.undelete("ann", "home/a", "")
	r.want(err, nil)
	if path != "home/a" {
		t.Fatal(path)
	}
	_, err = r.remove("ann", "home/a", false)
	r.want(err, nil)
	image := r.image()
	s := newState()
	r.want(s.Restore(bytes.NewReader(image)), nil)
	r.want(s.data.check(), nil)
	if !bytes.Equal(stateImage(t, s), image) {
		t.Fatal("the image of what was restored is another")
	}
	r.at = r.at.Add(DefaultRetention)
	c := cmdCollect{epoch: 1}
	got, err := c.result(r.do(c.append(nil)))
	r.want(err, nil)
	if got.dropped != 1 || got.due != 0 {
		t.Fatalf("%+v", got)
	}
	_, err = r.s.stat(identity{user: "ann"}, hidden)
	r.want(err, fs.ErrNotExist)
}
