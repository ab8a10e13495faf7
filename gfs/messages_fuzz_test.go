package gfs

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// A wireMessage travels.
type wireMessage interface {
	AppendBinary(dst []byte) ([]byte, error)
	UnmarshalBinary(src []byte) error
}

// wireMessages has one of each message, with something in every field.
func wireMessages() []wireMessage {
	at := []location{{id: 1, addr: "a:1", rack: "r", zone: "z"}, {id: 1 << 31, addr: "[::1]:2"}}
	chunk := chunkInfo{index: 3, handle: 4, version: 5 << 24, where: at}
	attr := attributes{
		path: "a/b", id: 7, mode: 0o640, owner: "alice", group: "staff", modified: -1, goal: 3, chunks: 1 << 40,
		size: 1 << 50, open: true, last: chunk, deleted: 9,
	}
	ord := order{epoch: 3, server: 2, boot: 1 << 63}
	states := []replicaState{{handle: 1, version: 2, length: 3, health: corrupt}, {handle: 1<<64 - 1, version: 1<<64 - 1, length: -1, health: gone}}
	term := leaseTerm{handle: 1, version: 2, until: time.Hour}
	data := dataID{client: 1 << 63, n: 2}
	pol := policy{goal: 2, retention: -1, maxFiles: 3, maxChunks: 4}
	return []wireMessage{
		&statReq{path: "a"}, &statResp{attributes: attr},
		&lookupReq{path: "a", file: 1, first: 2, count: 3}, &lookupResp{file: 1, chunks: 2, chunkSize: 3, found: []chunkInfo{chunk, {}}},
		&readDirReq{path: "a", after: "b", limit: 3, deleted: true}, &readDirResp{entries: []attributes{attr, {dir: true}}, more: true},
		&createReq{path: "a", mode: 0o777, goal: 1, exclusive: true, parents: true}, &createResp{file: 1, existed: true},
		&mkdirReq{path: "a", mode: 1, parents: true}, &removeReq{path: "a", all: true}, &undeleteReq{path: "a", to: "b"}, &pathResp{path: "a"},
		&pairReq{from: "a", to: "b"}, &setAttrReq{path: "a", all: true, mode: -1, owner: "o", group: "g", goal: 2, modTime: -5},
		&policyReq{path: "a", policy: pol}, &grantReq{path: "a", file: 1, index: 2, last: true, known: 3},
		&grantResp{chunk: chunk, chunks: 2, chunkSize: 3, lease: time.Minute}, &badReq{handle: 1, version: 2, server: 3, why: "w"},
		&drainReq{server: 1, stop: true, forget: true},
		&serversResp{servers: []serverStatus{{location: at[0], uuid: [16]byte{1}, alive: true, draining: true, silent: 1, capacity: 2, used: 3, chunks: 4, read: 5, written: 6}}},
		&usageReq{path: "a"}, &usageResp{files: 1, dirs: 2, chunks: 3, bytes: 4, stored: 5, policy: pol},
		&fsckReq{path: "a", after: "b"}, &fsckResp{files: 1, chunks: 2, faults: []fsckFault{{path: "a", index: 1, handle: 2, version: 3, have: 4, goal: 5}}, next: "n", leaving: 6},
		&clusterResp{chunkSize: 1, epoch: 2, shadow: true, safeMode: true, lag: 3, queued: 4, repairs: 5, moves: 6},
		&readReq{handle: 1, version: 2, off: -3, n: 4}, &readResp{length: 1}, &replicaReq{handle: 1, version: 2}, &lengthResp{length: 1},
		&writeReq{handle: 1, version: 2, data: data, off: 3, n: 4}, &appendReq{handle: 1, version: 2, data: data, n: 4}, &appendResp{off: 1, version: 2}, &writeResp{version: 2},
		&registerReq{uuid: [16]byte{9}, boot: 1, attempt: 2, addr: "a", rack: "r", zone: "z", capacity: 3, used: 4, epoch: 5},
		&registerResp{server: 1, epoch: 2, chunkSize: 3, heartbeat: 4}, &reportReq{server: 1, boot: 2, attempt: 3, replicas: states, last: true},
		&heartbeatReq{server: 1, boot: 2, clock: 3, capacity: 4, used: 5, read: 6, written: 7, changes: states, extend: states[:1], cloning: 8},
		&heartbeatResp{epoch: 1, extended: []leaseTerm{term}, delete: []doomed{{handle: 1, version: 2}}},
		&reformReq{handle: 1, version: 2, server: 3, boot: 4, failed: []serverID{5, 6}},
		&makeReq{order: ord, handle: 1, version: 2}, &raiseReq{order: ord, handle: 1, from: 2, to: 3}, &raiseResp{boot: 1, clock: 2, length: 3},
		&leaseReq{order: ord, leaseTerm: term, others: at}, &revokeReq{order: ord, handle: 1, version: 2}, &hailReq{order: ord},
		&forkReq{order: ord, from: 1, fromVersion: 2, to: 3, toVersion: 4}, &cloneReq{order: ord, handle: 1, version: 2, from: at, rate: 3},
		&digestReq{order: ord, handle: 1}, &digestResp{version: 1, length: 2, sum: 3, bad: []uint64{4, 5}, health: suspect},
		&acceptReq{order: ord, handle: 1, version: 2, others: at},
		&applyReq{handle: 1, version: 2, serial: 3, kind: mutationResend, data: data, off: 4, n: 5, resent: []byte("bytes")}, &applyResp{applied: 1},
		&pushReq{rest: at}, &tailReq{fingerprint: "f"}, &blocksReq{handle: 1, version: 2, first: 3, count: 4, any: true},
		&blocksResp{version: 1, length: 2, boot: 3, stamp: 4, sums: []uint32{5, 1<<32 - 1}},
	}
}

func emptyLike(m wireMessage) wireMessage {
	return reflect.New(reflect.TypeOf(m).Elem()).Interface().(wireMessage)
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, m := range wireMessages() {
		b, err := m.AppendBinary([]byte("prefix"))
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("prefix"):]
		got := emptyLike(m)
		if err := got.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, %v, want %+v", m, got, err, m)
		}
		for n := range b { // an encoding that is cut short is none
			if err := emptyLike(m).UnmarshalBinary(b[:n]); err == nil {
				t.Errorf("%T: %d bytes of %d are accepted", m, n, len(b))
			}
		}
		if err := emptyLike(m).UnmarshalBinary(append(b, 0)); err == nil {
			t.Errorf("%T: a byte too many is accepted", m)
		}
	}
}

// FuzzMessages decodes bytes as each message: what is accepted survives another round.
func FuzzMessages(f *testing.F) {
	for i, m := range wireMessages() {
		b, _ := m.AppendBinary(nil)
		f.Add(i, b)
		f.Add(i, bytes.Repeat([]byte{0xff}, 11))                                   // a number without an end
		f.Add(i, []byte("\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))       // a count of 2⁶⁴-1
		f.Add(i, append([]byte{1, 1, 1}, bytes.Repeat([]byte{0xff, 0xff}, 50)...)) // lists of lists
		for _, b := range testutil.Strangers() {
			f.Add(i, b)
		}
	}
	f.Fuzz(func(t *testing.T, which int, src []byte) {
		all := wireMessages()
		like := all[uint(which)%uint(len(all))]
		first, second := emptyLike(like), emptyLike(like)
		if first.UnmarshalBinary(src) != nil {
			return
		}
		b, err := first.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.UnmarshalBinary(b); err != nil {
			t.Fatalf("%+v is encoded as %x: %v", first, b, err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Errorf("%+v becomes %+v", first, second)
		}
	})
}
