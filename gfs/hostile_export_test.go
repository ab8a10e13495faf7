package gfs

import (
	"math"
	"strings"
)

// A HostileCall is a call with absurd arguments.
type HostileCall struct {
	Method   string
	Message  []byte
	Harmless bool // it may be answered without an error
}

func hostile(method string, harmless bool, messages ...wireMessage) (all []HostileCall) {
	for _, m := range messages {
		b, _ := m.AppendBinary(nil)
		all = append(all, HostileCall{Method: method, Message: b, Harmless: harmless})
	}
	return all
}

// hostilePaths are no paths.
var hostilePaths = []string{
	"", "/", "/a", "a/", "a//b", "../a", "a/../b", "a/..", "./a", "a/.", "a\x00b", "\xff\xfe", strings.Repeat("x", 256),
	strings.Repeat("x/", 2500) + "x", strings.Repeat("..//", 1000),
}

// HostileToMaster returns calls that a master has to refuse.
func HostileToMaster() (all []HostileCall) {
	for _, p := range hostilePaths {
		all = append(all, hostile(methodCreate, false, &createReq{path: p, parents: true})...)
		all = append(all, hostile(methodMkdir, false, &mkdirReq{path: p, parents: true})...)
		all = append(all, hostile(methodStat, false, &statReq{path: p})...)
		all = append(all, hostile(methodLookup, false, &lookupReq{path: p, count: math.MaxUint64})...)
		all = append(all, hostile(methodReadDir, false, &readDirReq{path: p, limit: math.MaxUint64})...)
		all = append(all, hostile(methodRemove, false, &removeReq{path: p, all: true})...)
		all = append(all, hostile(methodRestore, false, &undeleteReq{path: p}, &undeleteReq{path: "good", to: "../" + p})...)
		all = append(all, hostile(methodRename, false, &pairReq{from: p, to: "x"}, &pairReq{from: "good", to: p})...)
		all = append(all, hostile(methodCopy, false, &pairReq{from: p, to: "x"}, &pairReq{from: "good", to: p})...)
		all = append(all, hostile(methodSetAttr, false, &setAttrReq{path: p, mode: -1})...)
		all = append(all, hostile(methodPolicy, false, &policyReq{path: p})...)
		all = append(all, hostile(methodGrant, false, &grantReq{path: p})...)
		all = append(all, hostile(methodUsage, false, &usageReq{path: p})...)
		all = append(all, hostile(methodFsck, false, &fsckReq{path: p})...)
	}
	all = append(all, hostile(methodRemove, false, &removeReq{path: ".", all: true}, &removeReq{path: "good/x"})...)
	all = append(all, hostile(methodRename, false, &pairReq{from: ".", to: "x"}, &pairReq{from: "good", to: "good/x"}, &pairReq{from: "good", to: "."})...)
	all = append(all, hostile(methodCopy, false, &pairReq{from: ".", to: "x"})...)
	all = append(all, hostile(methodGrant, false,
		&grantReq{path: "good", file: 1 << 60, index: 0}, &grantReq{path: "good", index: math.MaxUint64}, &grantReq{path: ".", last: true})...)
	all = append(all, hostile(methodSetAttr, false,
		&setAttrReq{path: "good", mode: -1, goal: 255}, &setAttrReq{path: "good", mode: -1, owner: strings.Repeat("o", 1<<20)})...)
	all = append(all, hostile(methodPolicy, false, &policyReq{path: "good"}, &policyReq{path: ".", policy: policy{goal: 255}})...)
	all = append(all, hostile(methodLookup, true,
		&lookupReq{path: "good", first: math.MaxUint64, count: math.MaxUint64}, &lookupReq{path: "good", first: 1, count: math.MaxUint64})...)
	all = append(all, hostile(methodReadDir, true, &readDirReq{path: ".", after: strings.Repeat("z", 5000), limit: math.MaxUint64})...)
	all = append(all, hostile(methodFsck, true, &fsckReq{path: ".", after: strings.Repeat("z/", 5000)})...)
	all = append(all, hostile(methodBad, true,
		&badReq{handle: math.MaxUint64, version: math.MaxUint64, server: math.MaxUint32, why: strings.Repeat("w", 1<<20)}, &badReq{})...)
	all = append(all, hostile(methodDrain, false, &drainReq{server: 0}, &drainReq{server: math.MaxUint32, forget: true})...)
	all = append(all, hostile(methodReform, false,
		&reformReq{handle: math.MaxUint64}, &reformReq{handle: 1, version: math.MaxUint64, server: 1, failed: make([]serverID, 5000)})...)
	all = append(all, hostile(methodReport, false,
		&reportReq{server: math.MaxUint32, replicas: make([]replicaState, 1000)}, &reportReq{server: 1, boot: 1, last: true})...)
	all = append(all, hostile(methodHeartbeat, false,
		&heartbeatReq{server: 0}, &heartbeatReq{server: 1, boot: 1, clock: math.MaxInt64, used: -1, extend: make([]replicaState, 1000)})...)
	return all
}

