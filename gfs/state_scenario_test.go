package gfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStateEpoch: nothing that a master of an older epoch proposes has an effect.
func TestStateEpoch(t *testing.T) {
	r := newStateRig(t)
	lead := cmdLead{5, DefaultChunkSize}
	r.want(lead.result(r.do(lead.append(nil))), nil)
	if r.s.epoch() != 5 {
		t.Fatal(r.s.epoch())
	}
	before := r.image()
	r.want(r.create("ann", "a"), errOldEpoch)
	for _, cmd := range [][]byte{
		(&cmdLead{4, DefaultChunkSize}).append(nil), (&cmdGrant{4, 1, 1, 2}).append(nil), (&cmdReserve{4, 1}).append(nil),
		(&cmdAdopt{4, 1, 2}).append(nil), (&cmdCollect{4, 1}).append(nil), (&cmdServer{4, [16]byte{}, "", "", ""}).append(nil),
		(&cmdDrain{4, 1, true}).append(nil), (&cmdForget{4, 1}).append(nil),
	} {
		r.want(takeNothing(r.do(cmd)), errOldEpoch)
	}
	if !bytes.Equal(before, r.image()) {
		t.Fatal("something has changed")
	}
}

// TestStateHidden: hidden names cannot be made, are read as others, and are not written.
func TestStateHidden(t *testing.T) {
	r := newStateRig(t)
	r.want(r.create("ann", "a"), nil)
	_, err := r.addChunk("ann", "a", 0)
	r.want(err, nil)
	hidden, err := r.remove("ann", "a", false)
	r.want(err, nil)
	r.want(r.create("ann", strings.Replace(hidden, "a.", "b.", 1)), fs.ErrInvalid)
	r.want(r.create("ann", "b.deleted.yesterday"), nil)
	_, _, found, err := r.s.lookup(identity{user: "ann"}, hidden, 0, 0, 1)
	if r.want(err, nil); len(found) != 1 {
		t.Fatal(found)
	}
	if row, _ := r.s.chunk(found[0].handle); row.refs != 1 || row.live != 0 {
		t.Fatalf("%+v", row)
	}
	r.want(r.s.writable(identity{user: "ann"}, hidden, 0), fs.ErrPermission)
	_, err = r.addChunk("ann", hidden, 1)
	r.want(err, fs.ErrPermission)
	// Removed once more, it is gone.
	path, err := r.remove("ann", hidden, false)
	if r.want(err, nil); path != "" {
		t.Fatal(path)
	}
	if _, ok := r.s.chunk(found[0].handle); ok {
		t.Fatal("the chunk is still there")
	}
	// A name as long as names may be can be removed, and had back.
	long := strings.Repeat("x", MaxName)
	r.want(r.create("ann", long), nil)
	hidden, err = r.remove("ann", long, false)
	r.want(err, nil)
	_, err = r.s.stat(identity{}, hidden)
	r.want(err, nil)
	path, err = r.undelete("ann", hidden, "")
	if r.want(err, nil); path != long {
		t.Fatal(path)
	}
}

// TestStateCollectPartly: a large directory goes in steps, from the end, and once it has
// begun to go nobody sees it any more.
func TestStateCollectPartly(t *testing.T) {
	r := newStateRig(t)
	r.quick = true
	r.want(r.mkdir("ann", "big"), nil)
	for i := range 30 {
		r.want(r.mkdir("ann", fmt.Sprintf("big/%02d", i)), nil)
		for k := range 50 {
			r.want(r.create("ann", fmt.Sprintf("big/%02d/%02d", i, k)), nil)
		}
		_, err := r.addChunk("ann", fmt.Sprintf("big/%02d/07", i), 40)
		r.want(err, nil)
	}
	r.quick = false
	hidden, err := r.remove("ann", "big", true)
	r.want(err, nil)
	if r.s.due(r.at) {
		t.Fatal("due at once")
	}
	r.want(r.mkdir("ann", "big"), nil)
	r.at = r.at.Add(DefaultRetention)
	if !r.s.due(r.at) {
		t.Fatal("not due")
	}
	for left, steps := 1+30*51, 0; left > 0; steps++ {
		c := cmdCollect{1, 100}
		got, err := c.result(r.do(c.append(nil)))
		r.want(err, nil)
		if want := min(left, 100); int(got.dropped) != want || (left > 100) != (got.due == 1) {
			t.Fatalf("%d left: %+v", left, got)
		}
		left -= int(got.dropped)
		_, err = r.s.stat(identity{super: true}, hidden)
		r.want(err, fs.ErrNotExist)
		_, err = r.s.stat(identity{super: true}, hidden+"/00")
		r.want(err, fs.ErrNotExist)
		_, err = r.undelete("super", hidden, "back")
		r.want(err, fs.ErrNotExist)
		list, _, err := r.s.readDir(identity{super: true}, ".", "", 0, true)
		if r.want(err, nil); len(list) > 0 {
			t.Fatal(list)
		}
	}
	if c := r.s.counts(); c != (stateCounts{dirs: 1}) {
		t.Fatalf("%+v", c)
	}
}