// HostileToChunkserver returns calls that a chunkserver has to refuse, about a chunk that
// it has and others. server is its id.
func HostileToChunkserver(h uint64, server uint32) (all []HostileCall) {
	orders := []order{
		{}, {epoch: math.MaxUint64, server: math.MaxUint32}, {epoch: 0, server: serverID(server)},
		{epoch: math.MaxUint64, server: serverID(server) + 1, boot: 7}, {epoch: math.MaxUint64, server: serverID(server), boot: 7},
	}
	for _, o := range orders {
		all = append(all, hostile(methodHail, false, &hailReq{order: o})...)
		for _, k := range []handle{handle(h), 0, math.MaxUint64} {
			all = append(all, hostile(methodMake, false, &makeReq{order: o, handle: k, version: math.MaxUint64})...)
			all = append(all, hostile(methodRaise, false, &raiseReq{order: o, handle: k, from: 0, to: math.MaxUint64})...)
			all = append(all, hostile(methodLease, false, &leaseReq{order: o, leaseTerm: leaseTerm{handle: k, version: math.MaxUint64, until: math.MaxInt64}, others: make([]location, 100)})...)
			all = append(all, hostile(methodRevoke, false, &revokeReq{order: o, handle: k, version: math.MaxUint64})...)
			all = append(all, hostile(methodFork, false, &forkReq{order: o, from: k, to: k, toVersion: math.MaxUint64})...)
			all = append(all, hostile(methodClone, false, &cloneReq{order: o, handle: k, rate: -1, from: make([]location, 1000)})...)
			all = append(all, hostile(methodDigest, false, &digestReq{order: o, handle: k})...)
			all = append(all, hostile(methodAccept, false, &acceptReq{order: o, handle: k, others: make([]location, 1000)})...)
		}
	}
	for _, k := range []handle{handle(h), 0, math.MaxUint64} {
		all = append(all, hostile(methodRead, false,
			&readReq{handle: k, off: -1, n: 1}, &readReq{handle: k, n: -1}, &readReq{handle: k, n: math.MaxInt64},
			&readReq{handle: k, off: math.MaxInt64, n: maxRead + 1}, &readReq{handle: k, version: math.MaxUint64, n: 1})...)
		all = append(all, hostile(methodRead, k == handle(h), &readReq{handle: k, off: math.MaxInt64, n: maxRead}, &readReq{handle: k, off: 1<<62 + 1, n: 1})...)
		all = append(all, hostile(methodLength, false, &replicaReq{handle: k, version: math.MaxUint64})...)
		all = append(all, hostile(methodSync, false, &replicaReq{handle: k, version: math.MaxUint64})...)
		all = append(all, hostile(methodWrite, false,
			&writeReq{handle: k, version: 1, off: -1, n: 5}, &writeReq{handle: k, off: math.MaxInt64, n: math.MaxInt64}, &writeReq{handle: k, n: -1})...)
		all = append(all, hostile(methodAppend, false, &appendReq{handle: k, version: 1, n: -1}, &appendReq{handle: k, n: math.MaxInt64})...)
		all = append(all, hostile(methodApply, false,
			&applyReq{handle: k, version: math.MaxUint64, serial: math.MaxUint64, kind: 200, off: -1, n: -1},
			&applyReq{handle: k, kind: mutationResend, off: math.MaxInt64, n: 3, resent: []byte("abc")},
			&applyReq{handle: k, serial: 1, kind: mutationPad, off: 0, n: math.MaxInt64})...)
		all = append(all, hostile(methodBlocks, false,
			&blocksReq{handle: k, first: math.MaxUint64, count: math.MaxUint64}, &blocksReq{handle: k, first: 1 << 62, count: 1}, &blocksReq{handle: k, count: 1 << 60})...)
	}
	return all
}

// Methods returns the methods of a master, and those of a chunkserver, that are no streams.
func Methods() (master, chunkserver []string) {
	seen := make(map[string]bool)
	add := func(to *[]string, calls []HostileCall) {
		for _, c := range calls {
			if !seen[c.Method] {
				seen[c.Method] = true
				*to = append(*to, c.Method)
			}
		}
	}
	add(&master, HostileToMaster())
	add(&chunkserver, HostileToChunkserver(1, 1))
	return master, chunkserver
}