// TestStateRemoveForGood: where nothing is kept, a small directory goes at once, a large
// one is out of sight at once.
func TestStateRemoveForGood(t *testing.T) {
	r := newStateRig(t)
	p := cmdSetPolicy{r.head("super"), policyReq{".", policy{retention: -1}}}
	r.want(p.result(r.do(p.append(nil))), nil)
	for _, n := range []int{10, 2000} {
		r.quick = true
		r.want(r.mkdir("ann", "d"), nil)
		for i := range n {
			r.want(r.create("ann", fmt.Sprintf("d/%04d", i)), nil)
		}
		r.quick = false
		path, err := r.remove("ann", "d", true)
		if r.want(err, nil); path != "" {
			t.Fatal(path)
		}
		list, _, err := r.s.readDir(identity{super: true}, ".", "", 0, true)
		if r.want(err, nil); len(list) > 0 {
			t.Fatal(list)
		}
		_, err = r.undelete("ann", "d", "")
		r.want(err, fs.ErrNotExist)
	}
	for r.s.due(r.at) {
		c := cmdCollect{1, 0}
		_, err := c.result(r.do(c.append(nil)))
		r.want(err, nil)
	}
	if c := r.s.counts(); c != (stateCounts{}) {
		t.Fatalf("%+v", c)
	}
}

// TestStateQuota: all quotas above a path count, and say which is exceeded.
func TestStateQuota(t *testing.T) {
	r := newStateRig(t)
	r.want(r.mkdir("ann", "a"), nil)
	r.want(r.mkdir("ann", "a/b"), nil)
	set := func(path string, files, chunks uint64) {
		t.Helper()
		c := cmdSetPolicy{r.head("super"), policyReq{path, policy{maxFiles: files, maxChunks: chunks}}}
		r.want(c.result(r.do(c.append(nil))), nil)
	}
	set("a", 3, 2)
	set("a/b", 1, 0)
	r.want(r.create("ann", "a/b/1"), nil)
	r.want(r.create("ann", "a/b/2"), ErrQuota)
	r.want(r.create("ann", "a/2"), nil)
	err := r.create("ann", "a/3")
	if r.want(err, ErrQuota); !strings.Contains(err.Error(), "a: 3 files and directories, 3 may be there") {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, ErrQuota} {
		_, err := r.addChunk("ann", "a/2", uint64(i))
		r.want(err, want)
	}
	r.want(r.rename("ann", "a/b/1", "a/4"), nil) // moved within: as many as before
	r.want(r.rename("ann", "a/4", "a/b/4"), nil)
	r.want(r.rename("ann", "a/2", "a/b/2"), ErrQuota)
	r.want(r.snapshot("ann", "a/2", "a/b/2"), ErrQuota)
	r.want(r.snapshot("ann", "a", "c"), nil) // out of it
	usage, err := r.s.usage(identity{super: true}, "c")
	if r.want(err, nil); usage.files != 2 || usage.dirs != 1 || usage.chunks != 2 || usage.policy != (policy{}) {
		t.Fatalf("%+v", usage)
	}
}

// TestStateWalk goes through all chunks in pages of any size.
func TestStateWalk(t *testing.T) {
	r := richState(t)
	whole, err := r.s.walkChunks(identity{super: true}, ".", "", 0)
	r.want(err, nil)
	if whole.next != "" || whole.files != 60 || len(whole.chunks) != 29*30 {
		t.Fatalf("%d files, %d chunks, next %q", whole.files, len(whole.chunks), whole.next)
	}
	for _, limit := range []int{1, 2, 7, 100} {
		var got []fileChunk
		files := uint64(0)
		for after := ""; ; {
			page, err := r.s.walkChunks(identity{super: true}, ".", after, limit)
			r.want(err, nil)
			got, files = append(got, page.chunks...), files+page.files
			if after = page.next; after == "" {
				break
			}
		}
		if files != whole.files || fmt.Sprint(got) != fmt.Sprint(whole.chunks) {
			t.Fatalf("in pages of %d: %d files, %d chunks", limit, files, len(got))
		}
	}
	_, err = r.s.walkChunks(identity{super: true}, ".", "x", 1)
	r.want(err, fs.ErrInvalid)
	var rows []handleRow
	for {
		n := len(rows)
		last := handle(0)
		if n > 0 {
			last = rows[n-1].handle
		}
		if rows = r.s.chunksAfter(rows, last, 10); len(rows) < n+10 {
			break
		}
	}
	if uint64(len(rows)) != r.s.counts().chunks {
		t.Fatalf("%d chunks, %d counted", len(rows), r.s.counts().chunks)
	}
}

// TestStatePermissions: who may do what, by the class that counts.
func TestStatePermissions(t *testing.T) {
	r := newStateRig(t)
	r.want(r.mkdir("ann", "d"), nil)
	r.want(r.create("ann", "d/f"), nil)
	chmod := func(user, path string, mode int64, groups ...string) error {
		c := cmdSetAttr{r.head(user, groups...), setAttrReq{path: path, mode: mode}}
		return c.result(r.do(c.append(nil)))
	}
	chown := func(user, path, owner, group string, groups ...string) error {
		c := cmdSetAttr{r.head(user, groups...), setAttrReq{path: path, mode: -1, owner: owner, group: group}}
		return c.result(r.do(c.append(nil)))
	}
	read := func(user string, groups ...string) error {
		_, _, _, err := r.s.lookup(identity{user: user, groups: groups}, "d/f", 0, 0, 1)
		return err
	}
	r.want(chmod("bob", "d/f", 0o777), fs.ErrPermission)
	r.want(chown("ann", "d/f", "bob", ""), fs.ErrPermission)
	r.want(chown("ann", "d/f", "", "staff"), fs.ErrPermission)
	r.want(chown("ann", "d/f", "", "staff", "staff"), nil)
	r.want(chmod("ann", "d/f", 0o040), nil)
	r.want(read("bob", "staff"), nil)
	r.want(read("bob"), fs.ErrPermission)
	r.want(read("ann", "staff"), fs.ErrPermission) // the owner's class counts
	r.want(chmod("ann", "d/f", 0o444), nil)
	r.want(chmod("ann", "d", 0o700), nil)
	r.want(read("bob", "staff"), fs.ErrPermission)
	_, err := r.s.stat(identity{user: "bob"}, "d/none")
	r.want(err, fs.ErrPermission)
	_, _, err = r.s.readDir(identity{user: "bob"}, "d", "", 0, false)
	r.want(err, fs.ErrPermission)
	r.want(r.s.writable(identity{user: "ann"}, "d/f", 0), fs.ErrPermission)
	r.want(r.s.writable(identity{super: true}, "d/f", 0), nil)
	r.want(r.s.writable(identity{super: true}, "d/f", 99), ErrStale)
	r.want(chown("super", "d/f", "bob", "root"), nil)
	if id, ok := r.s.data.names.lookup("staff"); ok {
		t.Fatalf("nobody is in staff, and it is %d", id)
	}
	r.want(chown("", "d/f", "x", ""), fs.ErrPermission)
	r.want(chown("super", "d/f", "a\x00b", ""), fs.ErrInvalid)
}

// TestStateServers: a disk keeps its id.
func TestStateServers(t *testing.T) {
	r := newStateRig(t)
	add := func(uuid byte, addr string) serverID {
		t.Helper()
		c := cmdServer{1, [16]byte{uuid}, addr, "r", "z"}
		id, err := c.result(r.do(c.append(nil)))
		r.want(err, nil)
		return id
	}
	if add(1, "a:1") != 1 || add(2, "b:1") != 2 || add(1, "a:2") != 1 {
		t.Fatal("ids")
	}
	drain, forget := cmdDrain{1, 1, true}, cmdForget{1, 2}
	r.want(drain.result(r.do(drain.append(nil))), nil)
	r.want(forget.result(r.do(forget.append(nil))), nil)
	r.want((&cmdForget{}).result(r.do((&cmdForget{1, 3}).append(nil))), fs.ErrNotExist)
	known := r.s.known()
	if len(known) != 1 || known[0].id != 1 || known[0].addr != "a:2" || !known[0].draining {
		t.Fatalf("%+v", known)
	}
	s := newState()
	r.want(s.Restore(bytes.NewReader(r.image())), nil)
	if row, ok := s.server(2); !ok || !row.forgotten || row.uuid != [16]byte{2} {
		t.Fatalf("%+v", row)
	}
	if add(2, "b:2") != 2 || len(r.s.known()) != 2 {
		t.Fatalf("%+v", r.s.known())
	}
}

// TestStateFreezeBeside: images are written while commands go on and others read, and
// are those of when they were frozen.
func TestStateFreezeBeside(t *testing.T) {
	r := richState(t)
	r.quick = true
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, _ = r.s.stat(identity{user: "bob"}, "copy/file-03")
			_, _, _, _ = r.s.lookup(identity{user: "bob"}, "copy/file-29", 0, 0, 100)
			_, _, _ = r.s.readDir(identity{user: "bob"}, ".", "", 0, false)
		}
	})
	for i := range 30 {
		want := r.image()
		frozen, err := r.s.Freeze()
		r.want(err, nil)
		wg.Go(func() {
			var b bytes.Buffer
			if _, err := frozen.WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("image %d changed: %v", i, err)
			}
		})
		dir := fmt.Sprintf("new-%d", i)
		r.want(r.snapshot("ann", "copy", dir), nil)
		for k := range 20 {
			r.want(r.create("user"+fmt.Sprint(i), fmt.Sprintf("x-%d-%d", i, k)), nil)
			_, err := r.addChunk("ann", fmt.Sprintf("%s/file-%02d", dir, k+5), uint64(200+k))
			r.want(err, nil)
		}
		_, err = r.remove("super", dir, true)
		r.want(err, nil)
		r.at = r.at.Add(DefaultRetention / 3)
		c := cmdCollect{1, 20}
		_, err = c.result(r.do(c.append(nil)))
		r.want(err, nil)
	}
	close(stop)
	wg.Wait()
	r.check()
}

// TestStateOutcomes: every outcome is an error that says what it is about.
func TestStateOutcomes(t *testing.T) {
	for o := outcomeMalformed; int(o) < len(outcomes); o++ {
		_, err := decodeOutcome(appendOutcome([]byte{0, 1, 2}, 0, refuse(o, "a/path", "the reason")))
		if !errors.Is(err, outcomes[o]) || !strings.Contains(err.Error(), "a/path: the reason") {
			t.Errorf("%d: %v", o, err)
		}
	}
	if at := time.Unix(1, 2); addTime(at, DefaultRetention) != at.Add(DefaultRetention).UnixNano() || addTime(at, 1<<63-1) != 1<<63-1 {
		t.Error("times")
	}
}

// TestStateHandles: handles are issued once, and what was not reserved is refused.
func TestStateHandles(t *testing.T) {
	r := newStateRig(t)
	r.want(r.create("ann", "a"), nil)
	reserve := cmdReserve{1, 10}
	first, err := reserve.result(r.do(reserve.append(nil)))
	r.want(err, nil)
	next, err := reserve.result(r.do(reserve.append(nil)))
	r.want(err, nil)
	if next != first+10 {
		t.Fatal(first, next)
	}
	add := func(index uint64, h handle) (chunkResult, error) {
		c := cmdAddChunk{cmdHeader: r.head("ann"), path: "a", index: index, handle: h, version: 3}
		return c.result(r.do(c.append(nil)))
	}
	_, err = add(0, next+10)
	r.want(err, ErrStale)
	got, err := add(0, next)
	if r.want(err, nil); got.handle != next || got.version != 3 {
		t.Fatalf("%+v", got)
	}
	_, err = add(1, next)
	r.want(err, ErrStale)
	got, err = add(0, first) // another was faster: its chunk it is
	if r.want(err, nil); got.handle != next || !got.existed {
		t.Fatalf("%+v", got)
	}
	_, err = add(maxFileChunks, first)
	r.want(err, ErrTooLarge)
	place, err := r.s.chunkAt(identity{user: "ann"}, "a", 0, 0, true)
	if r.want(err, nil); place.handle != next || place.row.version != 3 || place.goal != DefaultReplication {
		t.Fatalf("%+v", place)
	}
}
